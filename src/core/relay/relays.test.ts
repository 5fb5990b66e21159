/** Level 2: the relay machine, with a relay played by hand, under virtual time. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import {
  decodeRelay,
  deliveredPrefix,
  encodePlainRelay,
  movedTransaction,
  type RelayErrorCode,
  type RelayMessage,
  relayMacIsValid,
  type SealedRelayMessage,
  sealRelay,
} from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { chooseRelays } from './choice.ts';
import type { RelaysInput, RelaysOutput } from './io.ts';
import * as limits from './limits.ts';
import { Relays } from './relays.ts';

const key = new Uint8Array(32).fill(7);
const observed: Endpoint = { address: '198.51.100.9', port: 41_641 };
const cookie = new Uint8Array(16).fill(5);

function entry(number: number, kind: RelayEntry['kind'] = 'server'): RelayEntry {
  return {
    id: `r${number}`,
    kind,
    udp: [`203.0.113.${number}:3480`],
    ws: [`wss://203.0.113.${number}/v1/relay`],
    ticket: new Uint8Array(200).fill(number),
    key,
  };
}

type Sent = Extract<RelaysOutput, { type: 'send' }>;

class Bench {
  readonly machine = new Relays(deterministicCrypto(nodeCrypto, new Random('relays')));
  readonly outputs: RelaysOutput[] = [];
  at = 1_000_000;
  /** Distance of the relays that answer, by endpoint; those without one are silent. */
  readonly rtts = new Map<string, number>();
  readonly #answers: { readonly at: number; readonly bytes: Uint8Array; readonly from: Sent }[] =
    [];
  token = 77n;
  /** What it answers instead of granting. */
  refuses: RelayErrorCode | undefined;

  constructor(...relays: RelayEntry[]) {
    this.input({ type: 'sockets', sockets: [{ socket: 0, family: 4, localPort: 41_641 }] });
    if (relays.length > 0) this.input({ type: 'relays', relays });
  }

  input(input: RelaysInput): RelaysOutput[] {
    const now = { monotonic: monotonicMs(this.at), wall: wallMs(this.at + 1_767_000_000_000) };
    this.machine.handle(input, now);
    const out: RelaysOutput[] = [];
    for (let next = this.machine.poll(); next !== undefined; next = this.machine.poll()) {
      out.push(next);
      if (next.type === 'send') this.#answer(next);
    }
    this.outputs.push(...out);
    return out;
  }

  run(durationMs: number): RelaysOutput[] {
    const end = this.at + durationMs;
    const out: RelaysOutput[] = [];
    for (let turn = 0; ; turn++) {
      assert(turn < 100_000, 'time goes on');
      const [first] = this.#answers.toSorted((a, b) => a.at - b.at);
      const due = Math.min(this.machine.deadline() ?? Infinity, first?.at ?? Infinity);
      if (due > end) break;
      this.at = Math.max(this.at, due);
      if (first !== undefined && first.at <= this.at) {
        this.#answers.splice(this.#answers.indexOf(first), 1);
        const { socket, remote } = first.from;
        out.push(...this.input({ type: 'datagram', bytes: first.bytes, socket, remote }));
      } else out.push(...this.input({ type: 'tick' }));
    }
    this.at = end;
    return out;
  }

  from(relay: number, bytes: Uint8Array): RelaysOutput[] {
    const remote = { address: `203.0.113.${relay}`, port: 3480 };
    return this.input({ type: 'datagram', bytes, socket: 0, remote });
  }

  reply(message: RelayMessage, withKey = key): Uint8Array {
    if (message.type === 'challenge' || message.type === 'error') return encodePlainRelay(message);
    return sealRelay(nodeCrypto, withKey, message as SealedRelayMessage);
  }

  #answer(sent: Sent): void {
    const rtt = this.rtts.get(formatEndpoint(sent.remote));
    const request = decodeRelay(sent.bytes);
    assert(request !== undefined && relayMacIsValid(nodeCrypto, key, sent.bytes));
    const answer = rtt === undefined ? undefined : this.#answerTo(request);
    if (rtt === undefined || answer === undefined) return;
    assert(answer.length <= sent.bytes.length, 'no answer is longer than its request');
    this.#answers.push({ at: this.at + rtt, bytes: answer, from: sent });
  }

  #answerTo(request: RelayMessage): Uint8Array | undefined {
    if (request.type === 'allocate' && request.ticket.length === 0) {
      return this.reply({ type: 'challenge', transaction: request.transaction, cookie });
    }
    if (request.type !== 'allocate' && request.type !== 'refresh') return undefined;
    const { transaction } = request;
    const { token } = this;
    if (this.refuses !== undefined) {
      return this.reply({ type: 'error', transaction, code: this.refuses });
    }
    if (request.type === 'refresh') return this.reply({ type: 'refreshed', transaction, observed });
    return this.reply({ type: 'allocated', transaction, token, lifetimeSeconds: 90, observed });
  }
}

