import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '#core/time.ts';
import { maxSequenceWindow, minSequenceWindow } from './limits.ts';
import { blockAround, foreignPerSecond, nextPorts, windowFor } from './prediction.ts';

const at = (port: number, ms: number) => ({ port, at: monotonicMs(ms) });

test('foreign mappings are what the ports skipped, whatever the step', () => {
  const quiet = foreignPerSecond([at(1000, 0), at(1001, 3000)], 1);
  assert(quiet < 1, `${quiet}`);
  const busy = foreignPerSecond([at(1000, 0), at(1031, 3000)], 1);
  assert(Math.abs(busy - 10) < 1.5, `${busy}`);
  assert.equal(foreignPerSecond([at(1000, 0), at(938, 3000)], -2), busy);
});

test('samples that do not fit the step say nothing', () => {
  const assumed = foreignPerSecond([], 1);
  assert.equal(assumed, 8);
  assert.equal(foreignPerSecond([at(1000, 0), at(900, 100)], 1), assumed);
  assert.equal(foreignPerSecond([at(1000, 0), at(1003, 100)], 2), assumed);
  assert.equal(foreignPerSecond([at(1000, 0), at(60_000, 100)], 1), assumed);
});

test('the window grows with the foreign mappings, within its bounds', () => {
  const windows = [0, 2, 5, 10, 20, 1000].map(windowFor);
  assert.deepEqual(
    windows,
    [...windows].sort((a, b) => a - b),
  );
  assert.equal(windows[0], minSequenceWindow);
  assert.equal(windows.at(-1), maxSequenceWindow);
});

test('the next ports follow the last one, up or down', () => {
  assert.deepEqual(nextPorts(at(1000, 0), 2, 16), { first: 1002, count: 16, step: 2 });
  assert.deepEqual(nextPorts(at(1000, 0), -1, 16), { first: 999, count: 16, step: -1 });
});

test('an estimated block is kept, widened by samples beside it, and moved when all lie elsewhere', () => {
  const estimate = { first: 30_208, size: 512 };
  assert.deepEqual(blockAround(estimate, []), { first: 30_208, count: 512, step: 1 });
  assert.deepEqual(blockAround(estimate, [at(30_300, 0), at(30_730, 0)]), {
    first: 30_208,
    count: 523,
    step: 1,
  });
  const moved = blockAround(estimate, [at(40_000, 0), at(40_100, 0)]);
  assert.equal(moved.count, 512);
  assert(moved.first <= 40_000 && moved.first + moved.count > 40_100);
});
