/** What the soak takes for growth, and what not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findGrowth, type Sample, takeSample, trendOf } from '../nightly/samples.ts';

const mebibyte = 1024 * 1024;
const count = 720;

/** An hour of samples, one every 5 s; `at` is 0 to 1. */
function hour(of: (at: number, index: number) => Partial<Sample>): Sample[] {
  return Array.from({ length: count }, (_, index) => ({
    ...{ atMs: index * 5000, rssBytes: 120 * mebibyte, anonymousBytes: 60 * mebibyte },
    ...{ threads: 11, descriptors: 30, heapBytes: 20 * mebibyte },
    ...of(index / count, index),
  }));
}

/** Saw teeth, as of a garbage collector. */
const teeth = (index: number) => ((index * 7) % 40) * 0.3 * mebibyte;

describe('growth', () => {
  test('is not seen in the noise of a collector, in requests that come and go, and while warming up', () => {
    const samples = hour((at, index) => ({
      anonymousBytes: 60 * mebibyte + teeth(index) + Math.min(at, 0.2) * 100 * mebibyte,
      heapBytes: 20 * mebibyte + teeth(index) / 4,
      descriptors: index % 3 === 0 ? 33 : 30,
    }));
    assert.deepEqual(findGrowth(samples), []);
  });

  test('of memory by 16 MiB an hour, of the heap by 6, is seen under that noise', () => {
    for (const [name, perHour] of [
      ['anonymousBytes', 16],
      ['heapBytes', 6],
    ] as const) {
      const leak = (at: number, index: number) => teeth(index) + at * perHour * mebibyte;
      const found = findGrowth(hour((at, index) => ({ [name]: 50 * mebibyte + leak(at, index) })));
      assert.equal(found.length, 1);
      assert.match(found[0] ?? '', new RegExp(`^${name} grew from [0-9.]+ to [0-9.]+ MiB$`));
    }
  });

  test('of descriptors and threads is seen from the second on', () => {
    const late = (at: number, from: number) => from + (at > 0.7 ? 2 : 0);
    assert.deepEqual(findGrowth(hour((at) => ({ descriptors: late(at, 30) }))), [
      'descriptors grew from 30 to 32',
    ]);
    assert.deepEqual(findGrowth(hour((at) => ({ threads: late(at, 11) }))), [
      'threads grew from 11 to 13',
    ]);
  });

  test('is not denied for want of samples', () => {
    assert.deepEqual(findGrowth([]), ['too few samples']);
  });
});

test('a trend is that of least squares', () => {
  const values = [1, 3, 2, 4].map((value, index) => ({ atMs: index * 3_600_000, value }));
  const { perHour, growth, first, last } = trendOf(values);
  assert.ok(Math.abs(perHour - 0.8) < 1e-9);
  assert.ok(Math.abs(growth - 2.4) < 1e-9);
  assert.deepEqual([first, last], [1, 4]);
});

test('a sample of this process has what it is known to have', {
  skip: process.platform !== 'linux' && 'needs /proc',
}, () => {
  const sample = takeSample(process.pid, 5, ['heap 1 0 0', 'noise', 'heap 2 0 0']);
  assert.ok(sample !== undefined);
  assert.ok(sample.rssBytes > 20 * mebibyte && sample.anonymousBytes < sample.rssBytes);
  assert.ok(sample.threads > 1 && sample.descriptors > 3);
  assert.equal(sample.heapBytes, 2);
  assert.equal(takeSample(2 ** 22 + 1, 5, []), undefined);
});
