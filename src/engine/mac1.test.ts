import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { Mac1Check } from './mac1.ts';

const publicKey = nodeCrypto.x25519PublicKey(new Uint8Array(32).fill(9));

/** A handshake message as the sender makes it, by other code than that under test. */
function message(length: 148 | 92): Uint8Array {
  const bytes = nodeCrypto.random(length);
  const key = nodeCrypto.blake2s(new TextEncoder().encode('mac1----'), publicKey);
  bytes.set(nodeCrypto.blake2sMac(key, 16, bytes.subarray(0, length - 32)), length - 32);
  return bytes;
}

test('mac1 is accepted when made for our key, whatever mac2 is', () => {
  const check = new Mac1Check(publicKey);
  assert.ok(check.accepts(message(148)));
  assert.ok(check.accepts(message(92)));
});

test('a changed byte before mac2, or another key, is refused', () => {
  const check = new Mac1Check(publicKey);
  for (let i = 0; i < 148 - 16; i++) {
    const bytes = message(148);
    bytes[i]! ^= 0x80;
    assert.equal(check.accepts(bytes), false, `byte ${i}`);
  }
  assert.equal(new Mac1Check(new Uint8Array(32)).accepts(message(148)), false);
  assert.equal(check.accepts(new Uint8Array(31)), false);
});
