import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeCookieReply,
  decodeInitiation,
  decodeResponse,
  decodeTransport,
  encodeCookieReply,
  encodeInitiation,
  encodeResponse,
  encodeTransport,
  macOffset,
  messageKind,
} from './wireguard.ts';

const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
const fill = (length: number, byte: number) => new Uint8Array(length).fill(byte);

test('an initiation has the layout of the whitepaper', () => {
  const bytes = encodeInitiation({ senderIndex: 0x01020304, noise: fill(108, 0xaa) });
  assert.equal(hex(bytes), `01000000${'04030201'}${'aa'.repeat(108)}${'00'.repeat(32)}`);
  assert.deepEqual(decodeInitiation(bytes), { senderIndex: 0x01020304, noise: fill(108, 0xaa) });
  assert.equal(macOffset(bytes.length), 116);
});

test('a response has the layout of the whitepaper', () => {
  const message = { senderIndex: 0xfffffffe, receiverIndex: 7, noise: fill(48, 0xbb) };
  const bytes = encodeResponse(message);
  assert.equal(hex(bytes), `02000000feffffff07000000${'bb'.repeat(48)}${'00'.repeat(32)}`);
  assert.deepEqual(decodeResponse(bytes), message);
  assert.equal(macOffset(bytes.length), 60);
});

test('a cookie reply has the layout of the whitepaper', () => {
  const message = { receiverIndex: 5, nonce: fill(24, 1), sealedCookie: fill(32, 2) };
  const bytes = encodeCookieReply(message);
  assert.equal(hex(bytes), `0300000005000000${'01'.repeat(24)}${'02'.repeat(32)}`);
  assert.deepEqual(decodeCookieReply(bytes), message);
});

test('a transport message has the layout of the whitepaper', () => {
  const bytes = encodeTransport({ receiverIndex: 1, counter: 0x0102030405 }, fill(16, 9));
  assert.equal(hex(bytes), `0400000001000000${'0504030201000000'}${'09'.repeat(16)}`);
  assert.deepEqual(decodeTransport(bytes), {
    receiverIndex: 1,
    counter: 0x0102030405,
    sealed: fill(16, 9),
  });
  bytes[15] = 0xff;
  assert.equal(decodeTransport(bytes), undefined, 'a counter beyond 2^53');
});

test('a wrong length, type or reserved byte makes it no message', () => {
  const initiation = encodeInitiation({ senderIndex: 1, noise: fill(108, 0) });
  for (const length of [0, 3, 4, 147]) {
    assert.equal(messageKind(initiation.subarray(0, length)), undefined);
  }
  for (const offset of [1, 2, 3]) {
    const changed = initiation.slice();
    changed[offset] = 1;
    assert.equal(messageKind(changed), undefined);
  }
  for (const type of [0, 2, 3, 5, 255]) {
    const changed = initiation.slice();
    changed[0] = type;
    assert.equal(messageKind(changed), undefined, `type ${type}`);
  }
  assert.equal(decodeResponse(initiation), undefined);
  assert.equal(
    messageKind(encodeTransport({ receiverIndex: 1, counter: 0 }, fill(15, 0))),
    undefined,
  );
});

test('no byte string makes a decoder throw', () => {
  const start = fc.constantFrom(...[1, 2, 3, 4].map((type) => Uint8Array.of(type, 0, 0, 0)));
  const length = fc.constantFrom(0, 28, 60, 88, 144, 200);
  fc.assert(
    fc.property(start, length, fc.integer(), (head, tail, byte) => {
      const bytes = new Uint8Array([...head, ...fill(tail, byte)]);
      const decoders = [decodeInitiation, decodeResponse, decodeCookieReply, decodeTransport];
      assert.ok(decoders.filter((decode) => decode(bytes) !== undefined).length <= 1);
    }),
  );
});
