/**
 * The primitives that core needs, injected so that core knows no library. `crypto/node-crypto.ts` implements it
 * over node:crypto and the noble libraries. All byte strings are `Uint8Array`; keys are 32 bytes.
 */
export interface Crypto {
  /** Cryptographically strong random bytes; seeded in simulations. */
  random(lengthBytes: number): Uint8Array;
  /** X25519 public key of a private key (RFC 7748). */
  x25519PublicKey(privateKey: Uint8Array): Uint8Array;
  /** X25519 shared secret, or undefined when it is all zero (a low-order public key). */
  x25519(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined;
  /** Ed25519 public key of a 32-byte seed (RFC 8032). */
  ed25519PublicKey(seed: Uint8Array): Uint8Array;
  ed25519Sign(seed: Uint8Array, message: Uint8Array): Uint8Array;
  ed25519Verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /** BLAKE2s-256 over the concatenation (RFC 7693). */
  blake2s(...parts: readonly Uint8Array[]): Uint8Array;
  /** Keyed BLAKE2s with an output of 16 or 32 bytes. */
  blake2sMac(key: Uint8Array, lengthBytes: 16 | 32, ...parts: readonly Uint8Array[]): Uint8Array;
  /** HMAC-BLAKE2s-256 over the concatenation. */
  hmacBlake2s(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array;
  /** SHA-256 over the concatenation. */
  sha256(...parts: readonly Uint8Array[]): Uint8Array;
  /** HKDF-SHA-256 (RFC 5869). */
  hkdfSha256(
    secret: Uint8Array,
    salt: Uint8Array,
    info: Uint8Array,
    lengthBytes: number,
  ): Uint8Array;
  /** AEAD with a 12-byte nonce; returns ciphertext ‖ 16-byte tag. */
  seal(
    suite: AeadSuite,
    key: Uint8Array,
    nonce: Uint8Array,
    plaintext: Uint8Array,
    ad: Uint8Array,
  ): Uint8Array;
  /** The plaintext, or undefined when the tag does not verify. */
  open(
    suite: AeadSuite,
    key: Uint8Array,
    nonce: Uint8Array,
    sealed: Uint8Array,
    ad: Uint8Array,
  ): Uint8Array | undefined;
  /** XChaCha20-Poly1305 with a 24-byte nonce. */
  xSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, ad: Uint8Array): Uint8Array;
  xOpen(
    key: Uint8Array,
    nonce: Uint8Array,
    sealed: Uint8Array,
    ad: Uint8Array,
  ): Uint8Array | undefined;
  /** Compares in constant time; false for different lengths. */
  equal(a: Uint8Array, b: Uint8Array): boolean;
}

/** Cipher suites of tunnels and of Noise. */
export type AeadSuite = 'chacha20poly1305' | 'aes256gcm';