const ups = (outputs: readonly RelaysOutput[]) =>
  outputs.flatMap((output) => (output.type === 'up' ? [output.way] : []));
const downs = (outputs: readonly RelaysOutput[]) =>
  outputs.flatMap((output) => (output.type === 'down' ? [output.relay] : []));

function near(...rtts: readonly number[]): Bench {
  const bench = new Bench();
  rtts.forEach((rtt, i) => {
    bench.rtts.set(`203.0.113.${i + 1}:3480`, rtt);
  });
  bench.input({ type: 'relays', relays: rtts.map((_, i) => entry(i + 1)) });
  return bench;
}

describe('which relays are held', () => {
  test('the nearest and the next, and no other', () => {
    const bench = near(80, 20, 50, 30);
    bench.run(5000);
    assert.deepEqual(
      bench.machine.candidates.map(({ relay }) => relay),
      ['r2', 'r4'],
    );
    assert.equal(bench.machine.home?.relay, 'r2');
    const held = new Set(ups(bench.outputs).map(({ relay }) => relay));
    assert(!held.has('r1') && !held.has('r3'));
  });

  test('the report has all: home, what else is held, then the nearest, and the silent last', () => {
    const bench = near(80, 20, 50, 30);
    bench.input({ type: 'relays', relays: [1, 2, 3, 4, 5].map((number) => entry(number)) });
    bench.run(5000);
    const report = bench.machine.report();
    assert.deepEqual(
      report.map(({ relay, rttMs, way }) => [relay, rttMs, way?.transport]),
      [
        ['r2', 20, 'udp'],
        ['r4', 30, 'udp'],
        ['r3', 50, undefined],
        ['r1', 80, undefined],
        ['r5', undefined, undefined],
      ],
    );
    assert.deepEqual(
      report.map(({ isHome }) => isHome),
      [true, false, false, false, false],
    );
  });

  test('one that a peer is at on demand, at most eight, and not for ever', () => {
    const bench = near(20, 30, ...new Array<number>(12).fill(60));
    bench.run(5000);
    for (let i = 3; i <= 14; i++) bench.input({ type: 'want', relay: `r${i}` });
    bench.input({ type: 'want', relay: 'never heard of' });
    bench.run(2000);
    assert.equal(bench.machine.ways.length, 10);
    assert.equal(bench.machine.candidates.length, 4);
    bench.run(301_000);
    assert.equal(bench.machine.ways.length, 2);
  });

  test('a choice by table: near wins, the present ones stay unless clearly beaten, the bad go', () => {
    const relay = (id: string, rttMs?: number, isBad = false, isVolunteer = false) =>
      ({ id, rttMs, isBad, isVolunteer }) as const;
    const none = { home: undefined, spare: undefined };
    const table = [
      [[relay('a', 30), relay('b', 20), relay('c', 40)], none, 'b', 'a'],
      [[relay('a', 30), relay('b', 21)], { home: 'a', spare: 'b' }, 'a', 'b'],
      [[relay('a', 50), relay('b', 21)], { home: 'a', spare: 'b' }, 'b', 'a'],
      [[relay('a', 30, true), relay('b', 90), relay('c', 80)], { home: 'a', spare: 'b' }, 'c', 'b'],
      [[relay('a'), relay('b')], none, 'a', 'b'],
      [[relay('a'), relay('b', 500)], none, 'b', 'a'],
      [[relay('a', 20), relay('v', 15, false, true)], none, 'a', 'v'],
      [[relay('a', 60), relay('v', 15, false, true)], none, 'v', 'a'],
      [[relay('a', 10, true)], { home: 'a', spare: undefined }, 'a', undefined],
      [[], { home: 'a', spare: 'b' }, undefined, undefined],
    ] as const;
    for (const [relays, before, home, spare] of table) {
      const text = JSON.stringify([relays, before]);
      assert.deepEqual(chooseRelays(relays, before), { home, spare }, text);
    }
  });
});

