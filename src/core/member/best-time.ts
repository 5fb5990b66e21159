import { type MonotonicMs, type Now, type WallMs, wallMs } from '../time.ts';

/**
 * What time it is (protocol §3). A clock set back must not bring expired memberships back to life, so documents are judged by
 * the later of wall clock and server time; signals by the server's, which both sides share, while it is known.
 */
export class BestTime {
  /** Server time as it was told at a moment of the monotonic clock. */
  #told: { readonly ms: number; readonly at: MonotonicMs } | undefined;
  #latestMs: number;

  /** @param latestMs latest server time of an earlier run. */
  constructor(latestMs: number) {
    this.#latestMs = latestMs;
  }

  /**
   * Told over an authenticated control connection. The last word counts, also when it is an earlier time: a server that had its
   * clock wrong for a moment would else have ended every membership for ever.
   */
  serverSays(serverTimeMs: number, now: Now): void {
    this.#told = { ms: serverTimeMs, at: now.monotonic };
    this.#latestMs = serverTimeMs;
  }

  /** For the dates of documents. */
  documents(now: Now): WallMs {
    const server = this.#told === undefined ? 0 : this.#elapsed(this.#told, now);
    return wallMs(Math.max(now.wall, this.#latestMs, server));
  }

  /** For what two clients tell each other. */
  signals(now: Now): number {
    return Math.floor(this.#told === undefined ? now.wall : this.#elapsed(this.#told, now));
  }

  /** Server time less wall clock; undefined before the server told. */
  offsetMs(now: Now): number | undefined {
    return this.#told === undefined ? undefined : this.#elapsed(this.#told, now) - now.wall;
  }

  get latestMs(): number {
    return this.#latestMs;
  }

  #elapsed(told: { readonly ms: number; readonly at: MonotonicMs }, now: Now): number {
    return told.ms + (now.monotonic - told.at);
  }
}
