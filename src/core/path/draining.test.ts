/** Level 2: two path machines joined by relays alone, one of which is about to end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { readData } from '#wire/relay.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathInput } from './io.ts';
import { relayKeepaliveMs } from './limits.ts';
import { PairTable } from './pair-table.ts';
import { Paths } from './paths.ts';
import { pathOver, type RelayPath } from './relay-path.ts';
import { Challenge, choosePair } from './selection.ts';

const crypto = deterministicCrypto(nodeCrypto, new Random('draining'));
const symmetric: NatBehaviour = {
  mapping: 'address-and-port-dependent',
  filtering: 'address-and-port-dependent',
};
const relays = ['r1', 'r2'];
const oneWayMs = 20;

const wayOver = (relay: string, draining = false): RelayPath => ({
  ...{ relay, transport: 'udp', socket: 0, token: BigInt(relays.indexOf(relay) + 1), draining },
  remote: { address: '203.0.113.1', port: 1 + relays.indexOf(relay) },
  label: relay,
});

/** One of two; the other one's index is its peer. */
class Side {
  readonly key = crypto.random(32);
  readonly paths = new Paths({ crypto, tunnelPrivateKey: this.key });
}

/** Two that meet at both relays. */
class Pair {
  readonly sides = [new Side(), new Side()];
  at = 1_000_000;
  #flying: { readonly at: number; readonly to: number; readonly input: PathInput }[] = [];
  /** Nothing passes there. */
  dead: string | undefined;

  constructor() {
    for (const index of [0, 1]) {
      this.input(index, { type: 'local-candidates', candidates: [], nat: symmetric });
      this.input(index, { type: 'relays', relays: relays.map((relay) => wayOver(relay)) });
      const tunnelPublicKey = nodeCrypto.x25519PublicKey(this.sides[1 - index]!.key);
      const clientId = `000-000-00${1 - index}`;
      this.input(index, { type: 'add-peer', peer: 1 - index, tunnelPublicKey, clientId });
    }
    const endpoint = '203.0.113.1:1';
    const candidates = relays.map((relay) => ({ kind: 'relay' as const, endpoint, relay }));
    for (const index of [0, 1]) {
      const nat = symmetric;
      this.input(index, { type: 'remote-candidates', peer: 1 - index, candidates, nat });
    }
  }

  input(index: number, input: PathInput): void {
    const { paths } = this.sides[index]!;
    const now = { monotonic: monotonicMs(this.at), wall: wallMs(this.at + 1_767_000_000_000) };
    paths.handle(input, now);
    for (let output = paths.poll(); output !== undefined; output = paths.poll()) {
      if (output.type !== 'send') continue;
      const { token, payload } = readData(output.bytes)!;
      const relay = relays[Number(token) - 1]!;
      if (relay === this.dead) continue;
      const over = { relay, from: index };
      const arrival = { type: 'datagram' as const, bytes: payload, over };
      const { socket, remote } = output;
      const at = this.at + oneWayMs;
      this.#flying.push({ at, to: 1 - index, input: { ...arrival, socket, remote } });
    }
  }

  run(durationMs: number): void {
    const end = this.at + durationMs;
    for (;;) {
      const due = this.sides.map(({ paths }) => paths.deadline() ?? Infinity);
      const next = Math.min(this.#flying[0]?.at ?? Infinity, ...due);
      if (next > end) break;
      this.at = Math.max(this.at, next);
      const arrived = this.#flying.filter(({ at }) => at <= this.at);
      this.#flying = this.#flying.filter(({ at }) => at > this.at);
      for (const { to, input } of arrived) this.input(to, input);
      for (const index of [0, 1]) {
        if (due[index]! <= this.at) this.input(index, { type: 'tick' });
      }
    }
    this.at = end;
  }

  get inUse(): (string | undefined)[] {
    return this.sides.map(({ paths }, index) => {
      const path = paths.pathOf(1 - index);
      return path === undefined ? undefined : relays[path.remote.port - 1];
    });
  }

  drain(relay: string): void {
    for (const index of [0, 1]) {
      const ways = relays.map((id) => wayOver(id, id === relay));
      this.input(index, { type: 'relays', relays: ways });
    }
  }
}

test('a relay that ends is left within a round trip, also when nobody has sent anything for long', () => {
  for (const idleMs of [3000, 60_000, relayKeepaliveMs / 2]) {
    const pair = new Pair();
    pair.run(5000);
    const [first, other] = pair.inUse;
    assert(first !== undefined && first === other);
    pair.run(idleMs);
    pair.drain(first);
    pair.run(2 * oneWayMs);
    const [spare] = relays.filter((relay) => relay !== first);
    assert.deepEqual(pair.inUse, [spare, spare], `after ${idleMs} ms`);
    pair.dead = first;
    pair.run(60_000);
    assert.deepEqual(pair.inUse, [spare, spare]);
  }
});

test('of two relays that end neither is left for the other one', () => {
  const pair = new Pair();
  pair.run(5000);
  const [before] = pair.inUse;
  for (const index of [0, 1]) {
    const ways = relays.map((relay) => wayOver(relay, true));
    pair.input(index, { type: 'relays', relays: ways });
  }
  pair.run(5000);
  assert.deepEqual(pair.inUse, [before, before]);
});

const at = monotonicMs;

/** A relayed pair that was proven and measured for 40 s, and lost every second probe of the last half if told. */
function provenPair(table: PairTable, relay: string, isLossy: boolean): CandidatePair {
  const pair = table.atRelay(relay, true)!;
  pair.peerProven = true;
  for (let i = 0; i < 80; i++) {
    const sentAt = at(i * 500);
    const number = pair.quality.sent(sentAt);
    const isLost = isLossy && i >= 40 && i % 2 === 0;
    if (!isLost) pair.responseReceived(number, sentAt, at(i * 500 + 40));
  }
  return pair;
}

for (const leads of [true, false]) {
  const who = leads ? 'the side that leads' : 'the other side';
  test(`${who} leaves a relay that ends for one that loses a lot and was left again and again`, () => {
    const table = new PairTable(7);
    table.setRelays(new Map(relays.map((relay) => [relay, wayOver(relay)])));
    const good = provenPair(table, 'r1', false);
    const bad = provenPair(table, 'r2', true);
    for (let i = 0; i < 5; i++) bad.leftBad(at(39_000));
    table.current = good;
    table.peerUses(good);
    const now = at(40_000);
    assert(bad.grade! > 0 && bad.isOnProbation(now));
    const role = { leads, usedSince: at(39_999), challenge: new Challenge() };
    assert.equal(choosePair(table, role, now), undefined);
    const ending = wayOver('r1', true);
    good.reroute(pathOver(ending, 7), ending);
    assert.equal(choosePair(table, role, now), bad);
    // And does not follow the other side back, which has not left it yet.
    table.current = bad;
    assert.equal(choosePair(table, role, now), undefined);
  });
}
