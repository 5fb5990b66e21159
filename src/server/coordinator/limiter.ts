import { forgetOldest } from '#core/forget-oldest.ts';
import { maxLimiterKeys } from './limits.ts';

export interface Rate {
  /** Takes allowed at once. */
  readonly burst: number;
  /** One more is allowed each interval, up to the burst. */
  readonly intervalMs: number;
}

/** One token bucket, as the generic cell rate algorithm: a single number, the time at which it is full again. */
export class Bucket {
  readonly #rate: Rate;
  #fullAt = 0;

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Takes, allowed or not (the debt is bounded by one burst), and returns the milliseconds until that is paid for. */
  take(nowMs: number, count = 1): number {
    const { burst, intervalMs } = this.#rate;
    const fullAt = Math.max(this.#fullAt, nowMs) + count * intervalMs;
    this.#fullAt = Math.min(fullAt, nowMs + 2 * burst * intervalMs);
    return Math.max(0, Math.ceil(this.#fullAt + intervalMs - (nowMs + burst * intervalMs)));
  }
}

/**
 * Token buckets by key, as the generic cell rate algorithm: one number per key, the time at which its bucket is full
 * again. Bounded; forgetting the least recently used key forgives it.
 */
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
    const { burst, intervalMs } = this.#rate;
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, nowMs);
    return Math.max(0, Math.ceil(fullAt + count * intervalMs - (nowMs + burst * intervalMs)));
  }

  /** Takes, allowed or not; the debt is bounded by one burst. */
  take(key: string, nowMs: number, count = 1): void {
    const { burst, intervalMs } = this.#rate;
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, nowMs) + count * intervalMs;
    this.#fullAt.delete(key);
    this.#fullAt.set(key, Math.min(fullAt, nowMs + 2 * burst * intervalMs));
    forgetOldest(this.#fullAt, this.#maxKeys);
  }

  /** Takes when allowed and returns 0; otherwise takes nothing and returns how long to wait. */
  tryTake(key: string, nowMs: number, count = 1): number {
    const waitMs = this.waitMs(key, nowMs, count);
    if (waitMs === 0) this.take(key, nowMs, count);
    return waitMs;
  }
}
