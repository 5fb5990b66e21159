/**
 * Fairness under overload: when more comes than can be forwarded, nobody gets more than an equal share of what comes, so that who sends
 * little is served wholly and who floods loses. Counted in windows of `shareWindowMs`; without overload nobody is limited here.
 */
import { minSharePackets, shareWindowMs } from './limits.ts';

export class Shares {
  #window = 0;
  #endsAt = Number.NEGATIVE_INFINITY;
  #packets = 0;
  #senders = 0;
  #share = Number.POSITIVE_INFINITY;
  #isOverloaded = false;
  readonly #windowOf: Int32Array;
  readonly #packetsOf: Int32Array;

  constructor(slots: number) {
    this.#windowOf = new Int32Array(slots);
    this.#packetsOf = new Int32Array(slots);
  }

  /** What the last turn met: more than it could take, or packets that the kernel had no room for. */
  setOverloaded(overloaded: boolean): void {
    this.#isOverloaded = overloaded;
  }

  /** Whether so many packets of a sender may go on. */
  take(slot: number, packets: number, nowMs: number): boolean {
    if (nowMs >= this.#endsAt) this.#begin(nowMs);
    if (this.#windowOf[slot] !== this.#window) {
      this.#windowOf[slot] = this.#window;
      this.#packetsOf[slot] = 0;
      this.#senders++;
    }
    this.#packets += packets;
    this.#packetsOf[slot]! += packets;
    return this.#packetsOf[slot]! <= this.#share;
  }

  #begin(nowMs: number): void {
    this.#share =
      this.#isOverloaded && this.#senders > 1
        ? Math.max(minSharePackets, Math.ceil(this.#packets / this.#senders))
        : Number.POSITIVE_INFINITY;
    this.#endsAt = nowMs + shareWindowMs;
    this.#window = (this.#window + 1) | 0;
    this.#packets = 0;
    this.#senders = 0;
  }
}
