import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { paddedLength, TransportKey } from './transport.ts';

const A = new Uint8Array(32).fill(1);
const B = new Uint8Array(32).fill(2);
const SUITES = ['aes256gcm', 'chacha20poly1305'] as const;

test('a packet has the layout of WireGuard and opens at the other end', () => {
  for (const suite of SUITES) {
    const sender = new TransportKey(nodeCrypto, suite, 0x80000001, A, B, 0x1020304n);
    const receiver = new TransportKey(nodeCrypto, suite, 7, B, A);
    const text = new TextEncoder().encode('sixteen bytes ok');
    const packet = sender.seal(text)!;
    assert.equal(packet.length, 32 + 16);
    const header = Buffer.from(packet.subarray(0, 16)).toString('hex');
    assert.equal(header, '04000000' + '01000080' + '0403020100000000');
    assert.deepEqual(receiver.open(packet), { type: 'opened', plaintext: text });
    assert.deepEqual(receiver.open(packet), { type: 'replayed' });
  }
});

test('every changed byte but those of type and index makes a packet forged', () => {
  const sender = new TransportKey(nodeCrypto, 'aes256gcm', 1, A, B);
  const packet = sender.seal(new Uint8Array(16))!;
  for (let i = 8; i < packet.length; i++) {
    const receiver = new TransportKey(nodeCrypto, 'aes256gcm', 1, B, A);
    const copy = packet.slice();
    copy[i]! ^= 1;
    const { type } = receiver.open(copy);
    // Flipping the high bytes of the counter takes it beyond the message limit of AES.
    assert.ok(
      type === 'forged' || (type === 'replayed' && i >= 11 && i < 16),
      `byte ${i}: ${type}`,
    );
    assert.equal(receiver.open(packet).type, 'opened', 'a forgery leaves no trace');
  }
  const receiver = new TransportKey(nodeCrypto, 'aes256gcm', 1, B, A);
  assert.equal(receiver.open(packet.subarray(0, 31)).type, 'forged');
});

test('the message limits are those of the suite', () => {
  const limits = [
    ['aes256gcm', 1n << 28n, 1n << 29n],
    ['chacha20poly1305', 1n << 60n, (1n << 64n) - (1n << 13n) - 1n],
  ] as const;
  for (const [suite, rekey, reject] of limits) {
    const near = new TransportKey(nodeCrypto, suite, 1, A, B, rekey - 1n);
    assert.equal(near.isAtRekeyLimit, false);
    near.seal(new Uint8Array(0));
    assert.equal(near.isAtRekeyLimit, true);
    const last = new TransportKey(nodeCrypto, suite, 1, A, B, reject - 1n);
    const packet = last.seal(new Uint8Array(0));
    assert.ok(packet !== undefined);
    assert.equal(last.seal(new Uint8Array(0)), undefined);
    const receiver = new TransportKey(nodeCrypto, suite, 1, B, A);
    assert.equal(receiver.open(packet).type, 'opened');
  }
});

test('padding goes to 16 bytes and never beyond the MTU', () => {
  assert.deepEqual(
    [0, 1, 16, 17, 1_391, 1_399, 1_400].map((length) => paddedLength(length, 1_400)),
    [0, 16, 16, 32, 1_392, 1_400, 1_400],
  );
  assert.equal(paddedLength(1_500, 1_400), 1_500, 'a packet larger than the MTU keeps its length');
});
