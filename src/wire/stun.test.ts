import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeStun, looksLikeStun, maxStunBytes, stunBinding } from './stun.ts';
import {
  encodeBindingError,
  encodeBindingRequest,
  encodeBindingSuccess,
  withFingerprint,
} from './stun-encode.ts';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
const transactionId = bytes('b7e7a701 bc34d686 fa87dfae');

// RFC 5769 §2.1, §2.2, §2.3.
const sampleRequest = bytes(`
  00010058 2112a442 b7e7a701 bc34d686 fa87dfae 80220010 5354554e 20746573 7420636c 69656e74
  00240004 6e0001ff 80290008 932ff9b1 51263b36 00060009 6576746a 3a683676 59202020
  00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2 80280004 e57a3bcf`);
const sampleIpv4Response = bytes(`
  0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220
  00200008 0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
  80280004 c07d4c96`);
const sampleIpv6Response = bytes(`
  01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220
  00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1
  1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c`);

test('the sample request of RFC 5769 is understood', () => {
  assert.deepEqual(decodeStun(sampleRequest), {
    class: 'request',
    method: stunBinding,
    transactionId,
    software: 'STUN test client',
    username: 'evtj:h6vY',
    fingerprint: true,
    unknownRequired: [],
  });
});

test('the sample responses of RFC 5769 name the addresses they were made for', () => {
  const ipv4 = decodeStun(sampleIpv4Response);
  assert.equal(ipv4?.class, 'success');
  assert.equal(ipv4.software, 'test vector');
  assert.deepEqual(ipv4.xorMappedAddress, { address: '192.0.2.1', port: 32_853 });
  const ipv6 = decodeStun(sampleIpv6Response);
  assert.deepEqual(ipv6?.xorMappedAddress, {
    address: '2001:db8:1234:5678:11:2233:4455:6677',
    port: 32_853,
  });
});

test('a fingerprint is checked, and made as RFC 5769 has it', () => {
  for (const sample of [sampleRequest, sampleIpv4Response, sampleIpv6Response]) {
    assert.deepEqual(withFingerprint(sample.subarray(0, -8)), sample);
    const changed = sample.slice();
    changed[30]! ^= 1;
    assert.equal(decodeStun(changed), undefined);
  }
});

test('a request says which port and address to answer from', () => {
  assert.deepEqual(
    encodeBindingRequest({ transactionId, changePort: true }),
    bytes('00010008 2112a442 b7e7a701 bc34d686 fa87dfae 00030004 00000002'),
  );
  const both = encodeBindingRequest({ transactionId, changePort: true, changeIp: true });
  assert.deepEqual(decodeStun(both)?.changeRequest, { ip: true, port: true });
  assert.deepEqual(
    encodeBindingRequest({ transactionId }),
    bytes('00010000 2112a442 b7e7a701 bc34d686 fa87dfae'),
  );
});

test('a request names another port for the answer, and asks for a token', () => {
  const request = encodeBindingRequest({ transactionId, responsePort: 40_000, wantsToken: true });
  assert.deepEqual(request.subarray(20, 28), bytes('00270004 9c400000'));
  assert.deepEqual(request.subarray(28), bytes(`c0b50010 ${'00'.repeat(16)}`));
  const decoded = decodeStun(request);
  assert.equal(decoded?.responsePort, 40_000);
  assert.deepEqual(decoded.token, new Uint8Array(16));
  const short = bytes('00010008 2112a442 b7e7a701 bc34d686 fa87dfae c0b50004 01020304');
  assert.equal(decodeStun(short)?.token, undefined, 'of another length it is not understood');
});

test('the integrity of RFC 5769’s samples is what their password makes', () => {
  for (const sample of [sampleRequest, sampleIpv4Response, sampleIpv6Response]) {
    // Over everything before the attribute, with a length that ends behind it (RFC 8489 §14.5).
    const before = sample.slice(0, -32);
    new DataView(before.buffer).setUint16(2, before.length - 20 + 24);
    const expected = createHmac('sha1', 'VOkJxbRl1RmTxUk/WvJxBt').update(before).digest();
    assert.deepEqual(Buffer.from(sample.subarray(-28, -8)), expected);
  }
});

