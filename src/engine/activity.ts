import type { PeerActivity } from './engine.ts';

/** Between two reports of one key, and the silence after which the next is made at once. */
export const ACTIVITY_INTERVAL_MS = 50;

export const SENT_DATA = 1;
export const SENT_KEEPALIVE = 2;
export const RECEIVED_DATA = 4;
export const RECEIVED_KEEPALIVE = 8;

/**
 * Collects which keys saw traffic. `settle` reports at once what was silent before and keeps the rest for the timer of the
 * owner, which runs only while something waits, so that idle costs nothing.
 */
export class Activity {
  readonly #report: (slot: number, flags: number) => boolean;
  #flags = new Uint8Array(64);
  #reportedAt = new Float64Array(64);
  readonly #fresh: number[] = [];
  #waiting: number[] = [];

  /** @param report returns false when it cannot be told now; then it is told later. */
  constructor(report: (slot: number, flags: number) => boolean) {
    this.#report = report;
  }

  mark(slot: number, flag: number): void {
    if (slot >= this.#flags.length) this.#grow(slot);
    if (this.#flags[slot] === 0) this.#fresh.push(slot);
    this.#flags[slot]! |= flag;
  }

  /** Reports the keys that were silent; true when others wait for `flush`. */
  settle(nowMs: number): boolean {
    for (let i = 0; i < this.#fresh.length; i++) {
      const slot = this.#fresh[i]!;
      const last = this.#reportedAt[slot]!;
      if (last === 0 || nowMs - last >= ACTIVITY_INTERVAL_MS) this.#send(slot, nowMs);
      else this.#waiting.push(slot);
    }
    this.#fresh.length = 0;
    return this.#waiting.length > 0;
  }

  /** Reports what waits; true when something could not be told and waits on. */
  flush(nowMs: number): boolean {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const slot of waiting) this.#send(slot, nowMs);
    return this.#waiting.length > 0;
  }

  /** Forgets a slot that gets other keys. */
  forget(slot: number): void {
    if (slot >= this.#flags.length) return;
    this.#flags[slot] = 0;
    this.#reportedAt[slot] = 0;
    for (const list of [this.#fresh, this.#waiting]) {
      const at = list.indexOf(slot);
      if (at >= 0) list.splice(at, 1);
    }
  }

  #send(slot: number, nowMs: number): void {
    const flags = this.#flags[slot]!;
    if (flags === 0) return;
    if (!this.#report(slot, flags)) {
      this.#waiting.push(slot);
      return;
    }
    this.#flags[slot] = 0;
    this.#reportedAt[slot] = nowMs;
  }

  #grow(slot: number): void {
    const length = Math.max(this.#flags.length * 2, slot + 1);
    const flags = new Uint8Array(length);
    const reportedAt = new Float64Array(length);
    flags.set(this.#flags);
    reportedAt.set(this.#reportedAt);
    this.#flags = flags;
    this.#reportedAt = reportedAt;
  }
}

export function peerActivity(peer: number, localIndex: number, flags: number): PeerActivity {
  return {
    peer,
    localIndex,
    sentData: (flags & SENT_DATA) !== 0,
    sentKeepalive: (flags & SENT_KEEPALIVE) !== 0,
    receivedData: (flags & RECEIVED_DATA) !== 0,
    receivedKeepalive: (flags & RECEIVED_KEEPALIVE) !== 0,
  };
}
