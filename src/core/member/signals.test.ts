import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { maxCandidates, signalLifetimeMs } from '#wire/signal.ts';
import { type TestDevice, testDevice } from '../../../test/support/cluster.ts';
import { Signals } from './signals.ts';

const [alice, bob, carol] = [testDevice(1), testDevice(2), testDevice(3)];
const now = 1_800_000_000_000;
const signalsOf = ({ tunnelPrivateKey, tunnelKey, clientId }: TestDevice) =>
  new Signals(crypto, { privateKey: tunnelPrivateKey, publicKey: tunnelKey }, clientId);
const offer = {
  kind: 'offer' as const,
  candidates: [{ kind: 'host' as const, endpoint: '192.0.2.1:4000' }],
  nat: { mapping: 'unknown' as const, filtering: 'unknown' as const },
};

test('a signal opens at its recipient, once', () => {
  const sealed = signalsOf(alice).seal(bob, offer, now)!;
  const receiver = signalsOf(bob);
  const opened = receiver.open(alice, sealed, now + 100);
  assert.deepEqual(typeof opened === 'object' && opened.candidates, offer.candidates);
  assert.equal(receiver.open(alice, sealed, now + 100), 'signal-replayed');
});

test('a signal opens for nobody else, from nobody else and not after an edit', () => {
  const sealed = signalsOf(alice).seal(bob, offer, now)!;
  assert.equal(signalsOf(carol).open(alice, sealed, now), 'signal-forged');
  assert.equal(signalsOf(bob).open(carol, sealed, now), 'signal-forged');
  assert.equal(signalsOf(bob).open({ ...alice, clientId: '9' }, sealed, now), 'signal-forged');
  const edited = sealed.slice();
  edited[50]! ^= 1;
  assert.equal(signalsOf(bob).open(alice, edited, now), 'signal-forged');
  assert.equal(signalsOf(bob).open(alice, sealed.subarray(0, 40), now), 'signal-forged');
  assert.equal(signalsOf(bob).open(alice, new Uint8Array(3000), now), 'signal-malformed');
});

test('a signal with more candidates than a peer may have is none, however many are in it', () => {
  const candidates = (count: number) =>
    Array.from({ length: count }, (_, i) => ({
      ...offer.candidates[0]!,
      endpoint: `192.0.2.1:${i + 1}`,
    }));
  const opened = (count: number) => {
    const sealed = signalsOf(alice).seal(bob, { ...offer, candidates: candidates(count) }, now)!;
    return signalsOf(bob).open(alice, sealed, now);
  };
  assert.equal(typeof opened(maxCandidates), 'object');
  for (const count of [maxCandidates + 1, 100, 1000])
    assert.equal(opened(count), 'signal-malformed');
});

test('an old signal and one from the future have no effect', () => {
  const sealed = signalsOf(alice).seal(bob, offer, now)!;
  const expired = now + signalLifetimeMs + 30_001;
  assert.equal(signalsOf(bob).open(alice, sealed, expired), 'signal-expired');
  assert.equal(signalsOf(bob).open(alice, sealed, now - 30_001), 'signal-postdated');
});

test('counters go up over a restart and over a clock that was set back', () => {
  const receiver = signalsOf(bob);
  const first = signalsOf(alice);
  for (const time of [now, now, now - 20_000]) {
    assert.equal(typeof receiver.open(alice, first.seal(bob, offer, time)!, now), 'object');
  }
  const restarted = signalsOf(alice).seal(bob, offer, now + 3000)!;
  assert.equal(typeof receiver.open(alice, restarted, now + 3000), 'object');
});
