import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeCbor, encodeCbor, maxCborDepth } from './cbor.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text, 'hex'));

test('values of control messages survive encoding and decoding', () => {
  const value = { a: 1, b: [true, false, null, 'ü'], c: new Uint8Array([1, 2, 3]), d: { e: -7 } };
  assert.deepEqual(decodeCbor(encodeCbor(value), 1000), value);
});

test('what strict CBOR forbids is refused', () => {
  const refused: [string, string][] = [
    ['', 'nothing'],
    ['c074323031332d30332d32315432303a30343a30305a', 'a tag'],
    ['9fff', 'an array of indefinite length'],
    ['5f42010243030405ff', 'a byte string of indefinite length'],
    ['a2616101616102', 'a key twice'],
    ['0101', 'a second item behind the first'],
    ['1801', 'an integer longer than needed'],
    ['1bffffffffffffffff', 'an integer that a number cannot hold'],
    ['f97e00', 'NaN'],
    ['f7', 'undefined'],
    ['62c328', 'text that is not UTF-8'],
    ['a10102', 'a map key that is not text'],
    ['9bffffffffffffffff', 'an array that claims more items than there are bytes'],
    ['5a7fffffff00', 'a byte string that claims more bytes than there are'],
  ];
  for (const [bytes, what] of refused) assert.equal(decodeCbor(hex(bytes), 1000), undefined, what);
});

test('depth and size are bounded', () => {
  const nested = (depth: number) => hex(`${'81'.repeat(depth)}00`);
  assert.notEqual(decodeCbor(nested(maxCborDepth), 1000), undefined);
  assert.equal(decodeCbor(nested(maxCborDepth + 1), 1000), undefined);
  assert.equal(decodeCbor(nested(100_000), 1_000_000), undefined);
  assert.equal(decodeCbor(encodeCbor(new Uint8Array(100)), 100), undefined);
});

test('random bytes and damaged messages never throw', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeCbor(bytes, 200)));
  const good = encodeCbor({ t: 'login', list: [1, 2, { x: new Uint8Array(9) }], text: 'abc' });
  for (let at = 0; at < good.length; at++) {
    for (const value of [0, 0x5f, 0x7f, 0x9f, 0xbf, 0xdf, 0xff]) {
      const damaged = good.slice();
      damaged[at] = value;
      decodeCbor(damaged, 1000);
      decodeCbor(good.subarray(0, at), 1000);
    }
  }
});
