import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import {
  decodeProbeBody,
  encodeProbeBody,
  maxProbeBytes,
  openProbe,
  type ProbeBody,
  probeBytes,
  readProbeHeader,
  sealProbe,
} from './probe.ts';

const unhex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const key = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i);
const nonce = Uint8Array.from({ length: 24 }, (_, i) => 0x40 + i);
const transaction = Uint8Array.from({ length: 12 }, (_, i) => 1 + i);
const keyId = 0x0102030405060708n;
const time = 1_767_225_600_123;

// The second one was computed by another implementation (HChaCha20 by hand, RFC 8439 of OpenSSL) too.
const vectors: { type: 'request' | 'response'; body: ProbeBody; wire: string }[] = [
  {
    type: 'request',
    body: { transaction, proven: false, using: true, time },
    wire:
      '42555201010000000102030405060708404142434445464748494a4b4c4d4e4f5051525354555657' +
      'f00e70f05ef6f352f2187cdff4ae9d553247726e05449ceccabaf50c42550dc87b94ca0bb06c9f7d' +
      'e98729470a862a4d92b70769fd0d08d0',
  },
  {
    type: 'response',
    body: {
      ...{ transaction, proven: true, using: false, time },
      observed: { address: '192.0.2.7', port: 41_641 },
    },
    wire:
      '42555201020000000102030405060708404142434445464748494a4b4c4d4e4f5051525354555657' +
      'f00e70f05ef6f352f2187cdff7aa9d553247726e05449ceccaba350c4052af617b94ca0bb06c9f7d' +
      '6cd1fc95606899e3718881d75153b5ea',
  },
  {
    type: 'response',
    body: {
      ...{ transaction, proven: true, using: true, time },
      observed: { address: '2001:db8::7', port: 3478 },
    },
    wire:
      '42555201020000000102030405060708404142434445464748494a4b4c4d4e4f5051525354555657' +
      'f00e70f05ef6f352f2187cdff5a8bd543fff726e05449ceccabaf50c4252005e7b94ca0bb06c9f7d' +
      '1d4f09c1cd9dac2b3f9deda9c44b294f',
  },
];

for (const [i, { type, body, wire }] of vectors.entries()) {
  test(`probe vector ${i + 1}: a ${type} is sealed to these bytes and opens again`, () => {
    const bytes = sealProbe(nodeCrypto, { key, keyId }, type, body, nonce);
    assert.equal(hex(bytes), wire);
    assert.equal(bytes.length, probeBytes);
    assert.deepEqual(readProbeHeader(bytes), { type, keyId });
    assert.deepEqual(openProbe(nodeCrypto, key, bytes), body);
  });
}

test('a padded request has the size asked for, opens like any other, and its padding is authenticated', () => {
  const { body } = vectors[0]!;
  for (const size of [97, 548, 1432, maxProbeBytes]) {
    const bytes = sealProbe(nodeCrypto, { key, keyId }, 'request', body, nonce, size);
    assert.equal(bytes.length, size);
    assert.deepEqual(readProbeHeader(bytes), { type: 'request', keyId });
    assert.deepEqual(openProbe(nodeCrypto, key, bytes), body);
    assert.equal(openProbe(nodeCrypto, key, bytes.subarray(0, -1)), undefined, 'cut');
    assert.equal(openProbe(nodeCrypto, key, bytes.subarray(0, probeBytes)), undefined, 'bare');
    assert.equal(openProbe(nodeCrypto, key, Uint8Array.of(...bytes, 0)), undefined, 'grown');
    const changed = bytes.slice();
    changed[size - 1]! ^= 1;
    assert.equal(openProbe(nodeCrypto, key, changed), undefined, 'changed');
  }
});

test('the body has the layout of protocol §7', () => {
  assert.equal(
    hex(encodeProbeBody(vectors[1]!.body)),
    '0102030405060708090a0b0c' +
      '01' +
      '04' +
      '000000000000000000000000c0000207' +
      'a2a9' +
      '7ba8da769b010000',
  );
});

test('no bit of a sealed probe can be changed', () => {
  const wire = unhex(vectors[1]!.wire);
  for (let i = 0; i < wire.length * 8; i++) {
    const changed = wire.slice();
    changed[i >> 3]! ^= 1 << (i & 7);
    // The header is read without a key: type and key id are what the tag then refuses.
    if (i >= 16 * 8) assert.deepEqual(readProbeHeader(changed), readProbeHeader(wire));
    assert.equal(openProbe(nodeCrypto, key, changed), undefined, `bit ${i}`);
  }
  assert.equal(openProbe(nodeCrypto, key.toReversed(), wire), undefined, 'another key');
});

test('what is not exactly a probe has no header', () => {
  const wire = unhex(vectors[0]!.wire);
  const changed = (at: number, value: number) => {
    const bytes = wire.slice();
    bytes[at] = value;
    return bytes;
  };
  const not: Uint8Array[] = [
    new Uint8Array(0),
    wire.subarray(0, 95),
    new Uint8Array([...wire, ...new Uint8Array(maxProbeBytes + 1 - probeBytes)]),
    // Only requests are padded: a response is never larger than what asked for it.
    Uint8Array.of(...unhex(vectors[1]!.wire), 0),
    changed(0, 0x43),
    changed(3, 0x02),
    changed(4, 0),
    changed(4, 3),
    changed(5, 1),
    changed(6, 1),
    changed(7, 1),
  ];
  for (const bytes of not) assert.equal(readProbeHeader(bytes), undefined);
  assert.equal(openProbe(nodeCrypto, key, wire.subarray(0, 95)), undefined);
});

test('a body with an unknown family or an impossible time is refused, unknown flags are not', () => {
  const body = encodeProbeBody(vectors[1]!.body);
  const changed = (at: number, value: number) => {
    const bytes = body.slice();
    bytes[at] = value;
    return decodeProbeBody(bytes);
  };
  assert.equal(changed(13, 5), undefined);
  assert.equal(changed(39, 0xff), undefined);
  assert.equal(decodeProbeBody(body.subarray(1)), undefined);
  assert.deepEqual(changed(12, 0xfd), vectors[1]!.body);
  assert.equal(changed(13, 0)?.observed, undefined);
});

test('a view into a larger buffer is read like a buffer of its own', () => {
  const wire = unhex(vectors[1]!.wire);
  const large = new Uint8Array(200);
  large.set(wire, 37);
  const view = large.subarray(37, 37 + wire.length);
  assert.deepEqual(readProbeHeader(view), { type: 'response', keyId });
  assert.deepEqual(openProbe(nodeCrypto, key, view), vectors[1]!.body);
});
