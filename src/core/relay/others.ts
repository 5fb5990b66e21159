import { after, type MonotonicMs } from '#core/time.ts';
import { maxOthers, otherEveryMs } from './limits.ts';
import type { RelayLink } from './relay-link.ts';

/**
 * Relays that are held although nobody named them, because a peer is not reached over those in common: they may answer and forward
 * nothing. The operator's come first, so that members who volunteer for that cannot be in the way, however many they are. Few, one after the
 * other: a peer that answers nothing by any relay makes us hold no more than these.
 */
export class Others {
  readonly #ids = new Set<string>();
  #addedAt: MonotonicMs | undefined;

  get ids(): ReadonlySet<string> {
    return this.#ids;
  }

  /** Another one is wanted. Returns all that are. */
  wanted(
    links: Iterable<RelayLink>,
    held: ReadonlySet<string | undefined>,
    now: MonotonicMs,
  ): ReadonlySet<string> {
    const isSoon = this.#addedAt !== undefined && now < after(this.#addedAt, otherEveryMs);
    if (isSoon || this.#ids.size >= maxOthers) return this.#ids;
    const [next] = [...links]
      .filter((link) => !held.has(link.id) && link.isUsable(now))
      .sort((a, b) => rank(a) - rank(b) || (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity) || 0);
    if (next !== undefined) {
      this.#ids.add(next.id);
      this.#addedAt = now;
    }
    return this.#ids;
  }

  /** Those that have lapsed are none any more. */
  keep(wanted: ReadonlyMap<string, unknown>): void {
    for (const id of this.#ids) if (!wanted.has(id)) this.#ids.delete(id);
  }
}

/** First what has answered, the operator's before members'. */
const rank = ({ rttMs, entry }: RelayLink): number =>
  (rttMs === undefined ? 2 : 0) + (entry.kind === 'volunteer' ? 1 : 0);
