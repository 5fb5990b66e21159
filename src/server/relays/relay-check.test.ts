import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { parseEndpoint } from '#wire/endpoint.ts';
import {
  type Allocate,
  decodeRelay,
  encodePlainRelay,
  relayMacIsValid,
  sealRelay,
} from '#wire/relay.ts';
import { checkTries, checkTryMs, RelayCheck } from './relay-check.ts';

const key = new Uint8Array(32).fill(7);
const ticket = new Uint8Array(400).fill(1);
const at = (ms: number): Now => ({
  monotonic: monotonicMs(ms),
  wall: wallMs(1_800_000_000_000 + ms),
});
const endpoint = parseEndpoint('203.0.113.5:3480')!;
const order = {
  ...{ relay: 'r-1', generation: 1, ticket, key, serial: 1 },
  targets: [{ listed: '0.0.0.0:3480', ask: '203.0.113.5:3480' }],
};
const cookie = new Uint8Array(16).fill(9);

function asked(check: RelayCheck): { message: Allocate; bytes: Uint8Array } {
  const datagram = check.poll();
  assert.ok(datagram);
  assert.deepEqual(datagram.to, endpoint);
  const message = decodeRelay(datagram.bytes);
  assert.ok(message?.type === 'allocate');
  return { message, bytes: datagram.bytes };
}

const allocated = (transaction: Uint8Array, by = key) =>
  sealRelay(crypto, by, {
    ...{ type: 'allocated', transaction, token: 5n, lifetimeSeconds: 90 },
    observed: endpoint,
  });

test('a relay that answers as it must is reachable, and has its allocation back', () => {
  const check = new RelayCheck(crypto, order, at(0));
  const first = asked(check);
  assert.equal(first.message.ticket.length, 0);
  const { transaction } = first.message;
  assert.ok(
    check.handle(encodePlainRelay({ type: 'challenge', transaction, cookie }), endpoint, at(9)),
  );
  const second = asked(check);
  assert.deepEqual(second.message.cookie, cookie);
  assert.deepEqual(second.message.ticket, ticket);
  assert.ok(relayMacIsValid(crypto, key, second.bytes));
  assert.equal(check.unreachable(), undefined);
  assert.ok(check.handle(allocated(transaction), endpoint, at(20)));
  assert.deepEqual(check.unreachable(), []);
  const release = decodeRelay(check.poll()!.bytes);
  assert.ok(release?.type === 'release' && release.token === 5n);
  assert.equal(check.deadline(), undefined);
});

test('a victim named as a relay gets three datagrams of 68 bytes, whatever it answers', () => {
  const check = new RelayCheck(crypto, order, at(0));
  let bytes = 0;
  let datagrams = 0;
  for (let now = 0; check.unreachable() === undefined; now += 100) {
    assert.ok(now < 10_000);
    for (let out = check.poll(); out !== undefined; out = check.poll()) {
      bytes += out.bytes.length;
      datagrams++;
      check.handle(out.bytes, endpoint, at(now));
      check.handle(new Uint8Array(36), endpoint, at(now));
      const transaction = new Uint8Array(12);
      check.handle(encodePlainRelay({ type: 'challenge', transaction, cookie }), endpoint, at(now));
    }
    check.tick(at(now));
  }
  assert.deepEqual([datagrams, bytes], [checkTries, checkTries * 68]);
  assert.deepEqual(check.unreachable(), ['0.0.0.0:3480']);
});

test('answers from elsewhere, without the key, or that say no, prove nothing', () => {
  const check = new RelayCheck(crypto, order, at(0));
  const { transaction } = asked(check).message;
  const challenge = encodePlainRelay({ type: 'challenge', transaction, cookie });
  assert.ok(!check.handle(challenge, parseEndpoint('203.0.113.6:3480')!, at(1)));
  assert.ok(!check.handle(challenge, parseEndpoint('203.0.113.5:3481')!, at(1)));
  check.handle(allocated(transaction), endpoint, at(1));
  assert.equal(check.poll(), undefined, 'nothing before the challenge');
  check.handle(challenge, endpoint, at(1));
  asked(check);
  check.handle(challenge, endpoint, at(1));
  assert.equal(check.poll(), undefined, 'a challenge again has no effect');
  check.handle(allocated(transaction, new Uint8Array(32)), endpoint, at(2));
  assert.equal(check.unreachable(), undefined, 'not by the key of the ticket');
  check.handle(
    encodePlainRelay({ type: 'error', transaction, code: 'bad-ticket' }),
    endpoint,
    at(3),
  );
  assert.deepEqual(check.unreachable(), ['0.0.0.0:3480']);
});

test('a lost datagram costs a try, not the verdict', () => {
  const check = new RelayCheck(crypto, order, at(0));
  const lost = asked(check).message.transaction;
  check.tick(at(checkTryMs));
  const { transaction } = asked(check).message;
  assert.notDeepEqual(transaction, lost);
  check.handle(encodePlainRelay({ type: 'challenge', transaction, cookie }), endpoint, at(800));
  asked(check);
  check.handle(allocated(transaction), endpoint, at(801));
  assert.deepEqual(check.unreachable(), []);
});
