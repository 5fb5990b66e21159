import type { AeadSuite, Crypto } from '#core/crypto.ts';
import { decodeTransport, encodeTransport } from '#wire/wireguard.ts';
import { ReplayWindow } from './replay.ts';
import { messageLimits } from './times.ts';

/** The keys of one session as the data plane takes them. Whoever gets them erases both arrays when done. */
export interface TransportKeys {
  readonly peer: number;
  readonly suite: AeadSuite;
  /** Receiver index that the peer puts in its packets to us. */
  readonly localIndex: number;
  /** Receiver index that we put in our packets. */
  readonly remoteIndex: number;
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
}

export type OpenFailure = 'malformed' | 'wrong-index' | 'replayed' | 'forged' | 'limit';

const paddingBytes = 16;
const noAssociatedData = new Uint8Array(0);

/**
 * Transport messages of one session, sealed and opened in TypeScript: for simulations and as the measure of the packet
 * engine. Age is not its business; `Tunnels` removes keys in time.
 */
export class Keypair {
  readonly #crypto: Crypto;
  readonly #keys: TransportKeys;
  readonly #window = new ReplayWindow();
  #counter = 0;

  constructor(crypto: Crypto, keys: TransportKeys) {
    this.#crypto = crypto;
    this.#keys = {
      ...keys,
      sendKey: keys.sendKey.slice(),
      receiveKey: keys.receiveKey.slice(),
    };
  }

  get localIndex(): number {
    return this.#keys.localIndex;
  }

  /** Messages that were sealed. */
  get sent(): number {
    return this.#counter;
  }

  /** A transport message; empty makes a keepalive. Undefined past the limit of messages. */
  seal(packet: Uint8Array): Uint8Array | undefined {
    if (this.#counter >= messageLimits[this.#keys.suite].rejectAfter) return undefined;
    const counter = this.#counter++;
    const padded = new Uint8Array(Math.ceil(packet.length / paddingBytes) * paddingBytes);
    padded.set(packet);
    const { suite, sendKey, remoteIndex } = this.#keys;
    const sealed = this.#crypto.seal(suite, sendKey, nonce(counter), padded, noAssociatedData);
    return encodeTransport({ receiverIndex: remoteIndex, counter }, sealed);
  }

  /** The packet with its padding. Why not, otherwise. */
  open(message: Uint8Array): { readonly packet: Uint8Array } | { readonly failure: OpenFailure } {
    const header = decodeTransport(message);
    if (header === undefined) return { failure: 'malformed' };
    const { suite, receiveKey, localIndex } = this.#keys;
    if (header.receiverIndex !== localIndex) return { failure: 'wrong-index' };
    if (header.counter >= messageLimits[suite].rejectAfter) return { failure: 'limit' };
    if (!this.#window.isFresh(header.counter)) return { failure: 'replayed' };
    const packet = this.#crypto.open(
      suite,
      receiveKey,
      nonce(header.counter),
      header.sealed,
      noAssociatedData,
    );
    if (packet === undefined) return { failure: 'forged' };
    this.#window.mark(header.counter);
    return { packet };
  }

  erase(): void {
    this.#keys.sendKey.fill(0);
    this.#keys.receiveKey.fill(0);
  }
}

/** Both suites: four zero bytes, then the counter as 64 bits, little-endian. */
function nonce(counter: number): Uint8Array {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setBigUint64(4, BigInt(counter), true);
  return bytes;
}
