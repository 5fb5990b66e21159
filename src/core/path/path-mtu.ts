import { after, type MonotonicMs, monotonicMs } from '#core/time.ts';

/** While data is sent, the size in use is asked again this often. */
export const mtuCheckMs = 2000;
/** The same when nothing has come back for a while: perhaps the path swallows what is large. */
export const mtuSuspectMs = 500;
/** So long a while, and three round trips: well before TCP sends for the third time what it had no answer for. */
export const mtuSilenceMs = 200;
/** An answer that takes longer than three round trips, and than this, does not come. */
export const mtuPatienceMs = 200;
const mostPatienceMs = 3000;
/** What is asked at once is answered at once: so long, or a round trip, after an answer no other one of the round comes. */
const settleMs = 50;
/** A size that is not the largest wanted: so soon, then at twice the pause, it is asked whether more fits by now. */
export const mtuRaiseFirstMs = 10_000;
export const mtuRaiseMostMs = 600_000;

/** Sizes are told apart to this: all links in use have an MTU that is a multiple of it. */
const grainBytes = 4;
/** Sizes between the bounds of the search that are asked at once. */
const rungs = 4;
/** Losing so many probes in a row is no chance: of the upper end of a search, and of a size within. */
const upperTries = 3;
const innerTries = 2;

interface Search {
  readonly name: 'searching';
  /** What is in use meanwhile. */
  readonly before: number | undefined;
  /** The size hoped for; its answer ends the search. */
  readonly upper: number;
  /** Probes of the upper end that must stay unanswered before it counts as too large. */
  readonly tries: number;
  readonly since: MonotonicMs;
  /** The largest size answered. */
  low: number | undefined;
  /** Unanswered probes of sizes above `low`. */
  readonly lost: Map<number, number>;
  /** The round under way: sizes that no answer came for yet. */
  readonly asked: Set<number>;
  askedAt: MonotonicMs;
  /** The last answer of the round. */
  answeredAt: MonotonicMs | undefined;
}

type State =
  | { readonly name: 'unknown'; readonly checkAt: MonotonicMs | undefined }
  | Search
  | {
      readonly name: 'known';
      readonly size: number;
      readonly checkedAt: MonotonicMs;
      /** Data was sent since: when to ask again. */
      checkAt: MonotonicMs | undefined;
    };

/**
 * How large a datagram fits through one path in one piece: path MTU discovery in the packetization layer (RFC 8899). Sizes
 * are UDP payloads. Requests padded to the sizes that `wake` returns are sent with DF; their answers come back by `answered`.
 *
 * ```
 *            data sent                    upper end answered, or bounds met
 *  unknown ──────────────► searching ─────────────────────────────────────► known
 *     ▲                      │    ▲                                           │
 *     └──────────────────────┘    └───────────────────────────────────────────┘
 *        nothing answered            every 2 s of traffic, and to see whether more fits
 * ```
 *
 * A search asks for its upper end alone first, which on ordinary paths is all there is to do; then for a few sizes between the
 * bounds at once. Unknown means that the path is used as if everything fitted: data is sent without DF. A path without
 * traffic costs nothing.
 */
export class PathMtu {
  readonly #least: number;
  readonly #most: number;
  #state: State = { name: 'unknown', checkAt: undefined };
  /** Something else than a padded probe came through last. */
  #heardAt: MonotonicMs | undefined;
  #raiseMs = mtuRaiseFirstMs;
  #raiseAt: MonotonicMs | undefined;

  /**
   * @param leastBytes what every path of the address family takes
   * @param mostBytes what the largest packet of the inside needs
   */
  constructor(leastBytes: number, mostBytes: number) {
    this.#least = Math.min(leastBytes, mostBytes);
    this.#most = mostBytes;
  }

  /** The largest UDP payload known to pass; undefined while nothing is known. */
  get payloadBytes(): number | undefined {
    const state = this.#state;
    if (state.name === 'known') return state.size;
    return state.name === 'searching' ? state.before : undefined;
  }

  /** Data was sent over the path. */
  dataSent(now: MonotonicMs): void {
    const state = this.#state;
    if (state.name === 'known') state.checkAt ??= after(state.checkedAt, mtuCheckMs);
    else if (state.name === 'unknown' && state.checkAt === undefined) {
      this.#state = { name: 'unknown', checkAt: this.#raiseAt ?? now };
    }
  }

  /** Data was sent, and nothing came back for a while. */
  suspect(): void {
    const state = this.#state;
    if (state.name !== 'known' || state.checkAt === undefined) return;
    state.checkAt = after(state.checkedAt, mtuSuspectMs);
  }

  /** The peer was heard on this path, by whatever is small. */
  heard(now: MonotonicMs): void {
    this.#heardAt = now;
  }

  /** The addresses or routes of this machine changed: with the next data everything is asked anew. */
  networkChanged(now: MonotonicMs): void {
    this.#raiseMs = mtuRaiseFirstMs;
    this.#raiseAt = now;
    const state = this.#state;
    if (state.name === 'known') {
      this.#state = { ...state, checkedAt: after(now, -mtuCheckMs), checkAt: undefined };
    } else if (state.name === 'unknown') this.#state = { name: 'unknown', checkAt: undefined };
  }

  /** A request of this size was answered. */
  answered(sizeBytes: number, now: MonotonicMs): void {
    const state = this.#state;
    if (state.name !== 'searching') return;
    if (state.asked.delete(sizeBytes)) state.answeredAt = now;
    if (sizeBytes > (state.low ?? 0)) state.low = sizeBytes;
    for (const size of state.lost.keys()) if (size <= sizeBytes) state.lost.delete(size);
    if (sizeBytes >= state.upper) this.#conclude(state, now);
  }

