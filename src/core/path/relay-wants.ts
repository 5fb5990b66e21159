import { after, type MonotonicMs } from '#core/time.ts';
import type { PathContext } from './context.ts';
import { relaysWanted, relayWantMs } from './limits.ts';
import type { PairTable } from './pair-table.ts';

/**
 * Asks for allocations on relays for the sake of one peer: on one of its own when none is shared, on a second one while a relay carries
 * the traffic, so that another is there when that one ends. Repeated, because what is not asked for lapses.
 */
export class RelayWants {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  #dueAt: MonotonicMs | undefined;

  constructor(context: PathContext, peer: number, pairs: PairTable) {
    this.#context = context;
    this.#peer = peer;
    this.#pairs = pairs;
  }

  get dueAt(): MonotonicMs | undefined {
    return this.#dueAt;
  }

  wake(now: MonotonicMs): void {
    if (this.#dueAt !== undefined && this.#dueAt <= now) this.look(now);
  }

  /** Something changed that this goes by. */
  look(now: MonotonicMs): void {
    const { missing, shared } = this.#pairs.relays;
    const { current } = this.#pairs;
    const isRelayed = current === undefined || current.relay !== undefined;
    const [first] = missing;
    const lacks = shared < (isRelayed ? relaysWanted : 1) && first !== undefined;
    if (lacks) this.#want(first);
    // What is in use must not lapse.
    if (current?.relay !== undefined) this.#want(current.relay.relay);
    const isNeeded = lacks || current?.relay !== undefined;
    this.#dueAt = isNeeded ? after(now, relayWantMs) : undefined;
  }

  #want(relay: string): void {
    this.#context.emit({ type: 'relay-wanted', peer: this.#peer, relay });
  }
}
