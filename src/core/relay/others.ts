import { after, type MonotonicMs } from '#core/time.ts';
import { maxOthers, otherEveryMs, otherMostMs } from './limits.ts';
import type { RelayLink } from './relay-link.ts';

/**
 * Relays that are held although nobody named them, because a peer is not reached over those in common: they may answer and forward
 * nothing. The operator's come first, so that members who volunteer for that cannot be in the way, however many they are. Few at a time, in
 * turn and ever more seldom: a peer that answers nothing by any relay makes us hold no more than these.
 */
export class Others {
  readonly #ids = new Set<string>();
  readonly #tried = new Set<string>();
  #pauseMs = otherEveryMs;
  #nextAt: MonotonicMs | undefined;

  get ids(): ReadonlySet<string> {
    return this.#ids;
  }

  /** Another one is wanted. Returns all that are. */
  wanted(
    links: Iterable<RelayLink>,
    held: ReadonlySet<string | undefined>,
    now: MonotonicMs,
  ): ReadonlySet<string> {
    if (this.#nextAt !== undefined && now < this.#nextAt) return this.#ids;
    const free = [...links].filter((link) => !held.has(link.id) && link.isUsable(now));
    if (free.every(({ id }) => this.#tried.has(id))) this.#tried.clear();
    const [next] = free
      .filter(({ id }) => !this.#tried.has(id))
      .sort((a, b) => rank(a) - rank(b) || (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity) || 0);
    if (next === undefined) return this.#ids;
    const [oldest] = this.#ids;
    if (this.#ids.size >= maxOthers && oldest !== undefined) this.#ids.delete(oldest);
    this.#ids.add(next.id);
    this.#tried.add(next.id);
    this.#nextAt = after(now, this.#pauseMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, otherMostMs);
    return this.#ids;
  }

  /** Those that have lapsed are none any more. */
  keep(wanted: ReadonlyMap<string, unknown>): void {
    for (const id of this.#ids) if (!wanted.has(id)) this.#ids.delete(id);
    if (this.#ids.size > 0) return;
    this.#pauseMs = otherEveryMs;
    this.#tried.clear();
  }
}

/** First what has answered, the operator's before members'. */
const rank = ({ rttMs, entry }: RelayLink): number =>
  (rttMs === undefined ? 2 : 0) + (entry.kind === 'volunteer' ? 1 : 0);
