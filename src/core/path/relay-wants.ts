import { after, type MonotonicMs } from '#core/time.ts';
import type { PathContext } from './context.ts';
import { otherRelayMs, relaySilentMs, relaysWanted, relayWantMs } from './limits.ts';
import type { PairTable } from './pair-table.ts';

/**
 * Asks for allocations on relays for the sake of one peer: on one of its own when none is shared, on a second one while a relay carries
 * the traffic, so that another is there when that one ends, and on any other one when those that are shared bring nothing: a relay may
 * answer whatever it is asked and forward nothing. Repeated, because what is not asked for lapses.
 */
export class RelayWants {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  #dueAt: MonotonicMs | undefined;
  /** When any other relay was asked for. */
  #otherAt: MonotonicMs | undefined;

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
    const { missing, shared, silent } = this.#pairs.relays;
    const { current } = this.#pairs;
    const isRelayed = current === undefined || current.relay !== undefined;
    const [first] = missing;
    const lacks = shared - silent < (isRelayed ? relaysWanted : 1) && first !== undefined;
    if (lacks) this.#want(first);
    // What is in use must not lapse.
    if (current?.relay !== undefined) this.#want(current.relay.relay);
    if (current === undefined && shared > 0) this.#dueAt = this.#lookForOther(shared, silent, now);
    else {
      const isNeeded = lacks || current?.relay !== undefined;
      this.#dueAt = isNeeded ? after(now, relayWantMs) : undefined;
    }
  }

  /** No way to the peer, although there are relays in common. When to look again. */
  #lookForOther(shared: number, silent: number, now: MonotonicMs): MonotonicMs {
    if (silent < shared) return after(now, relaySilentMs);
    const askedAt = this.#otherAt;
    const dueAt = askedAt === undefined ? now : after(askedAt, otherRelayMs);
    if (dueAt > now) return dueAt;
    this.#otherAt = now;
    this.#context.emit({ type: 'relay-wanted', peer: this.#peer, relay: undefined });
    return after(now, otherRelayMs);
  }

  #want(relay: string): void {
    this.#context.emit({ type: 'relay-wanted', peer: this.#peer, relay });
  }
}
