/**
 * How often somebody may change something, or ask for a whole view: one identity, whatever connections it makes, and all behind one address
 * prefix. Each change is told to every member of the networks that it concerns.
 */
import { Limiter, type Rate } from '#core/limiter.ts';
import type { MonotonicMs } from '#core/time.ts';
import * as limits from './limits.ts';
import type { Session } from './sessions.ts';

export class ChangeRates {
  readonly #changes = new Pair(limits.changes, limits.changesPerPrefix);
  readonly #resyncs = new Pair(limits.resyncs, limits.resyncsPerPrefix);

  /** Milliseconds by which it comes too early: to be waited for, or beyond `maxChangeDelayMs` a reason to refuse it. */
  change(by: Pick<Session, 'identity' | 'prefix'>, nowMs: MonotonicMs): number {
    return this.#changes.take(by, nowMs);
  }

  resync(by: Pick<Session, 'identity' | 'prefix'>, nowMs: MonotonicMs): number {
    return this.#resyncs.take(by, nowMs);
  }
}

class Pair {
  readonly #identities: Limiter;
  readonly #prefixes: Limiter;

  constructor(perIdentity: Rate, perPrefix: Rate) {
    this.#identities = new Limiter(perIdentity);
    this.#prefixes = new Limiter(perPrefix);
  }

  /** What is to be refused takes nothing. */
  take({ identity, prefix }: Pick<Session, 'identity' | 'prefix'>, nowMs: MonotonicMs): number {
    const waitMs = Math.max(
      this.#identities.waitMs(identity, nowMs),
      this.#prefixes.waitMs(prefix, nowMs),
    );
    if (waitMs <= limits.maxChangeDelayMs) {
      this.#identities.take(identity, nowMs);
      this.#prefixes.take(prefix, nowMs);
    }
    return waitMs;
  }
}
