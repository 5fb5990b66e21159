import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';

/** No Noise message is longer (§3). */
export const maximumMessageBytes = 65_535;
export const tagLengthBytes = 16;

/** Counters are JavaScript integers; a connection ends long before (the specification allows 2^64 - 1). */
const maximumNonce = Number.MAX_SAFE_INTEGER;

/** A key and the nonce of its next message (Noise §5.1). */
export class CipherState {
  readonly #crypto: Crypto;
  #k: Uint8Array | undefined;
  #n = 0;

  /** Takes the key as its own and erases it later; without a key messages pass unencrypted. */
  constructor(crypto: Crypto, k?: Uint8Array) {
    this.#crypto = crypto;
    this.#k = k;
  }

  initializeKey(k: Uint8Array): void {
    this.erase();
    this.#k = k;
    this.#n = 0;
  }

  get hasKey(): boolean {
    return this.#k !== undefined;
  }

  /** Messages that were encrypted or decrypted under this key. */
  get nonce(): number {
    return this.#n;
  }

  /** Ciphertext ‖ tag. An assertion fails for a plaintext that would make more than 65,535 bytes. */
  encryptWithAd(ad: Uint8Array, plaintext: Uint8Array): Uint8Array {
    if (this.#k === undefined) return plaintext;
    assert(
      plaintext.length + tagLengthBytes <= maximumMessageBytes,
      'a Noise message fits its bound',
    );
    return this.#crypto.seal('chacha20poly1305', this.#k, this.#takeNonce(), plaintext, ad);
  }

  /** The plaintext; undefined when it does not authenticate or is too long, and then the nonce stays. */
  decryptWithAd(ad: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
    if (ciphertext.length > maximumMessageBytes) return undefined;
    if (this.#k === undefined) return ciphertext;
    const before = this.#n;
    const plaintext = this.#crypto.open(
      'chacha20poly1305',
      this.#k,
      this.#takeNonce(),
      ciphertext,
      ad,
    );
    if (plaintext === undefined) this.#n = before;
    return plaintext;
  }

  /** Replaces the key one way, so that earlier messages stay secret (§4.2). The nonce goes on. */
  rekey(): void {
    assert(this.#k !== undefined, 'only a state with a key is rekeyed');
    const last = nonceBytes(0);
    last.fill(0xff, 4);
    const sealed = this.#crypto.seal(
      'chacha20poly1305',
      this.#k,
      last,
      new Uint8Array(32),
      new Uint8Array(0),
    );
    this.#k.fill(0);
    this.#k = sealed.slice(0, 32);
    sealed.fill(0);
  }

  /** A second state of the same key and nonce. */
  clone(): CipherState {
    const copy = new CipherState(this.#crypto, this.#k?.slice());
    copy.#n = this.#n;
    return copy;
  }

  erase(): void {
    this.#k?.fill(0);
    this.#k = undefined;
  }

  #takeNonce(): Uint8Array {
    assert(this.#n < maximumNonce, 'a connection is replaced before its nonces end');
    return nonceBytes(this.#n++);
  }
}

/** ChaChaPoly's nonce: four zero bytes and the counter as 64 bits, little-endian (§12.3). */
function nonceBytes(n: number): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, BigInt(n), true);
  return nonce;
}
