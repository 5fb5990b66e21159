/** Real clocks tell fractions of milliseconds: what is due at its deadline must be found due, however the sums are rounded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateKeyPair } from '#core/noise/handshake-state.ts';
import { type MonotonicMs, monotonicMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { VirtualClock } from '../../../sim/clock.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { TunnelEnd } from '../../../sim/tunnel-end.ts';
import { Keypairs } from './keypairs.ts';
import { wireguardTimes } from './times.ts';

const random = new Random('rounding');
const crypto = deterministicCrypto(nodeCrypto, random);
/** Sums that pass 2^20 lose a bit of their fraction. */
const moments = Array.from({ length: 500 }, () => monotonicMs(2 ** 20 - random.float() * 33_333.3));
const due = (at: MonotonicMs, delayMs: number) => monotonicMs(at + delayMs);
const isRoundedDown = (at: MonotonicMs, delayMs: number) => at + delayMs - at < delayMs;

test('keys are dropped at the moment that was announced for it', () => {
  const { rejectAfterMs } = wireguardTimes;
  assert(
    moments.some((at) => isRoundedDown(at, rejectAfterMs)),
    'some of them are rounded',
  );
  for (const createdAt of moments) {
    const dropped: number[] = [];
    const keypairs = new Keypairs(({ localIndex }) => dropped.push(localIndex));
    const session = { localIndex: 1, suite: 'aes256gcm', pskIndex: 0, createdAt } as const;
    keypairs.addInitiated({ ...session, role: 'initiator' });
    keypairs.dropExpired(rejectAfterMs, due(createdAt, rejectAfterMs - 1));
    assert.deepEqual(dropped, []);
    keypairs.dropExpired(rejectAfterMs, due(createdAt, rejectAfterMs));
    assert.deepEqual(dropped, [1]);
  }
});

test('a handshake that waits for its time is not busy when that comes', () => {
  const [a, b] = [generateKeyPair(crypto), generateKeyPair(crypto)];
  const pskCandidates = [{ psk: new Uint8Array(32), suite: 'chacha20poly1305' as const }];
  const path = { socket: 0, remote: { address: '192.0.2.1', port: 1 } };
  for (let run = 0; run < 50; run++) {
    const clock = new VirtualClock(2 ** 20 - random.float() * 3333.3);
    const ends: TunnelEnd[] = [a, b].map((keyPair, i) => {
      const transmit = (bytes: Uint8Array) =>
        void clock.in(0.1, () => ends[1 - i]!.receive(bytes, path));
      return new TunnelEnd({ clock, crypto, keyPair, transmit });
    });
    for (const [i, end] of ends.entries()) {
      end.addPeer(1, (i === 0 ? b : a).publicKey, pskCandidates, path);
    }
    ends[0]!.handle({ kind: 'want-session', peer: 1 });
    clock.run(10, 100);
    // New keys so soon after the last initiation must wait.
    ends[0]!.handle({ kind: 'rekey', peer: 1 });
    clock.run(6000, 200);
    assert.equal(ends[0]!.outputsOf('session-up').length, 2);
  }
});
