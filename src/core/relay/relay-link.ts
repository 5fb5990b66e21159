/**
 * One relay: the allocation on it (its states in `allocation.ts`), and what is asked by which way (`requests.ts`, `wish.ts`). Over UDP
 * the knocks race, and only one way allocates at a time, so that both sides mean the same one. A WebSocket is tried as well when UDP
 * takes long; UDP takes over by a refresh once it works.
 */
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { sameBytes } from '../bytes.ts';
import type { LocalSocket } from '../path/io.ts';
import { Hold } from './allocation.ts';
import { BridgeWish } from './bridge-wish.ts';
import type { RelayWay } from './io.ts';
import type { Leg } from './leg.ts';
import { Legs } from './legs.ts';
import * as limits from './limits.ts';
import { type LinkContext, Requests } from './requests.ts';
import { Talk } from './talk.ts';
import { type LinkSituation, wishOf } from './wish.ts';

export class RelayLink {
  readonly id: string;
  entry: RelayEntry;
  readonly #context: LinkContext;
  #sockets: readonly LocalSocket[];
  readonly #legs = new Legs();
  readonly #requests: Requests;
  readonly #talk: Talk;
  readonly #bridge = new BridgeWish();
  readonly #hold = new Hold();
  #measured = true;
  /** It is no longer in the list, and used until then at most. */
  #leftUntil: MonotonicMs | undefined;

