import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../../test/support/packets.ts';
import { REPLAY_WINDOW, ReplayWindow } from './replay.ts';

/** Offers a counter as the engine does: check, authenticate, mark. */
const offer = (window: ReplayWindow, counter: bigint): boolean => {
  const accepted = window.accepts(counter);
  if (accepted) window.mark(counter);
  return accepted;
};

test('a counter is accepted once, in any order within the window', () => {
  const window = new ReplayWindow();
  const table: [bigint, boolean][] = [
    [0n, true],
    [0n, false],
    [1n, true],
    [9n, true],
    [8n, true],
    [8n, false],
    [REPLAY_WINDOW + 8n, true],
    [8n, false],
    [10n, true],
    [REPLAY_WINDOW * 3n, true],
    [REPLAY_WINDOW * 2n + 1n, true],
    [REPLAY_WINDOW * 2n - 1n, false],
    [(1n << 64n) - (1n << 13n) - 2n, true],
    [(1n << 64n) - (1n << 13n) - 2n, false],
    [REPLAY_WINDOW * 3n + 1n, false],
  ];
  for (const [i, [counter, accepted]] of table.entries()) {
    assert.equal(offer(window, counter), accepted, `step ${i}, counter ${counter}`);
  }
});

test('the window is at least 2,048 counters wide', () => {
  assert.ok(REPLAY_WINDOW >= 2_048n);
});

test('random counters are accepted as by a set of all that were seen (100 seeds)', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const window = new ReplayWindow();
    const seen = new Set<bigint>();
    let greatest = -1n;
    for (let i = 0; i < 500; i++) {
      const jump = BigInt(random.below(random.below(10) === 0 ? 20_000 : 30));
      const back = BigInt(random.below(9_000));
      const counter = random.below(2) === 0 ? greatest + 1n + jump : greatest - back;
      if (counter < 0n) continue;
      const expected = !seen.has(counter) && greatest + 1n - counter <= REPLAY_WINDOW;
      assert.equal(offer(window, counter), expected, `seed ${seed}, step ${i}`);
      seen.add(counter);
      if (counter > greatest) greatest = counter;
    }
  }
});
