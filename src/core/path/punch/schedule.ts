/** When which peer's hard NAT is tried (again): one after the other, backed off. */
import { after, type MonotonicMs, monotonicMs } from '#core/time.ts';
import { Deadlines } from '../deadlines.ts';
import { busyRetryMs, firstRetryMs, mostRetryMs, smallRetryMs, yieldMs } from './limits.ts';

interface Entry {
  leads: boolean;
  /** Attempts that came to an end without a path, one after the other. */
  failures: number;
  /** The last attempt with this peer, whoever began it. */
  startedAt: MonotonicMs | undefined;
  dueAt: MonotonicMs | undefined;
  /** Times that the answer asked for another offer at once. */
  soon: number;
  /** Better left until more is known, which may not come. */
  isHeldBack: boolean;
}

/** How long after one attempt with a peer another one may begin because of a new network. */
const anewAfterMs = 15_000;
/** The next offer when the server can vouch for an address by then, and how many of these there are in a row. */
const soonMs = 200;
const maxSoon = 2;
/** A new network is found out first. */
const networkMs = 2000;

export class PunchSchedule {
  readonly #entries = new Map<number, Entry>();
  readonly #deadlines = new Deadlines();
  /** Due, but another attempt goes on. */
  readonly #waiting = new Set<number>();
  /** With whom an attempt goes on. */
  #busy: number | undefined;

  /**
   * There is something to try with this peer: as soon as possible, unless that is settled already.
   * @param holdMs time for what is not known yet, which is over once this is called with 0
   */
  add(peer: number, leads: boolean, now: MonotonicMs, holdMs = 0): void {
    const known = this.#entries.get(peer);
    const isReleased = known?.isHeldBack === true && holdMs === 0;
    if (this.#busy === peer || (known?.dueAt !== undefined && !isReleased)) return;
    const fresh = { failures: 0, startedAt: undefined, dueAt: undefined, soon: 0 };
    const entry = known ?? { ...fresh, leads, isHeldBack: false };
    entry.isHeldBack = holdMs > 0;
    this.#entries.set(peer, entry);
    const soonest = (entry.startedAt ?? Number.NEGATIVE_INFINITY) + anewAfterMs;
    this.#set(peer, monotonicMs(Math.max(now + holdMs, soonest) + (leads ? 0 : yieldMs)));
  }

  /** There is a path now, or no way to find one like this: nothing is due until `add`. */
  rest(peer: number): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return;
    entry.failures = 0;
    entry.dueAt = undefined;
    this.#busy = this.#busy === peer ? undefined : this.#busy;
    this.#waiting.delete(peer);
    this.#deadlines.set(peer, undefined);
  }

  remove(peer: number): void {
    this.#entries.delete(peer);
    this.#waiting.delete(peer);
    this.#deadlines.set(peer, undefined);
  }

  /** The next peer whose turn it is. */
  take(now: MonotonicMs): number | undefined {
    for (let due = this.#deadlines.takeDue(now); due !== undefined; ) {
      this.#waiting.add(due);
      due = this.#deadlines.takeDue(now);
    }
    const [first] = this.#waiting;
    if (first !== undefined) this.#waiting.delete(first);
    return first;
  }

  /** When `take` is to be called next. */
  deadline(): MonotonicMs | undefined {
    return this.#waiting.size > 0 ? monotonicMs(Number.NEGATIVE_INFINITY) : this.#deadlines.next;
  }

  started(peer: number, now: MonotonicMs): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) {
      entry.startedAt = now;
      entry.dueAt = undefined;
      entry.isHeldBack = false;
    }
    this.#busy = peer;
    this.#waiting.delete(peer);
    this.#deadlines.set(peer, undefined);
  }

  startedAt(peer: number): MonotonicMs | undefined {
    return this.#entries.get(peer)?.startedAt;
  }

  failures(peer: number): number {
    return this.#entries.get(peer)?.failures ?? 0;
  }

  /**
   * Nothing came of it. @param chance 0 to 1, random: so that many do not come together again.
   * @param isSmall it cost little: the first of these is repeated right away
   */
  failed(peer: number, chance: number, now: MonotonicMs, isSmall = false): MonotonicMs | undefined {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return undefined;
    const backedOffMs = Math.min(mostRetryMs, firstRetryMs * 2 ** Math.min(entry.failures, 16));
    const pauseMs = isSmall && entry.failures === 0 ? smallRetryMs : backedOffMs;
    entry.failures += 1;
    entry.soon = 0;
    return this.#set(peer, after(now, pauseMs * (1 + 0.1 * chance) + (entry.leads ? 0 : yieldMs)));
  }

  /** The other side, or the server, could not now. */
  postponed(peer: number, chance: number, now: MonotonicMs): MonotonicMs | undefined {
    if (!this.#entries.has(peer)) return undefined;
    return this.#set(peer, after(now, busyRetryMs * (1 + chance)));
  }

  /** By refusing the other side has just asked the server for what was missing; not for ever. */
  soon(peer: number, now: MonotonicMs): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return;
    entry.soon += 1;
    if (entry.soon > maxSoon) this.failed(peer, 0, now);
    else this.#set(peer, after(now, soonMs));
  }

  /** It makes no sense for long, as far as that can be told. */
  discouraged(peer: number, now: MonotonicMs): MonotonicMs | undefined {
    return this.#entries.has(peer) ? this.#set(peer, after(now, mostRetryMs)) : undefined;
  }

  /** This machine is in another network: everything begins anew, after a moment. */
  renew(now: MonotonicMs): void {
    for (const [peer, entry] of this.#entries) {
      if (entry.dueAt === undefined) continue;
      entry.failures = 0;
      const soonest = (entry.startedAt ?? Number.NEGATIVE_INFINITY) + anewAfterMs;
      const at = Math.max(now + networkMs, soonest) + (entry.leads ? 0 : yieldMs);
      this.#set(peer, monotonicMs(at));
    }
  }

  dueAt(peer: number): MonotonicMs | undefined {
    return this.#entries.get(peer)?.dueAt;
  }

  #set(peer: number, at: MonotonicMs): MonotonicMs {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.dueAt = at;
    if (this.#busy === peer) this.#busy = undefined;
    this.#waiting.delete(peer);
    this.#deadlines.set(peer, at);
    return at;
  }
}
