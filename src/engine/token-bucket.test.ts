import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PeerBuckets, TokenBucket } from './token-bucket.ts';

test('a bucket gives its burst at once, then its rate, and never saves more than its burst', () => {
  const bucket = new TokenBucket({ perSecond: 100, burst: 10 });
  const taken = (nowMs: number) => {
    let count = 0;
    while (bucket.take(1, nowMs)) count++;
    return count;
  };
  assert.equal(taken(1000), 10);
  assert.equal(taken(1000), 0);
  assert.equal(taken(1050), 5);
  assert.equal(taken(1_000_000), 10);
  assert.equal(taken(999_000), 0, 'a clock that goes back gives nothing');
  assert.equal(taken(1_000_010), 1);
});

test('several tokens are taken together or not at all', () => {
  const bucket = new TokenBucket({ perSecond: 1, burst: 10 });
  assert.equal(bucket.take(6, 0), true);
  assert.equal(bucket.take(6, 0), false);
  assert.equal(bucket.take(4, 0), true);
  assert.equal(bucket.take(0, 0), true);
});

test('more tokens than the burst are taken when it is full, and waited for afterwards', () => {
  const bucket = new TokenBucket({ perSecond: 1000, burst: 10 });
  assert.equal(bucket.take(1, 0), true);
  assert.equal(bucket.take(30, 0), false);
  assert.equal(bucket.take(30, 1), true);
  assert.equal(bucket.take(1, 20), false);
  assert.equal(bucket.take(1, 22), true);
});

test('each peer has a bucket of its own, and a new one after it was removed', () => {
  const buckets = new PeerBuckets({ perSecond: 1, burst: 2 });
  assert.deepEqual(
    [buckets.take(1, 2, 0), buckets.take(1, 1, 0), buckets.take(2, 2, 0)],
    [true, false, true],
  );
  buckets.remove(1);
  assert.deepEqual([buckets.take(1, 2, 0), buckets.take(2, 1, 0)], [true, false]);
});
