import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '#core/time.ts';
import { CandidatePair } from './candidate-pair.ts';
import { maxRecovering, recovering, recoveryAt, recoveryPaceMs } from './recovery.ts';

const at = monotonicMs;

function lostPair(port: number, lostAt: number): CandidatePair {
  const pair = new CandidatePair({ socket: 0, remote: { address: '198.51.100.2', port } }, 'host');
  pair.responseReceived(pair.probeSent(at(0)), at(0), at(20));
  pair.peerProven = true;
  pair.probeSent(at(lostAt));
  pair.fail(at(lostAt));
  return pair;
}

const paces: readonly [number | undefined, number | undefined][] = [
  [undefined, undefined],
  [0, 3000],
  [119_999, 3000],
  [120_000, 10_000],
  [600_000, 60_000],
  [3_600_000, undefined],
];

for (const [lostForMs, expected] of paces) {
  test(`a pair that was lost ${lostForMs} ms ago is asked every ${expected} ms`, () => {
    assert.equal(recoveryPaceMs(lostForMs), expected);
  });
}

test('a lost pair is asked one pace after its last probe', () => {
  const pair = lostPair(1, 1000);
  assert.equal(recoveryAt(pair, at(1500)), at(4000));
});

test('only the pairs that were lost last are waited for, and none that never worked', () => {
  const never = new CandidatePair(
    { socket: 0, remote: { address: '198.51.100.3', port: 9 } },
    'host',
  );
  never.probeSent(at(0));
  never.fail(at(0));
  const lost = Array.from({ length: 9 }, (_, index) => lostPair(index + 1, 1000 + index));
  const waitedFor = recovering([never, ...lost], at(5000));
  assert.deepEqual(new Set(waitedFor), new Set(lost.slice(-maxRecovering)));
});
