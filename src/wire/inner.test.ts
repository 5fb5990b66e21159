import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INNER_HEADER_BYTES, readInnerHeader, writeInnerHeader } from './inner.ts';

test('the header has the bytes of its layout', () => {
  const bytes = new Uint8Array(6 + 300);
  writeInnerHeader(bytes, 2, { kind: 'message', length: 300 });
  assert.deepEqual([...bytes.subarray(0, 6)], [0, 0, 0x20, 0, 1, 44]);
  assert.deepEqual(readInnerHeader(bytes.subarray(2)), { kind: 'message', length: 300 });
  writeInnerHeader(bytes, 0, { kind: 'frame', length: 60 });
  assert.deepEqual([...bytes.subarray(0, 4)], [0x10, 0, 0, 60]);
  assert.deepEqual(readInnerHeader(bytes), { kind: 'frame', length: 60 });
});

test('what is not all there, too short, or of another kind is none', () => {
  const of = (first: number, second: number, length: number, there = length) =>
    readInnerHeader(
      Uint8Array.of(first, second, length >> 8, length & 255, ...new Uint8Array(there)),
    );
  assert.ok(of(0x20, 0, 1) !== undefined && of(0x10, 0, 14) !== undefined);
  assert.ok(of(0x20, 0, 1, 16) !== undefined, 'padding');
  assert.equal(of(0x20, 0, 0, 4), undefined, 'nothing in it');
  assert.equal(of(0x10, 0, 13), undefined, 'no whole Ethernet header');
  assert.equal(of(0x20, 0, 17, 16), undefined, 'cut');
  assert.equal(of(0x21, 0, 16), undefined, 'low nibble');
  assert.equal(of(0x20, 1, 16), undefined, 'second byte');
  for (const first of [0, 0x30, 0x45, 0x60, 0xf0]) assert.equal(of(first, 0, 16), undefined);
  for (let length = 0; length < INNER_HEADER_BYTES; length++) {
    assert.equal(readInnerHeader(Uint8Array.of(0x20, 0, 0, 1).subarray(0, length)), undefined);
  }
});
