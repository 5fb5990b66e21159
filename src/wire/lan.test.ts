import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeLanReport, encodeLanReport, maxReportedGroups } from './lan.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('a report has the bytes of its layout', () => {
  const groups = ['239.1.2.3', 'ff15::cafe'];
  const bytes = encodeLanReport({ ethernet: true, groups, instance: 0x01020304, sequence: 7 });
  const v6 = 'ff15000000000000000000000000cafe';
  assert.equal(hex(bytes), `0101010004030201${'07000000'}${'ef010203'}${v6}`);
  const all = encodeLanReport({ ethernet: false, groups: 'all', instance: 1, sequence: 2 });
  assert.equal(hex(all), '010200000100000002000000');
});

const group = fc.oneof(
  fc
    .tuple(fc.integer({ min: 224, max: 239 }), fc.nat(255), fc.nat(255))
    .map(([a, b, c]) => `${a}.${b}.${c}.9`),
  fc.integer({ min: 1, max: 0xffff }).map((n) => `ff15::${n.toString(16)}`),
);

test('a report comes out as it went in, IPv4 first, and as all when it is too large', () => {
  const report = fc.record({
    ethernet: fc.boolean(),
    groups: fc.uniqueArray(group, { maxLength: 300 }),
    instance: fc.nat(0xffffffff),
    sequence: fc.nat(0xffffffff),
  });
  fc.assert(
    fc.property(report, (one) => {
      const bytes = encodeLanReport(one);
      assert.ok(bytes.length <= 1200);
      const back = decodeLanReport(bytes);
      const v4 = one.groups.filter((text) => !text.includes(':'));
      const v6 = one.groups.filter((text) => text.includes(':'));
      const fits =
        one.groups.length <= maxReportedGroups && 12 + 4 * v4.length + 16 * v6.length <= 1200;
      assert.deepEqual(back, { ...one, groups: fits ? [...v4, ...v6] : 'all' });
    }),
  );
});

test('what is no report is refused, and nothing is read beyond its end', () => {
  const good = encodeLanReport({
    ethernet: false,
    groups: ['239.1.2.3', 'ff15::1'],
    instance: 1,
    sequence: 1,
  });
  const spoilt = (at: number, value: number) => {
    const copy = good.slice();
    copy[at] = value;
    return decodeLanReport(copy);
  };
  assert.ok(decodeLanReport(good) !== undefined);
  assert.equal(spoilt(0, 2), undefined, 'another type');
  assert.equal(spoilt(1, 2), undefined, 'all, and groups as well');
  assert.equal(spoilt(2, 5), undefined, 'more IPv4 than there is');
  assert.equal(spoilt(2, 0), undefined, 'no multiple of 16');
  assert.equal(spoilt(12, 10), undefined, 'unicast');
  assert.equal(spoilt(16, 0xfe), undefined, 'unicast');
  for (let length = 0; length < good.length; length++) {
    // The IPv4 group alone makes a report as well.
    if (length !== 16) assert.equal(decodeLanReport(good.subarray(0, length)), undefined);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => void decodeLanReport(bytes)));
});
