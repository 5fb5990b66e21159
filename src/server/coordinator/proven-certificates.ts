/**
 * Device certificates whose signature was checked: a device shows the same one at each login. Those in the database count, since
 * none gets there unchecked, so that a server that was started anew does not check those of all its clients again.
 */
import type { Crypto } from '#core/crypto.ts';
import { forgetOldest } from '#core/forget-oldest.ts';
import { maxProvenCertificates } from './limits.ts';

export class ProvenCertificates {
  readonly #crypto: Crypto;
  /** SHA-256 of the certificates, a byte a character. */
  readonly #hashes = new Set<string>();

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  add(certificate: Uint8Array): void {
    this.#hashes.add(this.#hash(certificate));
    forgetOldest(this.#hashes, maxProvenCertificates);
  }

  has(certificate: Uint8Array): boolean {
    return this.#hashes.has(this.#hash(certificate));
  }

  #hash(certificate: Uint8Array): string {
    return Buffer.from(this.#crypto.sha256(certificate)).toString('latin1');
  }
}
