import type { MonotonicMs } from './time.ts';

/** So long neither a deadline nor anything else is dealt with only by a machine that sleeps. */
const sleptMs = 15_000;

/** Notices that the machine has slept: mappings, allocations and connections may have ended meanwhile, and nobody has said so. */
export class SleepWatch {
  #deadline: MonotonicMs | undefined;
  #awakeAt: MonotonicMs | undefined;

  /** True once after a sleep. To be told of every input: who is too busy for a deadline has inputs all the time. */
  woke(now: MonotonicMs): boolean {
    const since = Math.max(this.#deadline ?? Number.POSITIVE_INFINITY, this.#awakeAt ?? now);
    this.#awakeAt = now;
    return now - since > sleptMs;
  }

  /** When the machine wants to be woken. */
  expect(deadline: MonotonicMs | undefined): void {
    this.#deadline = deadline;
  }
}
