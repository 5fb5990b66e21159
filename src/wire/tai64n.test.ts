import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addNanoseconds, compareTai64n, encodeTai64n } from './tai64n.ts';

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');

test('the epoch is 2^62 + 10', () => {
  assert.equal(hex(encodeTai64n(0)), '400000000000000a00000000');
  assert.equal(hex(encodeTai64n(-5)), '400000000000000a00000000');
  // 2000-01-01T00:00:00Z, half a second in; 500,000,000 is 0x1dcd6500 before whitening.
  assert.equal(hex(encodeTai64n(946_684_800_500)), '40000000386d438a1d000000');
});

test('adding nanoseconds carries into the seconds', () => {
  const start = encodeTai64n(1000);
  assert.equal(hex(addNanoseconds(start, 1)), '400000000000000b00000001');
  assert.equal(hex(addNanoseconds(start, 999_999_999)), '400000000000000b3b9ac9ff');
  assert.equal(hex(addNanoseconds(start, 1_000_000_000)), '400000000000000c00000000');
  assert.equal(hex(addNanoseconds(start, 3_600_000_000_001)), '4000000000000e1b00000001');
});

test('timestamps compare as moments', () => {
  const now = encodeTai64n(1_790_000_000_000);
  assert.equal(compareTai64n(now, now.slice()), 0);
  assert.ok(compareTai64n(addNanoseconds(now, 1), now) > 0);
  assert.ok(compareTai64n(encodeTai64n(1_789_999_999_900), now) < 0);
});
