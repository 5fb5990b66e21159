import { maxChunkBytes } from '#wire/control.ts';
import { assert } from '../errors.ts';

/**
 * Messages of the control connection over Noise (protocol §4): each message is cut into frames, each frame is one Noise
 * transport message over `flags ‖ chunk` and travels as one WebSocket message.
 */
export interface FrameCipher {
  encryptWithAd(ad: Uint8Array, plaintext: Uint8Array): Uint8Array;
  decryptWithAd(ad: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined;
}

export interface FrameChannelOptions {
  readonly send: FrameCipher;
  readonly receive: FrameCipher;
  /** Longest message accepted from the other side. */
  readonly maxReceivedBytes: number;
}

/** What one WebSocket message amounted to. After `broken` the connection is of no use any more. */
export type OpenedFrame =
  | { readonly kind: 'message'; readonly bytes: Uint8Array }
  | { readonly kind: 'partial' }
  | { readonly kind: 'broken'; readonly reason: FrameFault };

export type FrameFault = 'forged' | 'malformed' | 'too-long' | 'after-broken';

const moreFollow = 1;
/** Shared: a server has one channel for each of many clients. */
const nothing = new Uint8Array(0);
const partial = { kind: 'partial' } as const;

export class FrameChannel {
  readonly #send: FrameCipher;
  readonly #receive: FrameCipher;
  readonly #maxReceivedBytes: number;
  /** Grows with what really arrived, never with what was announced. */
  #assembly = nothing;
  #assembledBytes = 0;
  #broken = false;

  constructor(options: FrameChannelOptions) {
    this.#send = options.send;
    this.#receive = options.receive;
    this.#maxReceivedBytes = options.maxReceivedBytes;
  }

  /** The WebSocket messages that carry one message, in order. They must be sent in that order, all of them. */
  seal(message: Uint8Array): Uint8Array[] {
    assert(message.length > 0, 'a control message is never empty');
    const frames: Uint8Array[] = [];
    for (let offset = 0; offset < message.length; offset += maxChunkBytes) {
      const chunk = message.subarray(offset, offset + maxChunkBytes);
      const frame = new Uint8Array(1 + chunk.length);
      frame[0] = offset + chunk.length < message.length ? moreFollow : 0;
      frame.set(chunk, 1);
      frames.push(this.#send.encryptWithAd(nothing, frame));
    }
    return frames;
  }

  /** One received WebSocket message. The bytes of a message belong to the caller. */
  open(received: Uint8Array): OpenedFrame {
    if (this.#broken) return { kind: 'broken', reason: 'after-broken' };
    const frame = this.#receive.decryptWithAd(nothing, received);
    if (frame === undefined) return this.#fail('forged');
    const flags = frame[0];
    if (flags === undefined || flags > moreFollow || frame.length === 1) {
      return this.#fail('malformed');
    }
    if (this.#assembledBytes + frame.length - 1 > this.#maxReceivedBytes) {
      return this.#fail('too-long');
    }
    const chunk = frame.subarray(1);
    if (flags === 0 && this.#assembledBytes === 0) return { kind: 'message', bytes: chunk };
    this.#append(chunk);
    if (flags === moreFollow) return partial;
    const bytes = this.#assembly.subarray(0, this.#assembledBytes);
    this.#assembly = nothing;
    this.#assembledBytes = 0;
    return { kind: 'message', bytes };
  }

  #append(chunk: Uint8Array): void {
    const neededBytes = this.#assembledBytes + chunk.length;
    if (neededBytes > this.#assembly.length) {
      const grown = new Uint8Array(
        Math.min(this.#maxReceivedBytes, Math.max(2 * this.#assembly.length, neededBytes)),
      );
      grown.set(this.#assembly.subarray(0, this.#assembledBytes));
      this.#assembly = grown;
    }
    this.#assembly.set(chunk, this.#assembledBytes);
    this.#assembledBytes = neededBytes;
  }

  #fail(reason: FrameFault): OpenedFrame {
    this.#broken = true;
    this.#assembly = nothing;
    this.#assembledBytes = 0;
    return { kind: 'broken', reason };
  }
}
