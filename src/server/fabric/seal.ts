/**
 * Parcels of the fabric are for the nodes of one cluster only, whoever runs or reads the NATS in between:
 *
 *     0          4            28
 *     42555203   nonce (24)   XChaCha20-Poly1305 of the parcel, tag (16)
 *
 * Key: HKDF of the cluster key for "buri fabric 1"; associated data: "buri fabric 1" and the subject, so that what is for
 * one node opens at no other.
 */
import type { Crypto } from '#core/crypto.ts';
import { maxParcelBytes } from './messages.ts';

const magic = new Uint8Array([0x42, 0x55, 0x52, 0x03]);
const nonceBytes = 24;
const tagBytes = 16;
const headBytes = magic.length + nonceBytes;
export const fabricPurpose = 'buri fabric 1';
export const maxSealedBytes = headBytes + maxParcelBytes + tagBytes;

export class FabricSeal {
  readonly #crypto: Crypto;
  readonly #key: Uint8Array;

  /** @param key 32 bytes that all nodes of the cluster derive from its key. */
  constructor(crypto: Crypto, key: Uint8Array) {
    this.#crypto = crypto;
    this.#key = key;
  }

  seal(subject: string, parcel: Uint8Array): Uint8Array {
    const nonce = this.#crypto.random(nonceBytes);
    const sealed = this.#crypto.xSeal(this.#key, nonce, parcel, associated(subject));
    return Buffer.concat([magic, nonce, sealed]);
  }

  /** Undefined when no node of this cluster has sealed it for this subject. */
  open(subject: string, bytes: Uint8Array): Uint8Array | undefined {
    if (bytes.length < headBytes + tagBytes || bytes.length > maxSealedBytes) return undefined;
    if (magic.some((byte, i) => bytes[i] !== byte)) return undefined;
    const nonce = bytes.subarray(magic.length, headBytes);
    return this.#crypto.xOpen(this.#key, nonce, bytes.subarray(headBytes), associated(subject));
  }
}

const associated = (subject: string) => new TextEncoder().encode(`${fabricPurpose}\0${subject}`);
