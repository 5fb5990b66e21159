import assert from 'node:assert/strict';
import { createDecipheriv } from 'node:crypto';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Keypair, type TransportKeys } from './keypair.ts';

const fill = (byte: number) => new Uint8Array(32).fill(byte);

function ends(suite: TransportKeys['suite']): [Keypair, Keypair] {
  const a = { localIndex: 1, sendKey: fill(1), receiveKey: fill(2) };
  const b = { localIndex: 2, sendKey: fill(2), receiveKey: fill(1) };
  return [
    new Keypair(crypto, { ...a, peer: 0, suite, remoteIndex: 2 }),
    new Keypair(crypto, { ...b, peer: 0, suite, remoteIndex: 1 }),
  ];
}

for (const suite of ['chacha20poly1305', 'aes256gcm'] as const) {
  test(`${suite}: packets are padded to 16, sealed under a counter, and opened once`, () => {
    const [a, b] = ends(suite);
    for (const length of [0, 1, 15, 16, 17, 1400]) {
      const packet = crypto.random(length);
      const message = a.seal(packet)!;
      const padded = Math.ceil(length / 16) * 16;
      assert.equal(message.length, 16 + padded + 16);
      const opened = b.open(message);
      assert.ok('packet' in opened);
      assert.equal(opened.packet.length, padded);
      assert.deepEqual(opened.packet.subarray(0, length), packet);
      assert.deepEqual(b.open(message), { failure: 'replayed' });
    }
    assert.equal(a.sent, 6);
  });

  test(`${suite}: the nonce is four zero bytes and the counter, little-endian`, () => {
    const [a] = ends(suite);
    a.seal(new Uint8Array(0));
    const message = a.seal(Uint8Array.of(7))!;
    const name = suite === 'aes256gcm' ? 'aes-256-gcm' : 'chacha20-poly1305';
    const nonce = Buffer.from('000000000100000000000000', 'hex');
    const decipher = createDecipheriv(name as 'aes-256-gcm', fill(1), nonce, { authTagLength: 16 });
    decipher.setAuthTag(message.subarray(-16));
    const packet = Buffer.concat([decipher.update(message.subarray(16, -16)), decipher.final()]);
    assert.deepEqual(packet, Buffer.concat([Uint8Array.of(7), new Uint8Array(15)]));
  });
}

test('a forged packet leaves the window alone', () => {
  const [a, b] = ends('chacha20poly1305');
  const message = a.seal(Uint8Array.of(1))!;
  const forged = message.slice();
  forged[20]! ^= 1;
  assert.deepEqual(b.open(forged), { failure: 'forged' });
  forged.set(Uint8Array.of(0xff, 0xff, 0xff), 8);
  assert.deepEqual(b.open(forged), { failure: 'forged' });
  assert.ok('packet' in b.open(message));
});

test('messages of others, and what is none, are told apart', () => {
  const [a, b] = ends('aes256gcm');
  assert.deepEqual(a.open(a.seal(new Uint8Array(0))!), { failure: 'wrong-index' });
  assert.deepEqual(b.open(new Uint8Array(40)), { failure: 'malformed' });
});

test('a counter at the limit of the suite is refused unread', () => {
  const [a, b] = ends('aes256gcm');
  const message = a.seal(new Uint8Array(0))!;
  new DataView(message.buffer).setBigUint64(8, 2n ** 29n, true);
  assert.deepEqual(b.open(message), { failure: 'limit' });
});

test('an erased keypair opens nothing', () => {
  const [a, b] = ends('chacha20poly1305');
  const message = a.seal(new Uint8Array(0))!;
  b.erase();
  assert.deepEqual(b.open(message), { failure: 'forged' });
});
