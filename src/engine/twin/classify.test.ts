import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  KIND_BURI,
  KIND_COOKIE,
  KIND_INITIATION,
  KIND_RESPONSE,
  KIND_STUN,
  KIND_TRANSPORT,
} from '../layout.ts';
import { kindOf, splitRuns } from './classify.ts';

const datagram = (hex: string, length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  bytes.set(Buffer.from(hex, 'hex').subarray(0, length));
  return bytes;
};

test('datagrams are told apart by type and size, cookie and magic', () => {
  const table: [string, number, number][] = [
    ['01000000', 148, KIND_INITIATION],
    ['01000000', 147, 0],
    ['01000000', 149, 0],
    ['02000000', 92, KIND_RESPONSE],
    ['02000000', 148, 0],
    ['03000000', 64, KIND_COOKIE],
    ['04000000', 32, KIND_TRANSPORT],
    ['04000000', 31, 0],
    ['04000100', 64, 0],
    ['05000000', 64, 0],
    ['000100002112a442', 20, KIND_STUN],
    ['000100002112a442', 19, 0],
    ['010100002112a442', 32, KIND_STUN],
    ['400100002112a442', 20, 0],
    ['c00100002112a442', 20, 0],
    ['42555201', 4, KIND_BURI],
    ['425552012112a442', 40, KIND_BURI],
    ['42555202', 4, KIND_BURI],
    ['42555203', 40, 0],
    ['425552', 3, 0],
    ['', 0, 0],
  ];
  for (const [hex, length, kind] of table) {
    assert.equal(kindOf(datagram(hex, length)), kind, `${hex || 'nothing'} of ${length} bytes`);
  }
});

test('a merged buffer is split where kind or receiver index changes', () => {
  const a = datagram('0400000001000000', 64);
  const b = datagram('0400000002000000', 64);
  const cookie = datagram('03000000', 64);
  const junk = datagram('ff', 64);
  const short = datagram('0400000002000000', 40);
  const { runs, unknown } = splitRuns(
    Buffer.concat([a, a, b, cookie, cookie, b, junk, b, short]),
    64,
  );
  assert.equal(unknown, 1);
  assert.deepEqual(
    runs.map(({ kind, index, offset, length }) => [kind, index, offset, length]),
    [
      [KIND_TRANSPORT, 1, 0, 128],
      [KIND_TRANSPORT, 2, 128, 64],
      [KIND_COOKIE, 0, 192, 64],
      [KIND_COOKIE, 0, 256, 64],
      [KIND_TRANSPORT, 2, 320, 64],
      [KIND_TRANSPORT, 2, 448, 104],
    ],
  );
});

test('an empty datagram counts as unknown', () => {
  assert.deepEqual(splitRuns(new Uint8Array(0), 0), { runs: [], unknown: 1 });
});
