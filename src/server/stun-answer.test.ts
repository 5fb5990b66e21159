import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeStun } from '#wire/stun.ts';
import { encodeBindingRequest, encodeBindingSuccess, withFingerprint } from '#wire/stun-encode.ts';
import { answerStun, maxAmplification } from './stun-answer.ts';

const transactionId = new Uint8Array(12).fill(5);
const source = { address: '203.0.113.5', port: 40_000 };
const first = { address: '198.51.100.1', port: 3478 };
const second = { address: '198.51.100.1', port: 3479 };
const elsewhere = { address: '198.51.100.2', port: 3479 };
const onePortEach = {
  sockets: [
    { address: 0, port: 0, public: first },
    { address: 0, port: 1, public: second },
  ],
};
const single = { sockets: [{ address: 0, port: 0, public: first }] };
const four = {
  sockets: [
    { address: 0, port: 0, public: first },
    { address: 0, port: 1, public: second },
    { address: 1, port: 0, public: { address: '198.51.100.2', port: 3478 } },
    { address: 1, port: 1, public: elsewhere },
  ],
};

const request = (rest: object = {}) =>
  encodeBindingRequest({ transactionId, software: 'buri test', ...rest });

test('an answer names the source, where it comes from, and the other socket', () => {
  const answer = answerStun(request(), source, 0, onePortEach);
  const message = decodeStun(answer!.bytes);
  assert.equal(answer?.from, 0);
  assert.deepEqual(message?.xorMappedAddress, source);
  assert.deepEqual(message?.responseOrigin, first);
  assert.deepEqual(message?.otherAddress, second);
  assert.deepEqual(message?.transactionId, transactionId);
});

test('CHANGE-REQUEST is answered from the other socket where there is such a one, else refused', () => {
  const table = [
    [{ changePort: true }, onePortEach, 1],
    [{ changeIp: true }, onePortEach, 420],
    [{ changeIp: true, changePort: true }, onePortEach, 420],
    [{ changePort: true }, single, 420],
    [{ changePort: true }, four, 1],
    [{ changeIp: true }, four, 2],
    [{ changeIp: true, changePort: true }, four, 3],
  ] as const;
  for (const [change, facts, expected] of table) {
    const answer = answerStun(request(change), source, 0, facts);
    const message = decodeStun(answer!.bytes);
    const name = JSON.stringify([change, facts.sockets.length, expected]);
    if (expected === 420) {
      assert.equal(message?.errorCode?.code, 420, name);
      assert.equal(answer?.from, 0, name);
    } else {
      assert.equal(answer?.from, expected, name);
      assert.deepEqual(message?.responseOrigin, facts.sockets[expected]?.public, name);
    }
  }
  assert.equal(answerStun(request({ changePort: true }), source, 1, onePortEach)?.from, 0);
});

test('an answer is never more than three times its request, whatever comes', () => {
  const bare = encodeBindingRequest({ transactionId });
  const v6 = { address: '2001:db8::1', port: 40_000 };
  const v6Sockets = {
    sockets: [
      { address: 0, port: 0, public: { address: '2001:db8::2', port: 3478 } },
      { address: 0, port: 1, public: { address: '2001:db8::2', port: 3479 } },
    ],
    token: () => new Uint8Array(16).fill(7),
  };
  const short = answerStun(bare, v6, 0, v6Sockets);
  assert.ok(short!.bytes.length <= maxAmplification * bare.length);
  assert.deepEqual(decodeStun(short!.bytes)?.xorMappedAddress, v6, 'the essence is in it');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (tail, sixth) => {
      const bytes = Uint8Array.of(...bare, ...tail);
      new DataView(bytes.buffer).setUint16(2, tail.length);
      const answer = answerStun(bytes, sixth ? v6 : source, 0, sixth ? v6Sockets : onePortEach);
      if (answer !== undefined) assert.ok(answer.bytes.length <= maxAmplification * bytes.length);
    }),
  );
});

