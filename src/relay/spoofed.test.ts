/** Level 2: what can be done to a client of a relay in its name: by a forged source, a stolen token, ticket or key. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { encodePlainRelay } from '#wire/relay.ts';
import { type Credentials, RelayRig, udp } from '../../test/support/relay-rig.ts';
import * as limits from './limits.ts';
import type { Source } from './source.ts';

const anna = udp('192.0.2.1', 41_641);
const bert = udp('198.51.100.2', 41_642);

/** A thousand datagrams a second with this source, of every kind that costs the relay something; bytes out for bytes in. */
class Flood {
  bytesIn = 0;
  bytesOut = 0;
  readonly #rig: RelayRig;
  readonly #source: Source;
  readonly #kinds: readonly (() => Uint8Array)[];

  constructor(rig: RelayRig, source: Source, stolen?: Credentials, token = 1n) {
    this.#rig = rig;
    this.#source = source;
    const key = crypto.random(32);
    const nothing = new Uint8Array(0);
    const knock = { client: 0, ticket: nothing, key };
    this.#kinds = [
      () => rig.allocate(knock),
      () => rig.allocate(stolen ?? knock, { cookie: crypto.random(16) }),
      () => rig.refresh(token, key),
      () => rig.refresh(token, key, { cookie: crypto.random(16) }),
      () => rig.allocate(knock).subarray(0, 60),
      () => encodePlainRelay({ type: 'challenge', ...fakeChallenge() }),
    ];
  }

  run(durationMs: number): void {
    for (let i = 0; i < durationMs; i++) {
      const bytes = this.#kinds[i % this.#kinds.length]!();
      this.bytesIn += bytes.length;
      for (const out of this.#rig.outputs(this.#source, bytes)) {
        if (out.type === 'send') this.bytesOut += out.bytes.length;
      }
      this.#rig.ms += 1;
    }
  }
}

const fakeChallenge = () => ({ transaction: crypto.random(12), cookie: crypto.random(16) });

test('a flood in the name of a client does not cost it its allocation, and brings it less than was sent', () => {
  const rig = new RelayRig();
  const mine = rig.issuer.issue(1);
  const { token } = rig.join(anna, mine);
  const flood = new Flood(rig, anna, rig.issuer.issue(1));
  for (let i = 0; i < 8; i++) {
    flood.run(10_000);
    const [answer] = rig.give(anna, rig.refresh(token, mine.key));
    assert.equal(answer?.type, 'refreshed', `after ${i + 1} times 10 s`);
  }
  assert.ok(rig.count('dropped-control-rate') > 50_000, 'most of it is not looked at');
  assert.ok(flood.bytesOut < flood.bytesIn / 10, `${flood.bytesOut} for ${flood.bytesIn}`);
});

test('a client that a flood goes on in the name of gets in with the first cookie that comes through', () => {
  const rig = new RelayRig();
  const mine = rig.issuer.issue(1);
  const flood = new Flood(rig, anna);
  flood.run(20_000);
  const transaction = crypto.random(12);
  let cookie: Uint8Array | undefined;
  for (let tries = 0; cookie === undefined && tries < 200; tries++) {
    const [answer] = rig.give(anna, rig.allocate(mine, { transaction }));
    if (answer?.type === 'challenge') cookie = answer.cookie;
    else flood.run(150 + tries);
  }
  assert.ok(cookie !== undefined, 'a cookie');
  flood.run(1000);
  const [answer] = rig.give(anna, rig.allocate(mine, { transaction, cookie }));
  assert.equal(answer?.type, 'allocated');
});

test('with a token that was read on the way control messages are still refused, and few are looked at', () => {
  const rig = new RelayRig();
  const mine = rig.issuer.issue(1);
  const { token } = rig.join(anna, mine);
  rig.join(bert, rig.issuer.issue(2));
  const flood = new Flood(rig, anna, undefined, token);
  flood.run(10_000);
  assert.equal(rig.count('refreshed') + rig.count('released') + rig.count('roamed'), 0);
  const looked = limits.controlPerHolder.burst + 10_000 / limits.controlPerHolder.intervalMs;
  assert.ok(rig.count('dropped-forged') <= looked + 1);
  // Data keeps the allocation meanwhile, as ever.
  assert.equal(rig.send(anna, token, 2), 2);
});

test('who has stolen ticket and key takes the allocation away, and the owner takes it back with the same', () => {
  const rig = new RelayRig();
  const stolen = rig.issuer.issue(1);
  const thief = udp('203.0.113.9', 9);
  const before = rig.join(anna, stolen);
  rig.join(bert, rig.issuer.issue(2));
  rig.pass(5000);
  const taken = rig.join(thief, stolen);
  assert.equal(rig.send(anna, before.token, 2), undefined);
  const [lost] = rig.give(anna, rig.refresh(before.token, stolen.key));
  assert.deepEqual([lost?.type, lost?.type === 'error' && lost.code], ['error', 'unknown-token']);
  rig.pass(5000);
  const back = rig.join(anna, stolen);
  assert.equal(rig.send(thief, taken.token, 2), undefined);
  assert.equal(rig.send(anna, back.token, 2), 2);
  // A newer ticket ends it: the stolen one is refused from then on.
  rig.pass(5000);
  const renewed = rig.issuer.issue(1, { serial: 2 });
  const { token } = rig.join(anna, renewed);
  rig.pass(5000);
  assert.throws(() => rig.join(thief, stolen), /revoked-ticket/);
  assert.equal(rig.send(anna, token, 2), 2);
});
