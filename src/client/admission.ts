import { randomBytes } from 'node:crypto';
import type { Crypto } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import { argon2id, defaultArgon2Cost } from '#crypto/argon2.ts';
import type { Operation } from '#wire/control.ts';
import type { Argon2Parameters } from '#wire/fields.ts';

/** What a password proves and opens (protocol §5). */
export interface AdmissionKeys {
  /** Sent to the server, which stores only a hash of it. */
  readonly verifier: Uint8Array;
  /** Never sent: the network's end-to-end secret is wrapped under it. */
  readonly wrappingKey: Uint8Array;
}

export type Admission = Extract<Operation, { op: 'create' }>['admission'];

const nonceBytes = 24;
const wrapData = new TextEncoder().encode('buri secret 1');
const noSalt = new Uint8Array(0);

/** Runs Argon2id, a quarter of a second and 64 MiB at least. BuriError: argon2-cost, argon2-failed. */
export async function admissionKeys(
  crypto: Crypto,
  password: string,
  salt: Uint8Array,
  cost: Argon2Parameters,
): Promise<AdmissionKeys> {
  const bytes = new TextEncoder().encode(password.normalize('NFC'));
  const key = await argon2id(bytes, salt, 32, cost);
  const derive = (info: string) =>
    crypto.hkdfSha256(key, noSalt, new TextEncoder().encode(info), 32);
  const keys = { verifier: derive('buri verifier 1'), wrappingKey: derive('buri wrap 1') };
  bytes.fill(0);
  key.fill(0);
  return keys;
}

/** What the server is given for a new password: a salt of its own, the verifier, the secret wrapped. */
export async function newAdmission(
  crypto: Crypto,
  password: string,
  secret: Uint8Array,
): Promise<Admission> {
  const salt = new Uint8Array(randomBytes(16));
  const { verifier, wrappingKey } = await admissionKeys(crypto, password, salt, defaultArgon2Cost);
  const wrappedSecret = wrapSecret(crypto, wrappingKey, secret);
  wrappingKey.fill(0);
  return {
    salt,
    argon2: { ...defaultArgon2Cost },
    verifier,
    wrappedSecret,
    hasPassword: password !== '',
  };
}

export function wrapSecret(crypto: Crypto, key: Uint8Array, secret: Uint8Array): Uint8Array {
  const nonce = crypto.random(nonceBytes);
  const sealed = crypto.xSeal(key, nonce, secret, wrapData);
  const wrapped = new Uint8Array(nonceBytes + sealed.length);
  wrapped.set(nonce);
  wrapped.set(sealed, nonceBytes);
  return wrapped;
}

/** The end-to-end secret. BuriError: invalid-password, when the key does not open it. */
export function unwrapSecret(crypto: Crypto, key: Uint8Array, wrapped: Uint8Array): Uint8Array {
  const nonce = wrapped.subarray(0, nonceBytes);
  const secret = crypto.xOpen(key, nonce, wrapped.subarray(nonceBytes), wrapData);
  if (secret?.length !== 32) {
    throw new BuriError('invalid-password', 'the password does not open the network; check it');
  }
  return secret;
}