test('what is no Binding request gets no answer', () => {
  const success = encodeBindingSuccess({ transactionId, xorMapped: source });
  const indication = request().slice();
  indication[1] = 0x11;
  const otherMethod = request().slice();
  otherMethod[1] = 0x03;
  for (const bytes of [success, indication, otherMethod, request().subarray(1)])
    assert.equal(answerStun(bytes, source, 0, onePortEach), undefined);
  assert.equal(answerStun(request(), { ...source, port: 0 }, 0, onePortEach), undefined);
});

test('unknown required attributes are refused by name', () => {
  const bytes = new Uint8Array(28);
  bytes.set(encodeBindingRequest({ transactionId }));
  bytes.set([0, 0x29, 0, 4], 20);
  bytes[3] = 8;
  const message = decodeStun(answerStun(bytes, source, 0, onePortEach)!.bytes);
  assert.equal(message?.errorCode?.code, 420);
});

test('OTHER-ADDRESS differs in address and port where the server has both', () => {
  for (const [to, other] of [3, 2, 1, 0].entries()) {
    const message = decodeStun(answerStun(request(), source, to, four)!.bytes);
    assert.deepEqual(message?.otherAddress, four.sockets[other]!.public);
    assert.deepEqual(message.responseOrigin, four.sockets[to]!.public);
  }
});

test('an answer to another port goes there, and is hardly longer than its request', () => {
  const bare = encodeBindingRequest({ transactionId, responsePort: 50_000 });
  const answer = answerStun(bare, source, 0, four)!;
  assert.equal(answer.toPort, 50_000);
  assert.deepEqual(decodeStun(answer.bytes)?.xorMappedAddress, source);
  assert(answer.bytes.length <= 1.2 * bare.length);
  const zero = encodeBindingRequest({ transactionId, responsePort: 0 });
  assert.equal(decodeStun(answerStun(zero, source, 0, four)!.bytes)?.errorCode?.code, 420);
});

test('a fingerprint is answered by one, also in an error', () => {
  for (const plain of [request(), request({ changeIp: true })]) {
    const answer = answerStun(withFingerprint(plain), source, 0, onePortEach);
    assert.equal(decodeStun(answer!.bytes)?.fingerprint, true);
    assert.equal(decodeStun(answerStun(plain, source, 0, onePortEach)!.bytes)?.fingerprint, false);
  }
});

test('a token is given to whoever asks for it, for the address that it is sent to', () => {
  const facts = {
    ...four,
    token: (address: string) => new TextEncoder().encode(`to ${address}...`).subarray(0, 16),
  };
  const answer = answerStun(request({ wantsToken: true }), source, 0, facts);
  assert.deepEqual(decodeStun(answer!.bytes)?.token, facts.token(source.address));
  assert.equal(decodeStun(answerStun(request(), source, 0, facts)!.bytes)?.token, undefined);
});

test('a request as RFC 3489 had it is answered in kind', () => {
  const bytes = new Uint8Array(28);
  bytes.set([0, 1, 0, 8]);
  bytes.fill(9, 4, 20);
  bytes.set([0, 3, 0, 4, 0, 0, 0, 0], 20);
  const answer = answerStun(bytes, source, 0, four)!;
  assert.deepEqual(
    Buffer.from(answer.bytes).toString('hex'),
    `01010024${'09'.repeat(16)}000100080001${'9c40'}cb007105000400080001${'0d96'}c6336401` +
      `000500080001${'0d97'}c6336402`,
  );
  bytes[27] = 6;
  assert.equal(answerStun(bytes, source, 0, four)?.from, 3);
  assert.equal(answerStun(bytes, source, 0, onePortEach), undefined, 'it has no way to refuse');
  // RESPONSE-ADDRESS would make the server send to whom the sender likes.
  bytes[21] = 2;
  assert.equal(answerStun(bytes, source, 0, four), undefined);
});

test('truncated and altered old requests get no answer longer than allowed, and nothing throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (tail) => {
      const bytes = new Uint8Array(20 + tail.length);
      bytes.set([0, 1, 0, tail.length]);
      bytes.set(tail, 20);
      const answer = answerStun(bytes, source, 0, four);
      if (answer !== undefined) assert.ok(answer.bytes.length <= maxAmplification * bytes.length);
    }),
  );
});
