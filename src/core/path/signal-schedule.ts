import { after, type MonotonicMs } from '#core/time.ts';
import { signalFirstMs, signalMostMs } from './limits.ts';

/** When to ask for the next offer to a peer: 1, 2, 4 … 30 s apart, each ± a fifth so that many peers spread out. */
export class SignalSchedule {
  #dueAt: MonotonicMs | undefined;
  #sentAt: MonotonicMs | undefined;
  #attempts = 0;

  get dueAt(): MonotonicMs | undefined {
    return this.#dueAt;
  }

  get sentAt(): MonotonicMs | undefined {
    return this.#sentAt;
  }

  /** Begins anew: the first signal after `delayMs`, and at least `gapMs` after the last one. */
  start(now: MonotonicMs, delayMs: number, gapMs: number = signalFirstMs): void {
    this.#attempts = 0;
    const earliest = Math.max(now + delayMs, (this.#sentAt ?? -Infinity) + gapMs);
    if (this.#dueAt === undefined || earliest < this.#dueAt) this.#dueAt = earliest as MonotonicMs;
  }

  stop(): void {
    this.#dueAt = undefined;
    this.#attempts = 0;
  }

  /** Shortens a pause so that it ends at most `pauseMs` after the last signal. */
  hasten(now: MonotonicMs, pauseMs: number): void {
    const at = Math.max(now, (this.#sentAt ?? -Infinity) + pauseMs) as MonotonicMs;
    if (this.#dueAt === undefined || at < this.#dueAt) this.#dueAt = at;
  }

  /** Nothing before then: an exchange is under way. */
  postpone(until: MonotonicMs): void {
    if (this.#dueAt !== undefined && this.#dueAt < until) this.#dueAt = until;
  }

  /**
   * @param chance 0 to 1, random.
   * @param mostMs the longest pause
   */
  sent(now: MonotonicMs, chance: number, mostMs: number = signalMostMs): void {
    this.#sentAt = now;
    const pauseMs = Math.min(signalFirstMs * 2 ** this.#attempts, mostMs);
    this.#attempts = Math.min(this.#attempts + 1, 16);
    this.#dueAt = after(now, Math.round(pauseMs * (0.8 + 0.4 * chance)));
  }
}
