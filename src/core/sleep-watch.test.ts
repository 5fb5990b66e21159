import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SleepWatch } from './sleep-watch.ts';
import { monotonicMs } from './time.ts';

const at = (seconds: number) => monotonicMs(1000 * seconds);

test('a sleep is noticed once, by the first input after it', () => {
  const watch = new SleepWatch();
  assert.equal(watch.woke(at(0)), false);
  watch.expect(at(1));
  assert.equal(watch.woke(at(600)), true);
  watch.expect(at(1));
  assert.equal(watch.woke(at(600)), false);
});

test('nothing to be done for long is no sleep', () => {
  const watch = new SleepWatch();
  assert.equal(watch.woke(at(0)), false);
  watch.expect(undefined);
  assert.equal(watch.woke(at(600)), false);
  watch.expect(at(1200));
  assert.equal(watch.woke(at(1201)), false);
});

test('whoever is too busy for a deadline is awake', () => {
  const watch = new SleepWatch();
  for (let second = 0; second < 60; second++) {
    assert.equal(watch.woke(at(second)), false);
    watch.expect(at(1));
  }
});
