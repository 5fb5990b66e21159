import { randomFillSync } from 'node:crypto';
import type { Writable } from 'node:stream';
import { maxFrameOverhead, opBinary, writeFrame } from '#wire/web-socket.ts';
import { bridgeBufferBytes, bridgeBuffers, bridgeQueueMs } from '../limits.ts';
import { bridgeCounter } from './messages.ts';

interface Slot {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** When it was given to the stream; 0: it is free. */
  since: number;
}

/**
 * Datagrams on their way into a WebSocket. They gather in one of a few buffers, which the stream writes as a whole; when all are
 * with the stream, or one has been for too long, datagrams are dropped, as a full line drops them: TCP inside a tunnel learns its rate
 * from that, and nothing is delivered seconds late.
 */
export class Outbox {
  readonly #stream: Writable;
  readonly #counters: Float64Array;
  readonly #slots: readonly Slot[];
  readonly #masks = new Int32Array(1024);
  #mask = this.#masks.length;
  #open: Slot | undefined;
  #used = 0;
  #now = 0;

  constructor(stream: Writable, counters: Float64Array) {
    this.#stream = stream;
    this.#counters = counters;
    this.#slots = Array.from({ length: bridgeBuffers }, () => {
      const bytes = new Uint8Array(bridgeBufferBytes);
      return { bytes, view: new DataView(bytes.buffer), since: 0 };
    });
  }

  /** Of a batch: one look at the clock for all of it. */
  begin(nowMs: number): void {
    this.#now = nowMs;
  }

  /** Adds a datagram; it leaves with `flush` at the latest. */
  add(from: DataView, start: number, length: number): void {
    this.frame(opBinary, from, start, length);
  }

  frame(opcode: number, from: DataView, start: number, length: number): void {
    if (this.#used + length + maxFrameOverhead > bridgeBufferBytes) this.flush();
    this.#open ??= this.#take();
    const slot = this.#open;
    if (slot === undefined) return;
    this.#used = writeFrame(slot.view, this.#used, opcode, from, start, length, this.#nextMask());
    this.#count('bridge-out');
  }

  flush(): void {
    const slot = this.#open;
    if (slot === undefined || this.#used === 0) return;
    slot.since = this.#now;
    this.#stream.write(slot.bytes.subarray(0, this.#used), () => {
      slot.since = 0;
    });
    this.#open = undefined;
    this.#used = 0;
  }

  #take(): Slot | undefined {
    let free: Slot | undefined;
    for (const slot of this.#slots) {
      if (slot.since === 0) free ??= slot;
      else if (this.#now - slot.since > bridgeQueueMs) {
        this.#count('bridge-out-late');
        return undefined;
      }
    }
    if (free === undefined) this.#count('bridge-out-full');
    return free;
  }

  /** Unpredictable, as RFC 6455 §5.3 wants it of whoever could let others choose the bytes. */
  #nextMask(): number {
    if (this.#mask === this.#masks.length) {
      randomFillSync(this.#masks);
      this.#mask = 0;
    }
    return this.#masks[this.#mask++]!;
  }

  #count(name: keyof typeof bridgeCounter): void {
    const index = bridgeCounter[name];
    this.#counters[index] = this.#counters[index]! + 1;
  }
}