test('an answer carries the mapped address, its origin and the other address', () => {
  const origin = { address: '198.51.100.7', port: 3478 };
  const other = { address: '2001:db8::1', port: 3479 };
  const success = encodeBindingSuccess({
    transactionId,
    xorMapped: { address: '192.0.2.1', port: 32_853 },
    responseOrigin: origin,
    otherAddress: other,
  });
  assert.deepEqual(success.subarray(20, 32), bytes('00200008 0001a147 e112a643'));
  assert.deepEqual(success.subarray(32, 44), bytes('802b0008 00010d96 c6336407'));
  const decoded = decodeStun(success);
  assert.deepEqual(decoded?.responseOrigin, origin);
  assert.deepEqual(decoded?.otherAddress, other);
});

test('an unknown required attribute is named, and refused with error 420', () => {
  const request = bytes('00010008 2112a442 b7e7a701 bc34d686 fa87dfae 00290004 0d960000');
  assert.deepEqual(decodeStun(request)?.unknownRequired, [0x29]);
  const error = encodeBindingError({
    transactionId,
    code: 420,
    reason: 'Unknown Attribute',
    unknownAttributes: [0x29],
  });
  const decoded = decodeStun(error);
  assert.equal(decoded?.class, 'error');
  assert.deepEqual(decoded.errorCode, { code: 420, reason: 'Unknown Attribute' });
  assert.deepEqual(error.subarray(-8), bytes('000a0002 00290000'));
});

test('malformed messages are no messages', () => {
  const header = (length: string) => `0001${length}2112a442b7e7a701bc34d686fa87dfae`;
  const table: Record<string, Uint8Array> = {
    empty: new Uint8Array(),
    'one byte short': sampleRequest.subarray(0, -1),
    'a byte too many': Uint8Array.of(...sampleRequest, 0),
    'another cookie': bytes('00010000 2112a443 b7e7a701 bc34d686 fa87dfae'),
    'top bits set': bytes('c0010000 2112a442 b7e7a701 bc34d686 fa87dfae'),
    'length beyond the end': bytes(header('0004')),
    'length not a multiple of four': bytes(`${header('0003')}000000`),
    'attribute beyond the end': bytes(`${header('0008')}0020000800010000`),
    'attribute header cut': bytes(`${header('0002')}0020`),
    'address of a wrong length': bytes(`${header('000c')}0020000800020d96c6336407`),
    'address of an unknown family': bytes(`${header('000c')}0020000800030d96c6336407`),
    'change request of a wrong length': bytes(`${header('0008')}0003000200020000`),
    'fingerprint not last': bytes(`${header('0010')}8028000400000000 8022000400000000`),
    'error code cut': bytes(`${header('0008')}0009000200040000`),
    'more attributes than anybody sends': bytes(`${header('0084')}${'80220000'.repeat(33)}`),
    'longer than any path carries': new Uint8Array(maxStunBytes + 4).fill(0),
  };
  for (const [name, message] of Object.entries(table))
    assert.equal(decodeStun(message), undefined, name);
});

test('nothing throws, whatever the bytes; every cut of a message is refused', () => {
  const prefix = sampleRequest.subarray(0, 20);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (tail) => {
      decodeStun(tail);
      const message = Uint8Array.of(...prefix, ...tail);
      new DataView(message.buffer).setUint16(2, tail.length);
      const decoded = decodeStun(message);
      if (decoded !== undefined) assert.equal(tail.length % 4, 0);
    }),
  );
  for (let end = 0; end < sampleIpv6Response.length; end++)
    assert.equal(decodeStun(sampleIpv6Response.subarray(0, end)), undefined);
});

test('endpoints survive the wire', () => {
  const address = fc.oneof(
    fc.ipV4(),
    fc.constantFrom('2001:db8::1', 'fe80::1', '::1', '2001:db8:1:2:3:4:5:6'),
  );
  fc.assert(
    fc.property(
      address,
      fc.integer({ min: 0, max: 65_535 }),
      fc.uint8Array({ minLength: 12, maxLength: 12 }),
      (ip, port, id) => {
        const xorMapped = { address: ip, port };
        const message = encodeBindingSuccess({ transactionId: id, xorMapped });
        assert.ok(looksLikeStun(message));
        assert.deepEqual(decodeStun(message)?.xorMappedAddress, xorMapped);
      },
    ),
  );
});
