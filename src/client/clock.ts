import { uptime } from 'node:os';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';

/** Differences below this are rounding. */
const sleepToleranceMs = 1000;

/** In milliseconds. */
export interface Clocks {
  monotonic(): number;
  wall(): number;
  sinceBoot(): number;
}

const clocks: Clocks = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  sinceBoot: () => uptime() * 1000,
};

/**
 * The machine's clocks. Node's monotonic clock stands still while the machine sleeps, which the machines in core must not
 * believe; the time since boot does not, so what it is ahead by was slept.
 */
export class SystemClock {
  readonly #read: Clocks;
  readonly #bootMs: number;
  /** The wall clock less the monotonic one. */
  #wallAheadMs: number;
  #sleptMs = 0;
  /** There was a sleep that `noticeSleep` has not told yet. */
  #hasSlept = false;

  constructor(read: Clocks = clocks) {
    this.#read = read;
    this.#bootMs = read.sinceBoot() - read.monotonic();
    this.#wallAheadMs = read.wall() - read.monotonic();
  }

  /** What happens first after a sleep must see it already: of a time that is minutes late nothing would be believed. */
  now(): Now {
    const [monotonic, wall] = [this.#read.monotonic(), this.#read.wall()];
    const wallAheadMs = wall - monotonic;
    if (Math.abs(wallAheadMs - this.#wallAheadMs) > sleepToleranceMs) {
      this.#wallAheadMs = wallAheadMs;
      this.#look();
    }
    return { monotonic: monotonicMs(monotonic + this.#sleptMs), wall: wallMs(wall) };
  }

  /** True when the machine has slept since the last time. */
  noticeSleep(): boolean {
    this.#look();
    const hasSlept = this.#hasSlept;
    this.#hasSlept = false;
    return hasSlept;
  }

  #look(): void {
    const aheadMs = this.#read.sinceBoot() - this.#read.monotonic() - this.#bootMs;
    if (aheadMs - this.#sleptMs < sleepToleranceMs) return;
    this.#sleptMs = aheadMs;
    this.#hasSlept = true;
  }
}
