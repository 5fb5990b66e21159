import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '../time.ts';
import { CandidatePair } from './candidate-pair.ts';

/** The round-trip time of a pair after answers that took so long. */
function rttAfter(...samplesMs: readonly number[]): number {
  const pair = new CandidatePair(
    { socket: 1, remote: { address: '192.0.2.1', port: 1 } },
    'server-reflexive',
  );
  for (const [i, sampleMs] of samplesMs.entries()) {
    const sentAt = monotonicMs(1000 * i);
    pair.responseReceived(pair.probeSent(sentAt), sentAt, monotonicMs(sentAt + sampleMs));
  }
  return pair.rttMs!;
}

test('one slow first answer is soon outweighed by quick ones', () => {
  assert.equal(rttAfter(40), 40);
  assert.ok(rttAfter(40, 2, 2, 2, 2) < 5);
});

test('one slow answer among quick ones changes little, a slower path is followed', () => {
  assert.ok(rttAfter(10, 10, 10, 50) <= 15);
  const slower = rttAfter(10, ...new Array<number>(30).fill(50));
  assert.ok(slower > 45 && slower <= 50, `${slower}`);
});
