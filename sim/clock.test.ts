import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { VirtualClock } from './clock.ts';
import { deterministicCrypto, Random } from './random.ts';

test('events run in order of time, then of scheduling', () => {
  const clock = new VirtualClock(0);
  const seen: string[] = [];
  clock.at(20, () => seen.push('c'));
  clock.at(10, () => {
    seen.push('a');
    clock.in(0, () => seen.push('a2'));
    clock.at(5, () => seen.push('late'));
  });
  clock.at(10, () => seen.push('b'));
  clock.at(15, () => seen.push('cancelled')).cancel();
  clock.run(15);
  assert.deepEqual(seen, ['a', 'b', 'a2', 'late']);
  assert.equal(clock.monotonic, 15);
  assert.equal(clock.next, 20);
  clock.run(100);
  assert.deepEqual(seen.at(-1), 'c');
  assert.equal(clock.step(), false);
});

test('a thousand random events come out sorted', () => {
  const random = new Random(1);
  const clock = new VirtualClock(0);
  const seen: number[] = [];
  for (let i = 0; i < 1000; i++) {
    const at = random.below(100);
    clock.at(at, () => seen.push(clock.monotonic));
  }
  clock.run(100);
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assert.equal(seen.length, 1000);
});

test('the wall clock can be set without touching monotonic time', () => {
  const clock = new VirtualClock(5, 1_000_000);
  clock.stepWall(-500_000);
  assert.deepEqual(clock.now, { monotonic: 5, wall: 500_000 });
});

test('a loop of events is stopped by the bound', () => {
  const clock = new VirtualClock();
  const again = () => void clock.in(0, again);
  again();
  assert.throws(() => clock.run(1, 100), /more than 100/);
});

test('a seed gives the same numbers, and forks do not depend on draws before', () => {
  const [one, two] = [new Random('seed'), new Random('seed')];
  assert.deepEqual(one.bytes(64), two.bytes(64));
  const fork = new Random('seed').fork('a');
  assert.equal(one.fork('a').uint32(), fork.uint32());
  assert.notEqual(one.fork('b').uint32(), one.fork('a').uint32());
  assert.notDeepEqual(new Random(1).bytes(8), new Random(2).bytes(8));
});

test('numbers are spread evenly', () => {
  const random = new Random(7);
  const buckets = new Array<number>(16).fill(0);
  for (let i = 0; i < 16_000; i++) buckets[random.below(16)]!++;
  for (const count of buckets) assert.ok(count > 850 && count < 1150, `${buckets}`);
});

test('deterministic crypto repeats keys and nothing else', () => {
  const make = () => deterministicCrypto(nodeCrypto, new Random(3));
  assert.deepEqual(make().random(32), make().random(32));
  const text = new TextEncoder().encode('abc');
  assert.deepEqual(make().sha256(text), nodeCrypto.sha256(text));
});
