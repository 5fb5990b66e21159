import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Limiter } from './limiter.ts';

test('a burst is allowed at once, then one each interval', () => {
  const limiter = new Limiter({ burst: 3, intervalMs: 100 });
  assert.deepEqual(
    [1, 2, 3, 4].map(() => limiter.tryTake('a', 0)),
    [0, 0, 0, 100],
  );
  assert.equal(limiter.tryTake('a', 99), 1);
  assert.equal(limiter.tryTake('a', 100), 0);
  assert.equal(limiter.tryTake('a', 100), 100);
  assert.equal(limiter.tryTake('b', 100), 0, 'another key is not concerned');
});

test('a bucket is never fuller than its burst', () => {
  const limiter = new Limiter({ burst: 2, intervalMs: 10 });
  limiter.tryTake('a', 0);
  assert.deepEqual(
    [1, 2, 3].map(() => limiter.tryTake('a', 1_000_000)),
    [0, 0, 10],
  );
});

test('forced takes make a debt of at most one more burst', () => {
  const limiter = new Limiter({ burst: 2, intervalMs: 10 });
  for (let i = 0; i < 100; i++) limiter.take('a', 0);
  assert.equal(limiter.waitMs('a', 0), 30);
});

test('it remembers no more keys than its bound, and forgets the least recently used', () => {
  const limiter = new Limiter({ burst: 1, intervalMs: 1000 }, 2);
  limiter.take('a', 0);
  limiter.take('b', 0);
  limiter.take('a', 0);
  limiter.take('c', 0);
  assert.equal(limiter.waitMs('b', 0), 0, 'forgotten');
  assert.ok(limiter.waitMs('a', 0) > 0);
  assert.ok(limiter.waitMs('c', 0) > 0);
});