describe('an allocation', () => {
  test('comes after two round trips and is refreshed every 25 s', () => {
    const bench = near(40);
    bench.run(100_000);
    const [way] = ups(bench.outputs);
    assert.equal(way?.token, 77n);
    assert.equal(way?.transport, 'udp');
    assert.equal(ups(bench.outputs).length, 1);
    const { refreshes, requests } = bench.machine.counters();
    assert.equal(refreshes, 3);
    assert(requests <= 3 + 2 + 3 + 4, `${requests} requests`);
  });

  test('is refreshed by the lifetime of mappings once that is known', () => {
    const bench = near(40);
    bench.run(1000);
    bench.input({ type: 'mapping-lifetime', lifetimeMs: 10_000 });
    bench.run(70_000);
    assert.equal(bench.machine.counters().refreshes, 10);
  });

  test('that does not answer is given up within two seconds, and taken again when the relay is back', () => {
    const bench = near(40);
    bench.run(1000);
    bench.rtts.clear();
    bench.input({ type: 'check', relay: 'r1' });
    bench.run(2000);
    assert.deepEqual(downs(bench.outputs), ['r1']);
    bench.rtts.set('203.0.113.1:3480', 40);
    bench.run(31_000);
    assert.equal(ups(bench.outputs).length, 2);
  });

  test('is taken anew when the relay has forgotten it, and after a sleep', () => {
    const bench = near(40);
    bench.run(1000);
    bench.refuses = 'unknown-token';
    bench.input({ type: 'check', relay: 'all' });
    bench.run(50);
    bench.refuses = undefined;
    bench.run(500);
    assert.equal(ups(bench.outputs).length, 2);
    bench.at += 600_000;
    bench.input({ type: 'tick' });
    bench.run(500);
    assert.equal(ups(bench.outputs).length, 3);
  });

  test('is left alone by a relay that refuses, until there is another ticket', () => {
    const bench = new Bench(entry(1));
    bench.rtts.set('203.0.113.1:3480', 40);
    bench.refuses = 'revoked-ticket';
    bench.run(50_000);
    const { requests } = bench.machine.counters();
    assert(requests < 12, `${requests} requests`);
    bench.refuses = undefined;
    bench.input({ type: 'relays', relays: [{ ...entry(1), ticket: new Uint8Array(10) }] });
    bench.run(2000);
    assert.equal(bench.machine.ways.length, 1);
  });

  test('moves to another relay when its own is about to end', () => {
    const bench = near(20, 40, 60);
    bench.run(2000);
    bench.from(1, bench.reply({ type: 'draining', token: 77n, graceSeconds: 10 }));
    bench.run(1000);
    assert.equal(bench.machine.home?.relay, 'r2');
    assert.deepEqual(
      bench.machine.candidates.map(({ relay }) => relay),
      ['r2', 'r3'],
    );
    assert.equal(ups(bench.outputs).filter(({ draining }) => draining).length, 1);
  });
});

describe('a relay that leaves the list', () => {
  const leave = () => {
    const bench = near(20, 40, 60);
    bench.run(2000);
    assert.equal(bench.machine.home?.relay, 'r1');
    bench.outputs.length = 0;
    bench.input({ type: 'relays', relays: [entry(2), entry(3)] });
    return bench;
  };

  test('carries data until peers have found another way, and no longer', () => {
    const bench = leave();
    bench.run(1000);
    assert.deepEqual(downs(bench.outputs), []);
    assert.deepEqual(
      bench.machine.candidates.map(({ relay }) => relay),
      ['r2', 'r3'],
    );
    assert.equal(bench.machine.listed, 2);
    const [way] = ups(bench.outputs);
    assert(way?.relay === 'r1' && way.draining, 'peers are asked by every other way');
    bench.input({ type: 'want', relay: 'r1' });
    bench.run(limits.leftMs);
    assert.deepEqual(downs(bench.outputs), ['r1']);
    assert(!bench.machine.report().some(({ relay }) => relay === 'r1'));
  });

  test('is left at once when it does not answer', () => {
    const bench = leave();
    bench.rtts.delete('203.0.113.1:3480');
    bench.input({ type: 'check', relay: 'r1' });
    bench.run(5000);
    assert.deepEqual(downs(bench.outputs), ['r1']);
    bench.outputs.length = 0;
    bench.run(60_000);
    assert(
      !bench.outputs.some(
        (output) => output.type === 'send' && output.remote.address === '203.0.113.1',
      ),
    );
  });

  test('is used as before when the list has it again', () => {
    const bench = leave();
    bench.run(30_000);
    bench.input({ type: 'relays', relays: [entry(1), entry(2), entry(3)] });
    bench.run(limits.leftMs);
    assert.deepEqual(downs(bench.outputs), ['r3'], 'r3 is not needed any more');
    const last = ups(bench.outputs).findLast(({ relay }) => relay === 'r1');
    assert.equal(last?.draining, false);
    assert(bench.machine.ways.some(({ relay }) => relay === 'r1'));
  });

  test('is one of a few: a list that keeps changing makes no crowd', () => {
    const bench = new Bench();
    for (let turn = 0; turn < 40; turn++) {
      const pair = [entry(2 * turn + 1), entry(2 * turn + 2)];
      for (const { udp } of pair) bench.rtts.set(udp[0]!, 20);
      bench.input({ type: 'relays', relays: pair });
      bench.run(1000);
      assert(bench.machine.report().length <= limits.maxLeft + 2);
    }
  });
});

