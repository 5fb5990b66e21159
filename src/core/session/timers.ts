import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import type { SessionTimes } from './times.ts';

/**
 * retransmit: our initiation was not answered. keepalive: data came and nothing went back. newHandshake: data went and
 * nothing came back. persistentKeepalive: nothing went or came, and a mapping on the way needs traffic.
 */
export type TimerName = 'retransmit' | 'keepalive' | 'newHandshake' | 'persistentKeepalive';

const timerNames = ['retransmit', 'keepalive', 'newHandshake', 'persistentKeepalive'] as const;

/** The timers of one peer and what sets and clears them (whitepaper §6). */
export class PeerTimers {
  readonly #crypto: Crypto;
  readonly #times: SessionTimes;
  readonly #at: Partial<Record<TimerName, MonotonicMs>> = {};
  #persistentKeepaliveMs = 0;

  constructor(crypto: Crypto, times: SessionTimes) {
    this.#crypto = crypto;
    this.#times = times;
  }

  deadline(): MonotonicMs | undefined {
    let earliest: MonotonicMs | undefined;
    for (const name of timerNames) {
      const at = this.#at[name];
      if (at !== undefined && (earliest === undefined || at < earliest)) earliest = at;
    }
    return earliest;
  }

  /** Whether the timer ran out; it is cleared then. */
  takeDue(name: TimerName, now: MonotonicMs): boolean {
    const at = this.#at[name];
    if (at === undefined || at > now) return false;
    delete this.#at[name];
    return true;
  }

  /** Anything authenticated left. */
  sent(now: MonotonicMs): void {
    delete this.#at.keepalive;
    this.traversed(now);
  }

  /** Data left: something must come back. */
  sentData(now: MonotonicMs): void {
    this.#at.newHandshake ??= after(now, this.silenceMs + this.#jitterMs());
  }

  /** Anything authenticated arrived. */
  received(now: MonotonicMs): void {
    delete this.#at.newHandshake;
    this.traversed(now);
  }

  /** Data arrived: something must go back. One keepalive pays for all that came before it. */
  receivedData(now: MonotonicMs): void {
    this.#at.keepalive ??= after(now, this.#times.keepaliveTimeoutMs);
  }

  sentInitiation(now: MonotonicMs): void {
    this.retransmitAt(after(now, this.#times.rekeyTimeoutMs + this.#jitterMs()));
    this.sent(now);
  }

  retransmitAt(at: MonotonicMs): void {
    this.#at.retransmit = at;
  }

  stopRetransmitting(): void {
    delete this.#at.retransmit;
  }

  /** There are no keys any more, so nothing is owed. */
  sessionEnded(): void {
    delete this.#at.keepalive;
    delete this.#at.newHandshake;
  }

  setPersistentKeepalive(intervalMs: number, now: MonotonicMs): void {
    this.#persistentKeepaliveMs = intervalMs;
    this.traversed(now);
  }

  /** Something crossed, either way. */
  traversed(now: MonotonicMs): void {
    const intervalMs = this.#persistentKeepaliveMs;
    if (intervalMs === 0) delete this.#at.persistentKeepalive;
    else this.#at.persistentKeepalive = after(now, intervalMs);
  }

  /** How long sent data may stay unanswered: a keepalive would have come after 10 s, and had 5 s for the way. */
  get silenceMs(): number {
    return this.#times.keepaliveTimeoutMs + this.#times.rekeyTimeoutMs;
  }

  #jitterMs(): number {
    const [low, high] = this.#crypto.random(2);
    return Math.floor(((low! | (high! << 8)) / 65_536) * (this.#times.jitterMs + 1));
  }
}
