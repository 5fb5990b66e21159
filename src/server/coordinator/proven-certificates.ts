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

  /** @param isSigned checks one that is not known yet. */
  holds(certificate: Uint8Array, isSigned: () => boolean): boolean {
    const hash = this.#hash(certificate);
    if (this.#hashes.has(hash)) return true;
    if (!isSigned()) return false;
    this.#remember(hash);
    return true;
  }

  /** One from the database. */
  add(certificate: Uint8Array): void {
    this.#remember(this.#hash(certificate));
  }

  #remember(hash: string): void {
    this.#hashes.add(hash);
    forgetOldest(this.#hashes, maxProvenCertificates);
  }

  #hash(certificate: Uint8Array): string {
    return Buffer.from(this.#crypto.sha256(certificate)).toString('latin1');
  }
}
