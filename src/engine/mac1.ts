import { blake2s } from '@noble/hashes/blake2.js';

const LABEL = new TextEncoder().encode('mac1----');
const MAC_BYTES = 16;
/** mac1 and mac2 end a handshake message (WireGuard paper, section 5.4.4). */
const MACS_BYTES = 2 * MAC_BYTES;

/**
 * Checks that a handshake message was made by somebody who knows our public key, before it costs anything else.
 * mac1 = keyed BLAKE2s-128 over all bytes before it, key = BLAKE2s-256('mac1----' ‖ public key).
 */
export class Mac1Check {
  readonly #key: Uint8Array;

  constructor(publicKey: Uint8Array) {
    this.#key = blake2s.create({ dkLen: 32 }).update(LABEL).update(publicKey).digest();
  }

  /** The key is derived from a public value, so the comparison has nothing to hide. */
  accepts(message: Uint8Array): boolean {
    const covered = message.length - MACS_BYTES;
    if (covered < 0) return false;
    const mac = blake2s(message.subarray(0, covered), { key: this.#key, dkLen: MAC_BYTES });
    return mac.every((byte, i) => byte === message[covered + i]);
  }
}
