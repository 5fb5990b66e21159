import type { AeadSuite, Crypto } from '#core/crypto.ts';
import { ReplayWindow } from './replay.ts';

export const TRANSPORT_HEADER_BYTES = 16;
export const TRANSPORT_OVERHEAD_BYTES = 32;

const REKEY_AFTER_MESSAGES = { aes256gcm: 1n << 28n, chacha20poly1305: 1n << 60n } as const;
const REJECT_AFTER_MESSAGES = {
  aes256gcm: 1n << 29n,
  chacha20poly1305: (1n << 64n) - (1n << 13n) - 1n,
} as const;

const NOTHING = new Uint8Array(0);

export type OpenResult =
  | { readonly type: 'opened'; readonly plaintext: Uint8Array }
  | { readonly type: 'forged' }
  | { readonly type: 'replayed' };

/**
 * One keypair of a tunnel. Packet (WireGuard's transport data): type 4 and three zero bytes, receiver index LE32, counter
 * LE64, ciphertext, 16-byte tag. Nonce: four zero bytes, counter LE64. No associated data.
 */
export class TransportKey {
  readonly #crypto: Crypto;
  readonly #suite: AeadSuite;
  readonly #remoteIndex: number;
  readonly #sendKey: Uint8Array;
  readonly #receiveKey: Uint8Array;
  readonly #replay = new ReplayWindow();
  #counter: bigint;

  constructor(
    crypto: Crypto,
    suite: AeadSuite,
    remoteIndex: number,
    sendKey: Uint8Array,
    receiveKey: Uint8Array,
    counter = 0n,
  ) {
    this.#crypto = crypto;
    this.#suite = suite;
    this.#remoteIndex = remoteIndex;
    this.#sendKey = sendKey.slice();
    this.#receiveKey = receiveKey.slice();
    this.#counter = counter;
  }

  /** The next counter is the first at which the peer should be rekeyed. */
  get isAtRekeyLimit(): boolean {
    return this.#counter === REKEY_AFTER_MESSAGES[this.#suite];
  }

  /** Undefined when the key has sealed as many packets as it may. */
  seal(plaintext: Uint8Array): Uint8Array | undefined {
    if (this.#counter >= REJECT_AFTER_MESSAGES[this.#suite]) return undefined;
    const nonce = nonceOf(this.#counter);
    const sealed = this.#crypto.seal(this.#suite, this.#sendKey, nonce, plaintext, NOTHING);
    const packet = new Uint8Array(TRANSPORT_HEADER_BYTES + sealed.length);
    const view = new DataView(packet.buffer);
    view.setUint32(0, 4, true);
    view.setInt32(4, this.#remoteIndex, true);
    view.setBigUint64(8, this.#counter, true);
    packet.set(sealed, TRANSPORT_HEADER_BYTES);
    this.#counter++;
    return packet;
  }

  open(packet: Uint8Array): OpenResult {
    if (packet.length < TRANSPORT_OVERHEAD_BYTES) return { type: 'forged' };
    const view = new DataView(packet.buffer, packet.byteOffset);
    const counter = view.getBigUint64(8, true);
    const refused = counter >= REJECT_AFTER_MESSAGES[this.#suite];
    if (refused || !this.#replay.accepts(counter)) return { type: 'replayed' };
    const sealed = packet.subarray(TRANSPORT_HEADER_BYTES);
    const nonce = nonceOf(counter);
    const plaintext = this.#crypto.open(this.#suite, this.#receiveKey, nonce, sealed, NOTHING);
    if (plaintext === undefined) return { type: 'forged' };
    this.#replay.mark(counter);
    return { type: 'opened', plaintext };
  }

  erase(): void {
    this.#sendKey.fill(0);
    this.#receiveKey.fill(0);
  }
}

function nonceOf(counter: bigint): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, counter, true);
  return nonce;
}

/** Length of a plaintext after padding to 16 bytes, which never goes beyond the MTU. */
export function paddedLength(lengthBytes: number, mtuBytes: number): number {
  return Math.min(Math.ceil(lengthBytes / 16) * 16, Math.max(mtuBytes, lengthBytes));
}
