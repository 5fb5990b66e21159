import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeCarriedSignal,
  decodeRevocations,
  encodeCarriedSignal,
  encodeRevocations,
  maxCarriedRevocations,
  maxCarriedSignalBytes,
  memberMessageType,
} from './carried.ts';
import { MAX_MESSAGE_BYTES } from './inner.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytesOf = (...values: number[]) => new Uint8Array(values);

test('a carried signal has the bytes of its layout', () => {
  const signal = { from: 1, to: 999_999_999, isPassedOn: true, sealed: bytesOf(0xaa, 0xbb) };
  const bytes = encodeCarriedSignal(signal);
  assert.equal(hex(bytes), '0201000001000000ffc99a3baabb');
  assert.deepEqual(decodeCarriedSignal(bytes), signal);
  assert.equal(memberMessageType(bytes), 'signal');
});

test('revocations have the bytes of their layout', () => {
  const encoded = encodeRevocations([bytesOf(1, 2), bytesOf(3)]);
  assert.equal(hex(encoded!.bytes), '0302000002000102010003');
  assert.equal(encoded!.count, 2);
  assert.deepEqual(decodeRevocations(encoded!.bytes), [bytesOf(1, 2), bytesOf(3)]);
  assert.equal(memberMessageType(encoded!.bytes), 'revocations');
});

test('as many revocations as fit go into a message', () => {
  const documents = Array.from({ length: 30 }, () => new Uint8Array(250).fill(7));
  const encoded = encodeRevocations(documents)!;
  assert.equal(encoded.count, 4);
  assert.ok(encoded.bytes.length <= MAX_MESSAGE_BYTES);
  assert.equal(decodeRevocations(encoded.bytes)?.length, 4);
  const small = encodeRevocations(documents.map(() => bytesOf(1)))!;
  assert.equal(small.count, maxCarriedRevocations);
  assert.equal(encodeRevocations([new Uint8Array(MAX_MESSAGE_BYTES)]), undefined);
  assert.equal(encodeRevocations([]), undefined);
});

test('what is cut short, too long, or of another kind is none of these', () => {
  const signal = encodeCarriedSignal({ from: 1, to: 2, isPassedOn: false, sealed: bytesOf(9) });
  assert.equal(decodeCarriedSignal(signal.subarray(0, 12)), undefined);
  const longest = new Uint8Array(maxCarriedSignalBytes + 1);
  const tooLong = encodeCarriedSignal({ from: 1, to: 2, isPassedOn: false, sealed: longest });
  assert.equal(decodeCarriedSignal(tooLong), undefined);
  const list = encodeRevocations([bytesOf(1, 2, 3)])!.bytes;
  for (let cut = 0; cut < list.length; cut++) {
    assert.equal(decodeRevocations(list.subarray(0, cut)), undefined);
  }
  assert.equal(decodeRevocations(bytesOf(...list, 0)), undefined, 'something follows');
  assert.equal(decodeRevocations(bytesOf(3, 1, 0, 0, 0, 0)), undefined, 'an empty document');
  assert.equal(decodeRevocations(bytesOf(3, 17, 0, 0, ...Array(51).fill(0))), undefined);
  assert.equal(memberMessageType(bytesOf()), undefined);
  assert.equal(memberMessageType(bytesOf(200)), undefined);
});

test('any bytes are decoded or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1300 }), fc.constantFrom(2, 3), (bytes, type) => {
      const message = new Uint8Array([type, ...bytes]);
      const signal = decodeCarriedSignal(message);
      assert.ok(signal === undefined || signal.sealed.length <= maxCarriedSignalBytes);
      const list = decodeRevocations(message);
      assert.ok(list === undefined || list.length <= maxCarriedRevocations);
    }),
  );
});
