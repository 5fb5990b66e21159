import type { MonotonicMs } from './time.ts';

/** A deadline that is missed by this much was slept through: no machine is as busy as that. */
const sleptMs = 15_000;

/** Notices that the machine has slept: mappings, allocations and connections may have ended meanwhile, and nobody has said so. */
export class SleepWatch {
  #deadline: MonotonicMs | undefined;

  /** True once after a sleep. To be told of every input. */
  woke(now: MonotonicMs): boolean {
    const hasSlept = this.#deadline !== undefined && now - this.#deadline > sleptMs;
    this.#deadline = undefined;
    return hasSlept;
  }

  /** When the machine wants to be woken. */
  expect(deadline: MonotonicMs | undefined): void {
    this.#deadline = deadline;
  }
}
