import type { Crypto } from '#core/crypto.ts';
import { addressBytes } from '#wire/endpoint.ts';
import { stunTokenBytes } from '#wire/stun.ts';

const minuteMs = 60_000;
/** Clients have a fresh one at every refresh of their mapping, which is more often. */
const lifetimeMinutes = 10;
const timeBytes = 4;

/**
 * Tokens in STUN answers (protocol §8): who shows one has received at the address that it was sent to, not long ago.
 *
 *     0                4
 *     minute, LE32     MAC (12): keyed BLAKE2s-128, first 12 bytes, of minute ‖ address (4 or 16)
 *
 * The key comes from the cluster's, so that every node knows every node's tokens and a restart takes none away.
 */
export class StunTokens {
  readonly #crypto: Crypto;
  readonly #key: Uint8Array;

  constructor(crypto: Crypto, key: Uint8Array) {
    this.#crypto = crypto;
    this.#key = key;
  }

  /** @param wallMs now. */
  issue(address: string, wallMs: number): Uint8Array {
    return this.#make(address, Math.floor(wallMs / minuteMs));
  }

  verify(address: string, token: Uint8Array, wallMs: number): boolean {
    if (token.length !== stunTokenBytes || addressBytes(address) === undefined) return false;
    const view = new DataView(token.buffer, token.byteOffset, token.byteLength);
    const minute = view.getUint32(0, true);
    const age = Math.floor(wallMs / minuteMs) - minute;
    if (age < 0 || age > lifetimeMinutes) return false;
    return this.#crypto.equal(token, this.#make(address, minute));
  }

  #make(address: string, minute: number): Uint8Array {
    const bytes = addressBytes(address);
    const token = new Uint8Array(stunTokenBytes);
    if (bytes === undefined) return token;
    new DataView(token.buffer).setUint32(0, minute, true);
    const mac = this.#crypto.blake2sMac(this.#key, 16, token.subarray(0, timeBytes), bytes);
    token.set(mac.subarray(0, stunTokenBytes - timeBytes), timeBytes);
    return token;
  }
}
