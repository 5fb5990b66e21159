import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hash,
  hkdfSync,
  type KeyObject,
  randomFillSync,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { blake2s as nobleBlake2s } from '@noble/hashes/blake2.js';
import type { AeadSuite, Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';

/** The primitives over node:crypto (OpenSSL), and over noble where it has none: keyed BLAKE2s, XChaCha20. */
export const nodeCrypto: Crypto = {
  random: (lengthBytes) => randomFillSync(new Uint8Array(lengthBytes)),
  x25519PublicKey: (privateKey) => publicKeyOf('x25519', privateKey),
  x25519,
  ed25519PublicKey: (seed) => publicKeyOf('ed25519', seed),
  ed25519Sign: (seed, message) => plain(sign(null, message, privateKeyObject('ed25519', seed))),
  ed25519Verify,
  blake2s: (...parts) => plain(hash('blake2s256', joined(parts), 'buffer')),
  blake2sMac: (key, lengthBytes, ...parts) =>
    nobleBlake2s(joined(parts), { key, dkLen: lengthBytes }),
  hmacBlake2s,
  sha256: (...parts) => plain(hash('sha256', joined(parts), 'buffer')),
  hkdfSha256: (secret, salt, info, lengthBytes) =>
    new Uint8Array(hkdfSync('sha256', secret, salt, info, lengthBytes)),
  seal,
  open,
  xSeal: (key, nonce, plaintext, ad) => xchacha20poly1305(key, nonce, ad).encrypt(plaintext),
  xOpen,
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
};

const keyLengthBytes = 32;
const signatureLengthBytes = 64;
const nonceLengthBytes = 12;
const tagLengthBytes = 16;
const blake2sBlockBytes = 64;
const blake2sHashBytes = 32;

type Curve = 'x25519' | 'ed25519';

/**
 * OpenSSL derives the public key whenever a private key is imported, which costs as much as a whole X25519 (55 µs),
 * so imported keys are kept as long as the caller keeps the byte array. The copy tells an array that was overwritten.
 */
const imported: Readonly<Record<Curve, WeakMap<Uint8Array, ImportedKey>>> = {
  x25519: new WeakMap(),
  ed25519: new WeakMap(),
};

interface ImportedKey {
  readonly bytes: Uint8Array;
  readonly key: KeyObject;
}

function privateKeyObject(curve: Curve, privateKey: Uint8Array): KeyObject {
  const known = imported[curve].get(privateKey);
  if (known !== undefined && timingSafeEqual(known.bytes, privateKey)) return known.key;
  assert(privateKey.length === keyLengthBytes, 'a private key has 32 bytes');
  const key = createPrivateKey({
    key: Buffer.from(privateKey),
    format: 'raw-private',
    asymmetricKeyType: curve,
  });
  imported[curve].set(privateKey, { bytes: privateKey.slice(), key });
  return key;
}

function publicKeyObject(curve: Curve, publicKey: Uint8Array): KeyObject {
  return createPublicKey({
    key: Buffer.from(publicKey),
    format: 'raw-public',
    asymmetricKeyType: curve,
  });
}

function publicKeyOf(curve: Curve, privateKey: Uint8Array): Uint8Array {
  const { x } = privateKeyObject(curve, privateKey).export({ format: 'jwk' });
  assert(typeof x === 'string', 'a JWK of an octet key pair has x');
  return new Uint8Array(Buffer.from(x, 'base64url'));
}

function x25519(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined {
  assert(publicKey.length === keyLengthBytes, 'a public key has 32 bytes');
  const local = privateKeyObject('x25519', privateKey);
  try {
    return plain(
      diffieHellman({ privateKey: local, publicKey: publicKeyObject('x25519', publicKey) }),
    );
  } catch {
    return undefined; // OpenSSL refuses to derive the all-zero secret of a low-order point
  }
}

function ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== keyLengthBytes || signature.length !== signatureLengthBytes)
    return false;
  return verify(null, message, publicKeyObject('ed25519', publicKey), signature);
}

/**
 * RFC 2104 by two hashes in one piece: an HMAC object of OpenSSL costs several times as much, and a handshake needs fifteen.
 * @param key at most a block.
 */
function hmacBlake2s(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const lengthBytes = parts.reduce((sum, part) => sum + part.length, 0);
  const inner = padded(key, 0x36, lengthBytes);
  let offset = blake2sBlockBytes;
  for (const part of parts) {
    inner.set(part, offset);
    offset += part.length;
  }
  const outer = padded(key, 0x5c, blake2sHashBytes);
  outer.set(hash('blake2s256', inner, 'buffer'), blake2sBlockBytes);
  const mac = plain(hash('blake2s256', outer, 'buffer'));
  inner.fill(0);
  outer.fill(0);
  return mac;
}

/** A block of key and pad, and room for what follows it. */
function padded(key: Uint8Array, pad: number, roomBytes: number): Uint8Array {
  assert(key.length <= blake2sBlockBytes, 'a key fits a block');
  const bytes = new Uint8Array(blake2sBlockBytes + roomBytes);
  bytes.fill(pad, 0, blake2sBlockBytes);
  for (let i = 0; i < key.length; i++) bytes[i]! ^= key[i]!;
  return bytes;
}

const cipherNames = {
  chacha20poly1305: 'chacha20-poly1305',
  aes256gcm: 'aes-256-gcm',
} as const satisfies Record<AeadSuite, string>;

function seal(
  suite: AeadSuite,
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  ad: Uint8Array,
): Uint8Array {
  assert(nonce.length === nonceLengthBytes, 'a nonce has 12 bytes');
  const options = { authTagLength: tagLengthBytes };
  const cipher = createCipheriv(cipherNames[suite] as 'aes-256-gcm', key, nonce, options);
  cipher.setAAD(ad);
  const sealed = new Uint8Array(plaintext.length + tagLengthBytes);
  sealed.set(cipher.update(plaintext));
  cipher.final();
  sealed.set(cipher.getAuthTag(), plaintext.length);
  return sealed;
}

function open(
  suite: AeadSuite,
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  ad: Uint8Array,
): Uint8Array | undefined {
  assert(nonce.length === nonceLengthBytes, 'a nonce has 12 bytes');
  const lengthBytes = sealed.length - tagLengthBytes;
  if (lengthBytes < 0) return undefined;
  const options = { authTagLength: tagLengthBytes };
  const decipher = createDecipheriv(cipherNames[suite] as 'aes-256-gcm', key, nonce, options);
  decipher.setAAD(ad);
  decipher.setAuthTag(sealed.subarray(lengthBytes));
  const plaintext = plain(decipher.update(sealed.subarray(0, lengthBytes)));
  try {
    decipher.final();
  } catch {
    return undefined; // the tag does not verify
  }
  return plaintext;
}

function xOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  ad: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < tagLengthBytes) return undefined;
  const cipher = xchacha20poly1305(key, nonce, ad);
  try {
    return cipher.decrypt(sealed);
  } catch {
    return undefined; // the tag does not verify
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** Core sees plain byte arrays: a Buffer slices, prints and compares differently. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