describe('where UDP is blocked', () => {
  const bridge = { address: '127.0.0.1', port: 20_000 };

  test('a WebSocket is asked for after 400 ms and used; UDP takes over when it works', () => {
    const bench = new Bench(entry(1));
    bench.run(399);
    assert(!bench.outputs.some(({ type }) => type === 'bridge-wanted'));
    bench.run(50);
    assert(bench.outputs.some(({ type }) => type === 'bridge-wanted'));
    bench.rtts.set('127.0.0.1:20000', 40);
    bench.input({ type: 'bridge', relay: 'r1', endpoint: bridge });
    bench.run(100);
    assert.deepEqual(bench.machine.home?.remote, bridge);
    assert.equal(bench.machine.home?.transport, 'tcp');
    bench.rtts.set('203.0.113.1:3480', 30);
    bench.run(35_000);
    assert.equal(bench.machine.home?.transport, 'udp');
    bench.run(12_000);
    assert.equal(bench.outputs.filter(({ type }) => type === 'bridge-unwanted').length, 1);
    assert.equal(downs(bench.outputs).length, 0);
  });

  test('the allocation ends with its bridge', () => {
    const bench = new Bench(entry(1));
    bench.run(500);
    bench.rtts.set('127.0.0.1:20000', 40);
    bench.input({ type: 'bridge', relay: 'r1', endpoint: bridge });
    bench.run(100);
    bench.input({ type: 'bridge', relay: 'r1', endpoint: undefined });
    assert.deepEqual(downs(bench.outputs), ['r1']);
  });
});

describe('bad input', () => {
  test('forged, replayed, truncated and unasked answers have no effect', () => {
    const bench = near(40);
    bench.run(1000);
    const before = bench.machine.home;
    const wrong = new Uint8Array(32).fill(8);
    const transaction = new Uint8Array(12).fill(1);
    const allocated = {
      type: 'allocated',
      transaction,
      token: 1n,
      lifetimeSeconds: 1,
      observed,
    } as const;
    bench.from(1, bench.reply(allocated, wrong));
    bench.from(1, bench.reply(allocated));
    bench.from(1, bench.reply({ type: 'refreshed', transaction, observed }));
    bench.from(1, bench.reply({ type: 'error', transaction, code: 'unknown-token' }));
    bench.from(1, bench.reply({ type: 'challenge', transaction, cookie }));
    bench.from(1, bench.reply({ type: 'draining', token: 77n, graceSeconds: 9 }, wrong));
    bench.from(1, bench.reply({ type: 'draining', token: 78n, graceSeconds: 9 }));
    const valid = bench.reply(allocated);
    for (let length = 0; length < valid.length; length++) bench.from(1, valid.slice(0, length));
    bench.from(9, valid);
    assert.deepEqual(bench.machine.home, before);
    const { forged, unmatched, malformed, unknownSource } = bench.machine.counters();
    assert.equal(forged, 2);
    assert.equal(unmatched, 5);
    assert.equal(malformed, valid.length);
    assert.equal(unknownSource, 1);
  });

  test('an answer that was right once is nothing the second time', () => {
    const bench = near(40);
    const replies: Uint8Array[] = [];
    const handle = bench.machine.handle.bind(bench.machine);
    bench.machine.handle = (input, now) => {
      if (input.type === 'datagram') replies.push(input.bytes);
      handle(input, now);
    };
    bench.run(1000);
    const before = ups(bench.outputs).length;
    for (const bytes of replies.slice()) bench.from(1, bytes);
    assert.equal(ups(bench.outputs).length, before);
    assert(bench.machine.counters().unmatched >= replies.length / 2 - 1);
  });

  test('what is delivered comes out with its sender, and only from a relay where there is an allocation', () => {
    const bench = near(40);
    const packet = Uint8Array.of(...deliveredPrefix(123_456_789), 9, 9);
    assert(!bench.from(1, packet).some(({ type }) => type === 'delivered'));
    bench.run(1000);
    const [delivered] = bench.from(1, packet);
    assert(delivered?.type === 'delivered');
    assert.equal(delivered.from, 123_456_789);
    assert.deepEqual(delivered.bytes, Uint8Array.of(9, 9));
    assert.equal(bench.from(7, packet).length, 0);
  });

  test('a list beyond its bound is cut', () => {
    const relays = Array.from({ length: 60 }, (_, i) => entry(i + 1));
    const bench = new Bench(...relays);
    assert.equal(bench.machine.listed, 32);
  });
});

