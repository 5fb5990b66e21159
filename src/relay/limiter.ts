/** Rate limits by key (generic cell rate): one number a key, bounded; forgetting the least recently used key forgives it. */
import { forgetOldest } from '#core/forget-oldest.ts';
import { maxLimiterKeys } from './limits.ts';

export interface LimiterRate {
  readonly burst: number;
  /** One more is allowed each interval, up to the burst. */
  readonly intervalMs: number;
}

export class Limiter {
  readonly #rate: LimiterRate;
  readonly #fullAt = new Map<string, number>();

  constructor(rate: LimiterRate) {
    this.#rate = rate;
  }

  take(key: string, nowMs: number): boolean {
    const { burst, intervalMs } = this.#rate;
    const fullAt = Math.max(this.#fullAt.get(key) ?? 0, nowMs) + intervalMs;
    if (fullAt > nowMs + burst * intervalMs) return false;
    this.#fullAt.delete(key);
    this.#fullAt.set(key, fullAt);
    forgetOldest(this.#fullAt, maxLimiterKeys);
    return true;
  }
}

/** How many of something each key has, up to a bound. */
export class Holdings {
  readonly #most: number;
  readonly #counts = new Map<string, number>();

  constructor(most: number) {
    this.#most = most;
  }

  hasRoom(key: string): boolean {
    return (this.#counts.get(key) ?? 0) < this.#most;
  }

  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  remove(key: string): void {
    const left = (this.#counts.get(key) ?? 0) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }
}
