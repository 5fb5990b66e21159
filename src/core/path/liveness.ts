import { after, type MonotonicMs } from '#core/time.ts';
import type { CandidatePair } from './candidate-pair.ts';
import { minRttSamples } from './ranking.ts';

/**
 * How sure we are of the path in use. `quiet`: a probe is overdue. `doubtful`: two are; another proven pair takes over if one
 * answers. `lost`: so many are that loss does not explain it.
 */
export type Verdict = 'live' | 'quiet' | 'doubtful' | 'lost';

/** A fresh path is measured a few times, so that its round-trip time means something. */
const sampleMs = 1000;

/** Watches the path in use by what the data plane sends and receives, and decides when to probe it. */
export class Liveness {
  /** When data was first sent without anything coming back since. */
  #sendingSince: MonotonicMs | undefined;
  #sentAt: MonotonicMs | undefined;
  /** A probe is wanted at once. */
  #wanted = false;

  /** @param keepaliveMs after so long a silence the mappings on the way may be gone. */
  sent(pair: CandidatePair, now: MonotonicMs, keepaliveMs: number): void {
    this.#sentAt = now;
    this.#sendingSince ??= now;
    // Ask before the data has waited in vain.
    if (pair.heardAt === undefined || now - pair.heardAt > keepaliveMs + sampleMs) {
      if (pair.unanswered === 0) this.#wanted = true;
    }
  }

  /** Something authenticated came over the path. */
  heard(): void {
    this.#sendingSince = undefined;
  }

  /** Probe at once, unless an answer is being waited for. */
  check(pair: CandidatePair, now: MonotonicMs): void {
    if (pair.unanswered === 0 || pair.overdue(now)) this.#wanted = true;
  }

  /** When something was first sent without anything coming back since. */
  get sendingSince(): MonotonicMs | undefined {
    return this.#sendingSince;
  }

  probed(): void {
    this.#wanted = false;
  }

  /** @param keepaliveMs undefined: the peer is not among those whose mappings are kept open. */
  probeDueAt(
    pair: CandidatePair,
    now: MonotonicMs,
    keepaliveMs: number | undefined,
  ): MonotonicMs | undefined {
    if (this.#wanted) return now;
    if (pair.unanswered > 0 && pair.probedAt !== undefined) {
      return after(pair.probedAt, pair.patienceMs);
    }
    const due: number[] = [];
    if (this.#sendingSince !== undefined) due.push(this.#sendingSince + pair.patienceMs);
    const keepaliveAt =
      keepaliveMs === undefined ? undefined : pair.keepaliveAt(this.#sentAt, keepaliveMs);
    if (keepaliveAt !== undefined) due.push(keepaliveAt);
    if (pair.rttSamples < minRttSamples && pair.probedAt !== undefined)
      due.push(pair.probedAt + sampleMs);
    return due.length === 0 ? undefined : (Math.min(...due) as MonotonicMs);
  }

  verdict(pair: CandidatePair, now: MonotonicMs): Verdict {
    if (!pair.overdue(now)) return 'live';
    if (pair.unanswered >= pair.lostAfter) return 'lost';
    return pair.unanswered >= pair.doubtAfter ? 'doubtful' : 'quiet';
  }
}