  constructor(context: LinkContext, entry: RelayEntry, sockets: readonly LocalSocket[]) {
    this.#context = context;
    this.id = entry.id;
    this.entry = entry;
    this.#sockets = sockets;
    const hold = this.#hold;
    this.#requests = new Requests(context, this, hold);
    const parts = { context, link: this, hold, legs: this.#legs, requests: this.#requests };
    this.#talk = new Talk(parts);
    this.#makeLegs();
  }

  get isHeld(): boolean {
    return this.#hold.isHeld;
  }

  /** The way in use; undefined while there is no allocation. */
  get way(): RelayWay | undefined {
    const { allocation } = this.#hold;
    if (allocation === undefined) return undefined;
    const { token, leg } = allocation;
    const { transport, socket, remote, rttMs } = leg;
    const label = transport === 'udp' ? formatEndpoint(remote) : (this.entry.ws[0] ?? this.id);
    const draining = this.#drainsUntil !== undefined;
    return { relay: this.id, transport, socket, remote, token, label, rttMs, draining };
  }

  /** Of the nearest way that answers. */
  get rttMs(): number | undefined {
    return this.#legs.rttMs;
  }

  /** It may be chosen. */
  isUsable(now: MonotonicMs): boolean {
    return this.#hold.isUsable(now);
  }

  /** It is no longer in the list. */
  get isLeft(): boolean {
    return this.#leftUntil !== undefined;
  }

  /** It forwards although it is about to end, or has left the list. */
  drains(now: MonotonicMs): boolean {
    const until = this.#drainsUntil;
    return until !== undefined && until > now;
  }

  /** An allocation is looked for in vain, or the one there is does not answer. */
  isAiling(now: MonotonicMs): boolean {
    return this.#hold.isAiling(now);
  }

  /** A message of the relay that came on this leg. */
  receive(bytes: Uint8Array, leg: Leg, now: Now): void {
    this.#talk.receive(bytes, leg, now);
  }

  legAt(socket: number, remote: Endpoint): Leg | undefined {
    return this.#legs.at(socket, remote);
  }

  setSockets(sockets: readonly LocalSocket[], now: MonotonicMs): void {
    this.#sockets = sockets;
    this.#makeLegs();
    this.#loseWithLeg(now);
  }

  /** It is no longer in the list: as if it had said that it is about to end. */
  leave(now: MonotonicMs): void {
    if (this.isLeft) return;
    this.#leftUntil = after(now, limits.leftMs);
    const { way } = this;
    if (way !== undefined) this.#context.emit({ type: 'up', way });
  }

  /** It is in the list: perhaps again, with another ticket, or other addresses. */
  update(entry: RelayEntry, now: Now): void {
    const wasLeft = this.isLeft;
    this.#leftUntil = undefined;
    const { way } = this;
    if (wasLeft && way !== undefined) this.#context.emit({ type: 'up', way });
    const isRenewed = !sameBytes(entry.ticket, this.entry.ticket);
    this.entry = entry;
    this.#makeLegs();
    this.#loseWithLeg(now.monotonic);
    if (!isRenewed) return;
    this.#hold.forgive();
    for (const leg of this.#legs) leg.renew();
    // The same allocation under the new ticket: the relay knows it by the client.
    const leg = this.#hold.allocation?.leg;
    if (leg !== undefined)
      this.#requests.begin(leg, leg.transport === 'udp' ? 'knock' : 'allocate', now);
  }

  /** @param since since when it has been looked for */
  hold(since: MonotonicMs): void {
    if (!this.#hold.isHeld) this.#hold.seek(since);
  }

  release(now: Now): void {
    if (!this.#hold.isHeld) return;
    const { allocation } = this.#hold;
    this.#hold.release();
    if (allocation !== undefined) {
      this.#requests.release(allocation.leg, allocation.token, now);
      this.#context.emit({ type: 'down', relay: this.id });
    }
    for (const leg of this.#legs) leg.job = undefined;
  }

  /** Asks how far it is, without taking an allocation. */
  measure(): void {
    this.#measured = false;
  }

  /** Is the allocation still there? */
  check(now: Now): void {
    const leg = this.#hold.allocation?.leg;
    if (leg !== undefined && leg.job === undefined) this.#requests.begin(leg, 'refresh', now);
  }

  /** The same, unless it said so just now. */
  recheck(now: Now): void {
    const confirmedAt = this.#hold.allocation?.confirmedAt;
    if (confirmedAt === undefined || now.monotonic - confirmedAt < limits.recheckMs) return;
    this.check(now);
  }

  networkChanged(now: Now): void {
    for (const leg of this.#legs) leg.renew();
    this.check(now);
  }

  /** The server has told the time: a relay that found ours wrong is asked again. */
  timeTold(): void {
    if (!this.#hold.isRefusedForTime) return;
    this.#hold.forgive();
    for (const leg of this.#legs) leg.renew();
  }

  /** There is no other relay: what rests does not rest for long. */
  hasten(now: MonotonicMs): void {
    for (const leg of this.#legs) leg.hasten(now, limits.restAloneMs);
  }

  setBridge(endpoint: Endpoint | undefined, now: MonotonicMs): void {
    this.#bridge.set(endpoint);
    this.#makeLegs();
    this.#loseWithLeg(now);
  }

  /** This relay is no longer in the list. */
  dropBridge(): void {
    if (this.#bridge.drop()) this.#context.emit({ type: 'bridge-unwanted', relay: this.id });
  }

  /** Does what is due. */
  wake(now: Now): void {
    const at = now.monotonic;
    const { emit } = this.#context;
    const endsAt = this.#hold.endsAt();
    if (endsAt !== undefined && endsAt <= at) this.#talk.lose(at);
    for (const leg of this.#legs) {
      const dueAt = leg.dueAt();
      if (dueAt !== undefined && dueAt <= at) this.#talk.overdue(leg, now);
    }
    for (const leg of this.#legs) {
      const wish = wishOf(leg, this.#situation(at), at);
      const freeAt = leg.freeAt(at);
      if (wish !== undefined && freeAt !== undefined && freeAt <= at)
        this.#requests.begin(leg, wish, now);
    }
    this.#measured = true;
    const bridge = this.#bridge.wake(this.#bridgeSince(), at);
    if (bridge === 'wanted') {
      emit({ type: 'bridge-wanted', relay: this.id, urls: this.entry.ws });
    } else if (bridge === 'unwanted') {
      emit({ type: 'bridge-unwanted', relay: this.id });
      this.#makeLegs();
    }
  }

  deadline(now: MonotonicMs): MonotonicMs | undefined {
    const all = [this.#hold.endsAt(), this.#bridge.dueAt(this.#bridgeSince())];
    // Others choose again then.
    const { since, isHeld, refusedUntil } = this.#hold;
    if (since !== undefined) all.push(after(since, limits.ailingMs));
    if (isHeld) all.push(this.#refreshAt(), refusedUntil, this.#drainsUntil);
    for (const leg of this.#legs) {
      all.push(leg.dueAt());
      if (wishOf(leg, this.#situation(now), now) !== undefined) all.push(leg.freeAt(now));
    }
    // What was due has been done; other moments that have passed make no difference any more.
    const known = all.filter((at) => at !== undefined && at > now);
    return known.length === 0 ? undefined : (Math.min(...(known as number[])) as MonotonicMs);
  }

  #loseWithLeg(now: MonotonicMs): void {
    const leg = this.#hold.allocation?.leg;
    if (leg !== undefined && !this.#legs.has(leg)) this.#talk.lose(now);
  }

  /** What the relay itself has said of its end counts first. */
  get #drainsUntil(): MonotonicMs | undefined {
    const { allocation } = this.#hold;
    return allocation && (allocation.drainsUntil ?? this.#leftUntil);
  }

  #refreshAt(): MonotonicMs | undefined {
    return this.#hold.refreshAt(this.#context.refreshMs());
  }

  #bridgeSince(): MonotonicMs | undefined {
    return this.isHeld && this.entry.ws.length > 0 ? this.#hold.unservedSince() : undefined;
  }

  /** As it is when one leg is looked at. */
  #situation(now: MonotonicMs): LinkSituation {
    return {
      isHeld: this.#hold.isHeld,
      allocation: this.#hold.allocation,
      refreshAt: this.#refreshAt(),
      isUsable: this.isUsable(now),
      isMeasured: this.#measured,
      allocating: this.#legs.allocating,
    };
  }

  #makeLegs(): void {
    this.#legs.make(this.#sockets, this.entry.udp, this.#bridge.endpoint);
  }
}
