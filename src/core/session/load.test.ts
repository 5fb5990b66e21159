import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '#core/time.ts';
import { Deadlines } from './deadlines.ts';
import { LoadMeter, SourceLimiter, sourceBytes } from './load.ts';

const at = monotonicMs;
const from = (address: string, prefix?: Uint8Array) => ({
  socket: 0,
  remote: { address, port: 258 },
  ...(prefix === undefined ? {} : { prefix }),
});

test('load begins with the message beyond the limit and ends a second after the burst', () => {
  const meter = new LoadMeter(3);
  assert.deepEqual(
    [0, 1, 2, 3].map((ms) => meter.count(at(ms))),
    [false, false, false, true],
  );
  assert.equal(meter.count(at(900)), true);
  assert.equal(meter.count(at(1950)), false);
});

test('a steady rate below the limit is never load', () => {
  const meter = new LoadMeter(10);
  for (let ms = 0; ms < 10_000; ms += 101) assert.equal(meter.count(at(ms)), false);
});

test('a source has a burst of 5 and 20 messages a second', () => {
  const limiter = new SourceLimiter();
  const allowed = (now: number, address = '192.0.2.1') =>
    [1, 2, 3, 4, 5, 6, 7].filter(() => limiter.allow(from(address), at(now))).length;
  assert.equal(allowed(0), 5);
  assert.equal(allowed(49), 0);
  assert.equal(allowed(100), 2);
  assert.equal(allowed(100, '192.0.2.2'), 5, 'another address');
  assert.equal(allowed(10_000), 5);
});

test('one IPv6 /64 is one source, and each relay header is its own', () => {
  const limiter = new SourceLimiter();
  for (let i = 1; i <= 5; i++) assert.ok(limiter.allow(from(`2001:db8::${i}`), at(0)));
  assert.ok(!limiter.allow(from('2001:db8::99'), at(0)));
  assert.ok(limiter.allow(from('2001:db8:0:1::1'), at(0)));
  assert.ok(limiter.allow(from('2001:db8::1', Uint8Array.of(1)), at(0)));
});

test('the table of sources is bounded', () => {
  const limiter = new SourceLimiter();
  for (let i = 0; i < 10_000; i++) {
    limiter.allow(from(`10.0.${i >> 8}.${i & 255}`), at(i));
  }
  assert.equal(limiter.size, 4096);
});

test('a cookie is bound to address, port and relay header', () => {
  assert.deepEqual(sourceBytes(from('192.0.2.1')), Uint8Array.of(192, 0, 2, 1, 1, 2));
  assert.deepEqual(
    sourceBytes(from('192.0.2.1', Uint8Array.of(9))),
    Uint8Array.of(192, 0, 2, 1, 1, 2, 9),
  );
  assert.equal(sourceBytes(from('2001:db8::1')).length, 18);
});

test('deadlines come out in order, and changing them leaves no trace', () => {
  const deadlines = new Deadlines();
  for (let round = 0; round < 100; round++) {
    for (let key = 0; key < 50; key++) deadlines.set(key, at(1000 * round + ((key * 37) % 50)));
  }
  deadlines.set(3, undefined);
  assert.equal(deadlines.next, 99_000);
  const keys: number[] = [];
  for (let key = deadlines.takeDue(at(1e9)); key !== undefined; key = deadlines.takeDue(at(1e9))) {
    keys.push(key);
  }
  const expected = Array.from({ length: 50 }, (_, key) => key)
    .filter((key) => key !== 3)
    .toSorted((a, b) => ((a * 37) % 50) - ((b * 37) % 50));
  assert.deepEqual(keys, expected);
  assert.equal(deadlines.next, undefined);
  deadlines.set(1, at(5));
  assert.equal(deadlines.takeDue(at(4)), undefined);
  assert.equal(deadlines.takeDue(at(5)), 1);
});
