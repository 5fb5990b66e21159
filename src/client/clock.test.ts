import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SystemClock } from './clock.ts';

function machine() {
  const times = { monotonic: 5000, wall: 1_700_000_000_000, sinceBoot: 90_000 };
  let looks = 0;
  const clock = new SystemClock({
    monotonic: () => times.monotonic,
    wall: () => times.wall,
    sinceBoot: () => {
      looks += 1;
      return times.sinceBoot;
    },
  });
  const pass = (ms: number, sleptMs = 0) => {
    times.monotonic += ms;
    times.wall += ms + sleptMs;
    times.sinceBoot += ms + sleptMs;
  };
  return { clock, times, pass, looks: () => looks };
}

test('the first thing that happens after a sleep sees the time that was slept, and it is told once', () => {
  const { clock, pass } = machine();
  const before = clock.now().monotonic;
  pass(40, 600_000);
  assert.equal(clock.now().monotonic - before, 600_040);
  assert.equal(clock.noticeSleep(), true);
  assert.equal(clock.noticeSleep(), false);
  assert.equal(clock.now().monotonic - before, 600_040);
});

test('a sleep that the wall clock does not show is found by whoever looks', () => {
  const { clock, times } = machine();
  times.sinceBoot += 60_000;
  assert.equal(clock.now().monotonic, 5000);
  assert.equal(clock.noticeSleep(), true);
  assert.equal(clock.now().monotonic, 65_000);
});

test('a wall clock that somebody sets is no sleep, and time goes on without looking again', () => {
  const { clock, times, pass, looks } = machine();
  times.wall -= 3_600_000;
  assert.equal(clock.now().monotonic, 5000);
  const sofar = looks();
  for (let i = 0; i < 100; i++) {
    pass(10);
    clock.now();
  }
  assert.equal(looks(), sofar);
  assert.equal(clock.noticeSleep(), false);
  assert.equal(clock.now().monotonic, 6000);
});
