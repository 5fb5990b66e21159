import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeStun, encodeBindingRequest, encodeBindingSuccess } from '#wire/stun.ts';
import { answerStun, maxAmplification } from './stun-answer.ts';

const transactionId = new Uint8Array(12).fill(5);
const source = { address: '203.0.113.5', port: 40_000 };
const first = { address: '198.51.100.1', port: 3478 };
const second = { address: '198.51.100.1', port: 3479 };
const elsewhere = { address: '198.51.100.2', port: 3479 };
const onePortEach = [{ public: first }, { public: second }] as const;
const twoAddresses = [{ public: first }, { public: elsewhere }] as const;

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
    [{ changeIp: true, changePort: true }, twoAddresses, 1],
    [{ changePort: true }, twoAddresses, 420],
    [{ changePort: true }, [{ public: first }] as const, 420],
  ] as const;
  for (const [change, sockets, expected] of table) {
    const answer = answerStun(request(change), source, 0, sockets);
    const message = decodeStun(answer!.bytes);
    const name = JSON.stringify([change, sockets.length, expected]);
    if (expected === 420) {
      assert.equal(message?.errorCode?.code, 420, name);
      assert.equal(answer?.from, 0, name);
    } else {
      assert.equal(answer?.from, expected, name);
      assert.deepEqual(message?.responseOrigin, sockets[1]?.public, name);
    }
  }
  assert.equal(answerStun(request({ changePort: true }), source, 1, onePortEach)?.from, 0);
});

test('an answer is never more than three times its request, whatever comes', () => {
  const bare = encodeBindingRequest({ transactionId });
  const v6 = { address: '2001:db8::1', port: 40_000 };
  const v6Sockets = [
    { public: { address: '2001:db8::2', port: 3478 } },
    { public: { address: '2001:db8::2', port: 3479 } },
  ] as const;
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
  for (const bytes of [success, indication, otherMethod, new Uint8Array(20), request().subarray(1)])
    assert.equal(answerStun(bytes, source, 0, onePortEach), undefined);
  assert.equal(answerStun(request(), { ...source, port: 0 }, 0, onePortEach), undefined);
});

test('unknown required attributes are refused by name', () => {
  const bytes = new Uint8Array(28);
  bytes.set(encodeBindingRequest({ transactionId }));
  bytes.set([0, 0x27, 0, 4], 20);
  bytes[3] = 8;
  const message = decodeStun(answerStun(bytes, source, 0, onePortEach)!.bytes);
  assert.equal(message?.errorCode?.code, 420);
});
