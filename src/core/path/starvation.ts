/**
 * Notices data that gets no answer while probes do: a relay may drop what it delivers bare, and pass on all that is small and seldom.
 * A receiver of data breaks its silence by a keepalive after 10 s, and that has 5 s for the way (WireGuard's whitepaper §6.5).
 */
import { after, type MonotonicMs } from '#core/time.ts';

export const starvedMs = 15_000;
/** Reports of data that was sent: a packet or two may have been lost. */
export const leastReports = 5;

export class Starvation {
  #since: MonotonicMs | undefined;
  #reports = 0;

  sentData(now: MonotonicMs): void {
    this.#since ??= now;
    this.#reports += 1;
  }

  /** Data or a keepalive came, or another path is in use: probes do not count. */
  end(): void {
    this.#since = undefined;
    this.#reports = 0;
  }

  /** @param isLossy one keepalive may have been lost: the next one is waited for */
  dueAt(isLossy: boolean): MonotonicMs | undefined {
    if (this.#since === undefined || this.#reports < leastReports) return undefined;
    return after(this.#since, isLossy ? 2 * starvedMs : starvedMs);
  }
}
