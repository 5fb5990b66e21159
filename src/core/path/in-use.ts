import type { MonotonicMs } from '#core/time.ts';
import type { CandidatePair } from './candidate-pair.ts';
import { Liveness } from './liveness.ts';
import type { PairTable } from './pair-table.ts';

/**
 * ```
 *         take              2 probes unanswered
 *  none ───────► well ◄──────────────────────────► doubted
 *   ▲            │  ▲           heard                │  │
 *   │     lapse  ▼  │ resume            another takes│  │ 4 unanswered
 *   │           lapsed                     over: well◄  │
 *   └───────────────────────────────────────────────────┘
 * ```
 * `lapsed`: nobody needs a direct path, its mappings have ended, and a relay waits for traffic. It can be doubted like any other, and
 * is `lapsed` again once it is heard.
 */
export type UseState =
  | { readonly name: 'none' }
  | { readonly name: 'well' }
  | { readonly name: 'lapsed' }
  | { readonly name: 'doubted'; readonly lapsed: boolean };

/** The path in use of one peer, and how sure we are of it. */
export class InUse {
  readonly #pairs: PairTable;
  #state: UseState = { name: 'none' };
  #liveness = new Liveness();
  #since: MonotonicMs;
  #hadPath = false;
  #roamedAt: MonotonicMs | undefined;

  constructor(pairs: PairTable, now: MonotonicMs) {
    this.#pairs = pairs;
    this.#since = now;
  }

  get pair(): CandidatePair | undefined {
    return this.#pairs.current;
  }

  get liveness(): Liveness {
    return this.#liveness;
  }

  /** Since when the path has been in use. */
  get since(): MonotonicMs {
    return this.#since;
  }

  /** There was one, now or before. */
  get hadPath(): boolean {
    return this.#hadPath;
  }

  get isDoubted(): boolean {
    return this.#state.name === 'doubted';
  }

  get isLapsed(): boolean {
    const state = this.#state;
    return state.name === 'lapsed' || (state.name === 'doubted' && state.lapsed);
  }

  /** No direct path is in use and well, and one is needed. */
  get isSearching(): boolean {
    if (this.pair === undefined || this.isDoubted) return true;
    return this.pair.relay !== undefined && !this.isLapsed;
  }

  take(pair: CandidatePair, now: MonotonicMs): void {
    this.#change(pair, { name: 'well' });
    this.#since = now;
    this.#hadPath = true;
    this.#roamedAt = undefined;
  }

  /** @param relayed what carries the traffic, if there is any */
  lapse(relayed: CandidatePair): void {
    this.#change(relayed, { name: 'lapsed' });
  }

  resume(now: MonotonicMs): void {
    if (this.#state.name === 'lapsed') this.#state = { name: 'well' };
    else if (this.isDoubted) this.#state = { name: 'doubted', lapsed: false };
    this.#since = now;
  }

  doubt(): void {
    this.#state = { name: 'doubted', lapsed: this.isLapsed };
  }

  /** Something authenticated came over the path. Returns whether that ended a doubt. */
  heard(): boolean {
    this.#liveness.heard();
    const state = this.#state;
    if (state.name !== 'doubted') return false;
    this.#state = state.lapsed ? { name: 'lapsed' } : { name: 'well' };
    return true;
  }

  lose(): void {
    this.#pairs.current = undefined;
    this.#state = { name: 'none' };
  }

  /** The peer's data came from elsewhere. */
  roamed(now: MonotonicMs): void {
    this.#roamedAt = now;
  }

  /** What is received now may have come by another way than the one in use. */
  isElsewhere(now: MonotonicMs): boolean {
    return this.#roamedAt !== undefined && now - this.#roamedAt < roamedMs;
  }

  /** The path may be dead: a probe leaves at once, unless an answer is being waited for. */
  check(now: MonotonicMs): void {
    if (this.pair !== undefined) this.#liveness.check(this.pair, now);
  }

  #change(pair: CandidatePair, state: UseState): void {
    this.#pairs.current = pair;
    this.#liveness = new Liveness();
    this.#state = state;
  }
}

/** For so long after a roam report, what is received is not taken as a sign of the path in use. */
const roamedMs = 250;
