import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ReplayWindow, replayWindowBits } from './replay.ts';

/** What a window says of each counter in turn. */
function accepts(counters: readonly number[]): boolean[] {
  const window = new ReplayWindow();
  return counters.map((counter) => {
    const isFresh = window.isFresh(counter);
    if (isFresh) window.mark(counter);
    return isFresh;
  });
}

test('counters are accepted once, in any order within the window', () => {
  assert.deepEqual(accepts([0, 0, 1, 3, 2, 2, 3, 1]), [
    ...[true, false, true, true],
    ...[true, false, false, false],
  ]);
});

test('the window is 8,160 wide, to the counter', () => {
  assert.equal(replayWindowBits, 8160);
  const top = 1_000_000;
  assert.deepEqual(accepts([top, top - replayWindowBits + 1, top - replayWindowBits]), [
    true,
    true,
    false,
  ]);
});

test('a jump beyond the window forgets everything behind it', () => {
  const far = 2 ** 52;
  assert.deepEqual(accepts([5, far, 5, far, far - 5, far - 5, far + 40_000, far + 39_999]), [
    ...[true, true, false, false],
    ...[true, false, true, true],
  ]);
});

test('it accepts exactly what a set of seen counters would', () => {
  const step = fc.oneof(
    fc.integer({ min: -9000, max: 100 }),
    fc.integer({ min: -40, max: 40 }),
    fc.integer({ min: 0, max: 20_000 }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const seen = new Set<number>();
      let highest = -1;
      const counters = steps.map((step) => {
        const counter = Math.max(0, highest + step);
        highest = Math.max(highest, counter);
        return counter;
      });
      let top = -1;
      const expected = counters.map((counter) => {
        const isFresh = !seen.has(counter) && top - counter < replayWindowBits;
        if (isFresh) seen.add(counter);
        if (isFresh) top = Math.max(top, counter);
        return isFresh;
      });
      assert.deepEqual(accepts(counters), expected);
    }),
  );
});