  /** A size that `wake` gave could not be asked about: that says nothing of the path. */
  withheld(sizeBytes: number): void {
    if (this.#state.name === 'searching') this.#state.asked.delete(sizeBytes);
  }

  /** @param rttMs of the path, as far as known. */
  dueAt(rttMs: number | undefined): MonotonicMs | undefined {
    const state = this.#state;
    if (state.name !== 'searching') return state.checkAt;
    const { asked, askedAt, answeredAt } = state;
    const lastly = askedAt + patienceMs(rttMs);
    if (answeredAt === undefined) return monotonicMs(lastly);
    const settled = asked.size === 0 ? answeredAt : answeredAt + Math.max(settleMs, rttMs ?? 0);
    return monotonicMs(Math.min(lastly, settled));
  }

  /** Does what is due; returns the sizes to ask about now. */
  wake(rttMs: number | undefined, now: MonotonicMs): readonly number[] {
    const dueAt = this.dueAt(rttMs);
    if (dueAt === undefined || now < dueAt) return [];
    const state = this.#state;
    switch (state.name) {
      case 'unknown':
        return this.#search(this.#most, undefined, now);
      case 'known': {
        const { size } = state;
        const isRaise = this.#raiseAt !== undefined && now >= this.#raiseAt && size < this.#most;
        return this.#search(isRaise ? this.#most : size, size, now);
      }
      case 'searching':
        return this.#nextRound(state, now);
      default:
        return state satisfies never;
    }
  }

  #search(upper: number, before: number | undefined, now: MonotonicMs): readonly number[] {
    // A raise that chance spoils comes again; giving up a size that works would be worse.
    const isRaise = before !== undefined && before < upper;
    const tries = isRaise ? innerTries : upperTries;
    const first = isRaise ? [before, Math.min(nextGrain(before), upper), upper] : [upper];
    const search: Search = {
      ...{ name: 'searching', before, upper, tries, since: now, low: undefined },
      ...{ lost: new Map(), asked: new Set(), askedAt: now, answeredAt: undefined },
    };
    this.#state = search;
    return ask(search, first, now);
  }

  #nextRound(search: Search, now: MonotonicMs): readonly number[] {
    for (const size of search.asked) search.lost.set(size, (search.lost.get(size) ?? 0) + 1);
    const { low, lost, upper, tries } = search;
    const high = Math.min(upper, ...lost.keys());
    const triesOf = (size: number) => (size === upper ? tries : innerTries);
    const isOpen = (size: number) => (lost.get(size) ?? 0) < triesOf(size);
    const sizes = rungsBetween(low, high, this.#least);
    if (low === undefined && !isOpen(this.#least)) return this.#giveUp(search, now);
    if (sizes.length === 0) {
      if (!isOpen(high)) return this.#conclude(search, now);
      sizes.push(high);
    }
    if (isOpen(upper) && !sizes.includes(upper)) sizes.push(upper);
    return ask(search, sizes, now);
  }

  #conclude({ low, before, upper }: Search, now: MonotonicMs): readonly number[] {
    const size = low ?? this.#least;
    this.#state = { name: 'known', size, checkedAt: now, checkAt: undefined };
    if (size !== before) this.#raiseMs = mtuRaiseFirstMs;
    if (size !== before || upper === this.#most) this.#planRaise(now);
    return [];
  }

  /**
   * Not even the least was answered. Where the peer is heard all the same, it does not answer padded probes or the path takes
   * nothing that may not be fragmented: nothing can be known. Else the path is down for the moment.
   */
  #giveUp({ since, before }: Search, now: MonotonicMs): readonly number[] {
    if (before !== undefined && (this.#heardAt === undefined || this.#heardAt < since)) {
      this.#state = { name: 'known', size: before, checkedAt: now, checkAt: undefined };
      return [];
    }
    this.#state = { name: 'unknown', checkAt: undefined };
    this.#planRaise(now);
    return [];
  }

  #planRaise(now: MonotonicMs): void {
    this.#raiseAt = after(now, this.#raiseMs);
    this.#raiseMs = Math.min(2 * this.#raiseMs, mtuRaiseMostMs);
  }
}

function ask(search: Search, sizes: readonly number[], now: MonotonicMs): readonly number[] {
  search.asked.clear();
  for (const size of sizes) search.asked.add(size);
  search.askedAt = now;
  search.answeredAt = undefined;
  return [...search.asked];
}

/** Sizes between the bounds at even distances; with nothing answered yet the least is one of them. */
function rungsBetween(low: number | undefined, high: number, least: number): number[] {
  const from = low ?? least;
  const sizes = new Set<number>();
  if (low === undefined) sizes.add(least);
  for (let i = 1; i <= rungs; i++) {
    const size = from + (i * (high - from)) / (rungs + 1);
    const whole = Math.floor(size / grainBytes) * grainBytes;
    if (whole > from && whole < high) sizes.add(whole);
  }
  return [...sizes];
}

const nextGrain = (size: number) => (Math.floor(size / grainBytes) + 1) * grainBytes;

const patienceMs = (rttMs: number | undefined) =>
  Math.min(mostPatienceMs, Math.max(mtuPatienceMs, 3 * (rttMs ?? mtuPatienceMs / 2)));
