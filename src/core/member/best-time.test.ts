import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs, type Now, wallMs } from '../time.ts';
import { BestTime } from './best-time.ts';

const day = 86_400_000;
const start = 1_800_000_000_000;
const at = (monotonic: number, wall: number): Now => ({
  monotonic: monotonicMs(monotonic),
  wall: wallMs(wall),
});

test('a clock set back brings nothing that has ended back to life, also after a restart', () => {
  const time = new BestTime(start);
  assert.equal(time.documents(at(0, start - 30 * day)), start);
  time.serverSays(start + day, at(1000, start - 30 * day));
  assert.equal(time.documents(at(1000 + day, start - 29 * day)), start + 2 * day);
  assert.equal(new BestTime(time.latestMs).documents(at(0, start - day)), start + day);
});

test('a server that had its clock wrong is believed when it has set it right', () => {
  const time = new BestTime(start);
  time.serverSays(start + 40 * day, at(0, start));
  assert.equal(time.documents(at(1000, start)), start + 40 * day + 1000);
  time.serverSays(start + 2000, at(2000, start + 2000));
  assert.equal(time.documents(at(3000, start + 3000)), start + 3000);
  assert.equal(time.latestMs, start + 2000);
});