describe('a relay that says that our data comes from elsewhere', () => {
  const told = (bench: Bench, token: bigint) =>
    bench.from(
      1,
      bench.reply({ type: 'challenge', transaction: movedTransaction(nodeCrypto, token), cookie }),
    );

  test('is sent a refresh with its cookie at once, and once in a second', () => {
    const bench = near(20);
    bench.run(5000);
    const [refresh, ...more] = told(bench, bench.token).filter(({ type }) => type === 'send');
    assert(refresh?.type === 'send' && more.length === 0);
    const message = decodeRelay(refresh.bytes);
    assert(message?.type === 'refresh');
    assert.deepEqual([message.token, message.cookie], [bench.token, cookie]);
    bench.run(100);
    assert.deepEqual(downs(bench.outputs), []);
    for (let i = 0; i < 100; i++) told(bench, bench.token);
    assert.equal(bench.machine.counters().moves, 1);
    bench.run(1000);
    told(bench, bench.token);
    assert.equal(bench.machine.counters().moves, 2);
  });

  test('is believed only with the token of our allocation', () => {
    const bench = near(20);
    bench.run(5000);
    assert.deepEqual(told(bench, bench.token + 1n), []);
    assert.equal(bench.machine.counters().unmatched, 1);
  });
});

test('a hint at another mapping asks what was not heard just now', () => {
  const bench = near(20);
  bench.run(1000);
  assert.deepEqual(bench.input({ type: 'recheck' }), []);
  bench.run(3000);
  assert.equal(bench.input({ type: 'recheck' }).length, 1);
  assert.deepEqual(bench.input({ type: 'recheck' }), []);
  bench.run(100);
  assert.deepEqual(bench.input({ type: 'recheck' }), []);
});

test('moments with fractions of a millisecond make no busy loop', () => {
  const random = new Random('fractions');
  for (let i = 0; i < 200; i++) {
    const bench = new Bench(entry(1), entry(2), entry(3));
    bench.at += random.float() * 1_000_000;
    bench.input({ type: 'want', relay: 'r3' });
    // `run` fails when time does not go on.
    bench.run(limits.wantedLapseMs + 1000);
  }
});

describe('without an allocation on any relay', () => {
  test('the one that was silent is asked again every few seconds, for five minutes', () => {
    const bench = near(20);
    bench.run(1000);
    for (const silentMs of [40_000, 120_000]) {
      bench.rtts.clear();
      assert.deepEqual(downs(bench.run(silentMs)), ['r1']);
      bench.rtts.set('203.0.113.1:3480', 20);
      assert.deepEqual(ups(bench.run(limits.restAloneMs + 400)).length, 1, `${silentMs} ms`);
    }
    bench.rtts.clear();
    bench.run(limits.aloneMs + 120_000);
    const sent = bench.run(60_000).filter(({ type }) => type === 'send');
    assert(sent.length <= 3 * limits.maxTries, `${sent.length} in a minute`);
  });

  test('one that rests is asked soon when the last other one falls silent', () => {
    const bench = near(20, 30);
    bench.run(1000);
    bench.rtts.delete('203.0.113.1:3480');
    bench.run(300_000);
    assert.deepEqual(
      bench.machine.ways.map(({ relay }) => relay),
      ['r2'],
    );
    bench.rtts.clear();
    while (bench.machine.ways.length > 0) bench.run(100);
    bench.rtts.set('203.0.113.1:3480', 20);
    assert.deepEqual(
      ups(bench.run(limits.restAloneMs + 400)).map(({ relay }) => relay),
      ['r1'],
    );
  });
});

test('a relay that finds our time wrong is asked again when the server has told it', () => {
  const bench = near(20);
  bench.refuses = 'wrong-time';
  bench.run(5000);
  bench.refuses = undefined;
  assert.deepEqual(ups(bench.run(5000)), []);
  bench.input({ type: 'time-offset', offsetMs: 0 });
  assert.equal(ups(bench.run(100)).length, 1);

  const full = near(20);
  full.refuses = 'full';
  full.run(5000);
  full.refuses = undefined;
  full.input({ type: 'time-offset', offsetMs: 0 });
  assert.deepEqual(ups(full.run(5000)), [], 'only of the time');
});
