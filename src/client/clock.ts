import { uptime } from 'node:os';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';

/** Differences below this are rounding. */
const sleepToleranceMs = 1000;

/**
 * The machine's clocks. Node's monotonic clock stands still while the machine sleeps, which the machines in core must not
 * believe; the time since boot does not, so what it is ahead by was slept.
 */
export class SystemClock {
  readonly #bootMs = uptime() * 1000 - performance.now();
  #sleptMs = 0;

  now(): Now {
    return {
      monotonic: monotonicMs(performance.now() + this.#sleptMs),
      wall: wallMs(Date.now()),
    };
  }

  /** True when the machine has slept since the last time. */
  noticeSleep(): boolean {
    const aheadMs = uptime() * 1000 - performance.now() - this.#bootMs;
    if (aheadMs - this.#sleptMs < sleepToleranceMs) return false;
    this.#sleptMs = aheadMs;
    return true;
  }
}
