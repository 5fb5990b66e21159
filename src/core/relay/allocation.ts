import { after, type MonotonicMs } from '#core/time.ts';
import type { RelayErrorCode } from '#wire/relay.ts';
import type { Leg } from './leg.ts';
import { ailingMs, doubtAfter } from './limits.ts';

/** What a relay granted, and the way by which it is used. */
export interface Allocation {
  readonly token: bigint;
  readonly leg: Leg;
  readonly lifetimeMs: number;
  /** Last authenticated word of the relay. */
  readonly confirmedAt: MonotonicMs;
  /** The relay is about to end. */
  readonly drainsUntil?: MonotonicMs;
}

/**
 * ```
 *            hold            allocated             2 refreshes unanswered        4: down
 *  released ──────► seeking ───────────► up(leg) ─────────────────────► doubtful ───────► seeking
 *     ▲                                     ▲  another leg is refreshed      │
 *     └──── release ── seeking, up          └────────────────────────────────┘
 * ```
 * Doubtful is `up` with the time since when another way is looked for.
 */
export type HoldState =
  | { readonly name: 'released' }
  | { readonly name: 'seeking'; readonly since: MonotonicMs }
  | { readonly name: 'up'; readonly allocation: Allocation; readonly since?: MonotonicMs };

/** Whether an allocation on one relay is wanted, and the one there is. */
export class Hold {
  #state: HoldState = { name: 'released' };
  #refusal: { readonly until: MonotonicMs; readonly code: RelayErrorCode | undefined } | undefined;

  /** The relay does not serve us until then. */
  get refusedUntil(): MonotonicMs | undefined {
    return this.#refusal?.until;
  }

  /** It found our time wrong. */
  get isRefusedForTime(): boolean {
    return this.#refusal?.code === 'wrong-time';
  }

  get isHeld(): boolean {
    return this.#state.name !== 'released';
  }

  get allocation(): Allocation | undefined {
    return this.#state.name === 'up' ? this.#state.allocation : undefined;
  }

  /** Since when an allocation is looked for, or another way to the one that does not answer. */
  get since(): MonotonicMs | undefined {
    return this.#state.name === 'released' ? undefined : this.#state.since;
  }

  /** It may be chosen. */
  isUsable(now: MonotonicMs): boolean {
    return this.refusedUntil === undefined || this.refusedUntil <= now;
  }

  /** An allocation is looked for in vain, or the one there is does not answer. */
  isAiling(now: MonotonicMs): boolean {
    const state = this.#state;
    switch (state.name) {
      case 'released':
        return false;
      case 'seeking':
        return after(state.since, ailingMs) <= now;
      case 'up':
        return isDoubtful(state.allocation);
      default:
        return state satisfies never;
    }
  }

  /** @param code undefined: it is about to end */
  refuse(until: MonotonicMs, code?: RelayErrorCode): void {
    this.#refusal = { until, code };
  }

  /** What was the matter is mended. */
  forgive(): void {
    this.#refusal = undefined;
  }

  /** @param since since when it has been looked for */
  seek(since: MonotonicMs): void {
    this.#state = { name: 'seeking', since };
  }

  take(allocation: Allocation): void {
    this.#state = { name: 'up', allocation };
  }

  drain(drainsUntil: MonotonicMs): void {
    if (this.#state.name !== 'up') return;
    this.#state = { ...this.#state, allocation: { ...this.#state.allocation, drainsUntil } };
  }

  doubt(now: MonotonicMs): void {
    if (this.#state.name === 'up') this.#state = { ...this.#state, since: now };
  }

  release(): void {
    this.#state = { name: 'released' };
  }

  refreshAt(refreshMs: number): MonotonicMs | undefined {
    const { allocation } = this;
    if (allocation === undefined || allocation.leg.job !== undefined) return undefined;
    return after(allocation.confirmedAt, refreshMs);
  }

  endsAt(): MonotonicMs | undefined {
    const { allocation } = this;
    return allocation && after(allocation.confirmedAt, allocation.lifetimeMs);
  }

  /** Since when UDP alone does not serve; undefined: it does. */
  unservedSince(): MonotonicMs | undefined {
    const { allocation, since } = this;
    if (allocation === undefined) return since;
    const isNeeded = allocation.leg.transport === 'tcp' || isDoubtful(allocation);
    return isNeeded ? (since ?? allocation.confirmedAt) : undefined;
  }
}

export const isDoubtful = ({ leg }: Allocation): boolean =>
  leg.job?.kind === 'refresh' && leg.job.tries > doubtAfter;
