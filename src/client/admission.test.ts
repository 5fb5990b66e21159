import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { admissionKeys, newAdmission, unwrapSecret, wrapSecret } from './admission.ts';

const secret = new Uint8Array(32).fill(7);

test('what one device wraps another one opens with the same password, and with no other', async () => {
  const admission = await newAdmission(crypto, 'Pässword', secret);
  const { salt, argon2, verifier, wrappedSecret } = admission;
  assert.equal(admission.hasPassword, true);
  const composed = await admissionKeys(crypto, 'Pässword'.normalize('NFD'), salt, argon2);
  assert.deepEqual(composed.verifier, verifier);
  assert.deepEqual(unwrapSecret(crypto, composed.wrappingKey, wrappedSecret), secret);
  const wrong = await admissionKeys(crypto, 'password', salt, argon2);
  assert.notDeepEqual(wrong.verifier, verifier);
  assert.throws(() => unwrapSecret(crypto, wrong.wrappingKey, wrappedSecret), {
    code: 'invalid-password',
  });
});

test('verifier and wrapping key are independent, and the secret is not in what is sent', async () => {
  const admission = await newAdmission(crypto, '', secret);
  assert.equal(admission.hasPassword, false);
  const { verifier, wrappingKey } = await admissionKeys(
    crypto,
    '',
    admission.salt,
    admission.argon2,
  );
  assert.notDeepEqual(verifier, wrappingKey);
  assert.throws(() => unwrapSecret(crypto, verifier, admission.wrappedSecret));
  const sent = Buffer.concat([admission.verifier, admission.wrappedSecret]);
  assert.equal(sent.includes(secret), false);
  assert.equal(sent.includes(wrappingKey), false);
});

test('a server cannot make the derivation cheap', async () => {
  const salt = new Uint8Array(16);
  for (const cost of [
    { memoryKib: 1024, passes: 3, parallelism: 1 },
    { memoryKib: 65_536, passes: 1, parallelism: 1 },
  ]) {
    await assert.rejects(admissionKeys(crypto, 'x', salt, cost), { code: 'argon2-cost' });
  }
});

test('a damaged wrap is refused', () => {
  const key = new Uint8Array(32).fill(1);
  const wrapped = wrapSecret(crypto, key, secret);
  assert.equal(wrapped.length, 72);
  for (const at of [0, 30, 71]) {
    const damaged = wrapped.slice();
    damaged[at]! ^= 1;
    assert.throws(() => unwrapSecret(crypto, key, damaged), { code: 'invalid-password' });
  }
  assert.throws(() => unwrapSecret(crypto, key, new Uint8Array(3)), { code: 'invalid-password' });
});
