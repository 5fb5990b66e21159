import type { Crypto } from '#core/crypto.ts';
import { CipherState } from './cipher-state.ts';

export const hashLengthBytes = 32;

/** Chaining key and transcript hash of a handshake (Noise §5.2), over BLAKE2s. */
export class SymmetricState {
  readonly #crypto: Crypto;
  readonly #cipher: CipherState;
  #ck: Uint8Array;
  #h: Uint8Array;

  constructor(crypto: Crypto, protocolName: string, cloneOf?: SymmetricState) {
    this.#crypto = crypto;
    if (cloneOf !== undefined) {
      this.#cipher = cloneOf.#cipher.clone();
      this.#ck = cloneOf.#ck.slice();
      this.#h = cloneOf.#h.slice();
      return;
    }
    const name = new TextEncoder().encode(protocolName);
    if (name.length <= hashLengthBytes) {
      this.#h = new Uint8Array(hashLengthBytes);
      this.#h.set(name);
    } else this.#h = crypto.blake2s(name);
    this.#ck = this.#h.slice();
    this.#cipher = new CipherState(crypto);
  }

  clone(): SymmetricState {
    return new SymmetricState(this.#crypto, '', this);
  }

  get handshakeHash(): Uint8Array {
    return this.#h;
  }

  get hasKey(): boolean {
    return this.#cipher.hasKey;
  }

  mixKey(inputKeyMaterial: Uint8Array): void {
    const [ck, k] = hkdf(this.#crypto, this.#ck, inputKeyMaterial, 2);
    this.#ck.fill(0);
    this.#ck = ck!;
    this.#cipher.initializeKey(k!);
  }

  mixHash(data: Uint8Array): void {
    this.#h = this.#crypto.blake2s(this.#h, data);
  }

  mixKeyAndHash(inputKeyMaterial: Uint8Array): void {
    const [ck, hash, k] = hkdf(this.#crypto, this.#ck, inputKeyMaterial, 3);
    this.#ck.fill(0);
    this.#ck = ck!;
    this.mixHash(hash!);
    this.#cipher.initializeKey(k!);
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = this.#cipher.encryptWithAd(this.#h, plaintext);
    this.mixHash(ciphertext);
    return ciphertext;
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined {
    const plaintext = this.#cipher.decryptWithAd(this.#h, ciphertext);
    if (plaintext !== undefined) this.mixHash(ciphertext);
    return plaintext;
  }

  /** The two transport keys: initiator to responder, and back. */
  split(): readonly [Uint8Array, Uint8Array] {
    const [k1, k2] = hkdf(this.#crypto, this.#ck, new Uint8Array(0), 2);
    return [k1!, k2!];
  }

  erase(): void {
    this.#ck.fill(0);
    this.#cipher.erase();
  }
}

/** HKDF of Noise (§4.3): `count` outputs of 32 bytes. */
function hkdf(
  crypto: Crypto,
  chainingKey: Uint8Array,
  inputKeyMaterial: Uint8Array,
  count: 2 | 3,
): readonly Uint8Array[] {
  const tempKey = crypto.hmacBlake2s(chainingKey, inputKeyMaterial);
  const outputs: Uint8Array[] = [];
  let previous = new Uint8Array(0);
  for (let i = 1; i <= count; i++) {
    previous = new Uint8Array(crypto.hmacBlake2s(tempKey, previous, Uint8Array.of(i)));
    outputs.push(previous);
  }
  tempKey.fill(0);
  return outputs;
}
