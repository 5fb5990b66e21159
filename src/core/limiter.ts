/** Token buckets as the generic cell rate algorithm: a single number, the time at which the bucket is full again. */
import { forgetOldest } from './forget-oldest.ts';

export interface Rate {
  /** Takes allowed at once. */
  readonly burst: number;
  /** One more is allowed each interval, up to the burst. */
  readonly intervalMs: number;
}

/** Keys that one limiter remembers unless told otherwise; the least recently used is forgotten first. */
export const maxLimiterKeys = 65_536;

/** Milliseconds until `count` takes would be allowed; 0 when they are now. */
function waitOf({ burst, intervalMs }: Rate, fullAt: number, nowMs: number, count: number): number {
  const wanted = Math.max(fullAt, nowMs) + count * intervalMs;
  return Math.max(0, Math.ceil(wanted - (nowMs + burst * intervalMs)));
}

/** When the bucket is full after `count` takes, allowed or not: the debt is bounded by one burst. */
const takenFrom = ({ burst, intervalMs }: Rate, fullAt: number, nowMs: number, count: number) =>
  Math.min(Math.max(fullAt, nowMs) + count * intervalMs, nowMs + 2 * burst * intervalMs);

/** One bucket. */
export class Bucket {
  readonly #rate: Rate;
  #fullAt = 0;

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Takes, allowed or not, and returns the milliseconds until the next one would be allowed. */
  take(nowMs: number, count = 1): number {
    this.#fullAt = takenFrom(this.#rate, this.#fullAt, nowMs, count);
    return waitOf(this.#rate, this.#fullAt, nowMs, 1);
  }
}

/** A bucket a key, bounded; forgetting the least recently used key forgives it. */
export class Limiter {
  readonly #rate: Rate;
  readonly #fullAt = new Map<string, number>();
  readonly #maxKeys: number;

  constructor(rate: Rate, maxKeys = maxLimiterKeys) {
    this.#rate = rate;
    this.#maxKeys = maxKeys;
  }

  /** Milliseconds until `count` takes would be allowed; 0 when they are now. */
  waitMs(key: string, nowMs: number, count = 1): number {
    return waitOf(this.#rate, this.#fullAt.get(key) ?? 0, nowMs, count);
  }

  /** Takes, allowed or not. */
  take(key: string, nowMs: number, count = 1): void {
    const fullAt = takenFrom(this.#rate, this.#fullAt.get(key) ?? 0, nowMs, count);
    this.#fullAt.delete(key);
    this.#fullAt.set(key, fullAt);
    forgetOldest(this.#fullAt, this.#maxKeys);
  }

  /** Takes when allowed and returns 0; otherwise takes nothing and returns how long to wait. */
  tryTake(key: string, nowMs: number, count = 1): number {
    const waitMs = this.waitMs(key, nowMs, count);
    if (waitMs === 0) this.take(key, nowMs, count);
    return waitMs;
  }
}
