/**
 * One relay: the allocation on it, and the ways to it.
 *
 *     knock ────────► relay                 an allocate without ticket: costs the relay nothing
 *           ◄──────── challenge             a cookie, and how far the relay is
 *     allocate ─────► with cookie, ticket
 *           ◄──────── allocated             token, up
 *     refresh ──────► every 25 s; from another address answered by a challenge first (roam)
 *           ◄──────── refreshed
 *
 * ```
 *            hold            allocated             2 refreshes unanswered        4: down
 *  released ──────► seeking ───────────► up(leg) ─────────────────────► doubtful ───────► seeking
 *     ▲                                     ▲  another leg is refreshed      │
 *     └──── release ── seeking, up          └────────────────────────────────┘
 * ```
 * Over UDP the knocks race, and only one way allocates at a time, so that both sides mean the same one. A WebSocket is tried as
 * well when UDP takes long; UDP takes over by a refresh once it works.
 */
import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import {
  type Endpoint,
  familyOf,
  formatEndpoint,
  parseEndpoint,
  sameEndpoint,
} from '#wire/endpoint.ts';
import {
  type Allocated,
  type Challenge,
  type Draining,
  decodeRelay,
  movedToken,
  type RelayErrorCode,
  relayMacIsValid,
  relayTransactionBytes,
  type SealedRelayMessage,
  sealRelay,
} from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { sameBytes } from '../bytes.ts';
import type { LocalSocket } from '../path/io.ts';
import { BridgeWish } from './bridge-wish.ts';
import type { RelayCounter, RelaysOutput, RelayWay } from './io.ts';
import { type Job, Leg } from './leg.ts';
import * as limits from './limits.ts';

export interface LinkContext {
  readonly crypto: Crypto;
  emit(output: RelaysOutput): void;
  count(counter: RelayCounter): void;
  /** Server time in ms. */
  time(now: Now): number;
  refreshMs(): number;
}

interface Allocation {
  readonly token: bigint;
  readonly leg: Leg;
  readonly lifetimeMs: number;
  /** Last authenticated word of the relay. */
  readonly confirmedAt: MonotonicMs;
  /** The relay is about to end. */
  readonly drainsUntil?: MonotonicMs;
}

export class RelayLink {
  readonly id: string;
  entry: RelayEntry;
  readonly #context: LinkContext;
  #sockets: readonly LocalSocket[];
  #legs: readonly Leg[] = [];
  readonly #bridge = new BridgeWish();
  #held = false;
  #allocation: Allocation | undefined;
  /** Since when an allocation is looked for, or another way to the one that does not answer. */
  #since: MonotonicMs | undefined;
  /** The relay does not serve us until then. */
  #refusedUntil: MonotonicMs | undefined;
  #measured = true;
  /** When the relay's word that our data comes from elsewhere was followed. */
  #movedAt: MonotonicMs | undefined;

  constructor(context: LinkContext, entry: RelayEntry, sockets: readonly LocalSocket[]) {
    this.#context = context;
    this.id = entry.id;
    this.entry = entry;
    this.#sockets = sockets;
    this.#makeLegs();
  }

  get isHeld(): boolean {
    return this.#held;
  }

  /** The way in use; undefined while there is no allocation. */
  get way(): RelayWay | undefined {
    if (this.#allocation === undefined) return undefined;
    const { token, leg, drainsUntil } = this.#allocation;
    const { transport, socket, remote, rttMs } = leg;
    const label = transport === 'udp' ? formatEndpoint(remote) : (this.entry.ws[0] ?? this.id);
    const draining = drainsUntil !== undefined;
    return { relay: this.id, transport, socket, remote, token, label, rttMs, draining };
  }

  /** Of the nearest way that answers. */
  get rttMs(): number | undefined {
    const known = this.#legs.map(({ rttMs }) => rttMs).filter((rttMs) => rttMs !== undefined);
    return known.length === 0 ? undefined : Math.min(...known);
  }

  /** It may be chosen. */
  isUsable(now: MonotonicMs): boolean {
    return this.#refusedUntil === undefined || this.#refusedUntil <= now;
  }

  /** It forwards although it is about to end. */
  drains(now: MonotonicMs): boolean {
    const until = this.#allocation?.drainsUntil;
    return until !== undefined && until > now;
  }

  /** An allocation is looked for in vain, or the one there is does not answer. */
  isAiling(now: MonotonicMs): boolean {
    if (!this.#held) return false;
    if (this.#allocation !== undefined) return isDoubtful(this.#allocation);
    return this.#since !== undefined && now - this.#since >= limits.ailingMs;
  }

  legAt(socket: number, remote: Endpoint): Leg | undefined {
    return this.#legs.find((leg) => leg.socket === socket && sameEndpoint(leg.remote, remote));
  }

  setSockets(sockets: readonly LocalSocket[], now: MonotonicMs): void {
    this.#sockets = sockets;
    this.#makeLegs();
    this.#loseWithLeg(now);
  }

  /** Another ticket, or other addresses. */
  update(entry: RelayEntry, now: Now): void {
    const isRenewed = !sameBytes(entry.ticket, this.entry.ticket);
    this.entry = entry;
    this.#makeLegs();
    this.#loseWithLeg(now.monotonic);
    if (!isRenewed) return;
    this.#refusedUntil = undefined;
    for (const leg of this.#legs) leg.renew();
    // The same allocation under the new ticket: the relay knows it by the client.
    const leg = this.#allocation?.leg;
    if (leg !== undefined) this.#begin(leg, leg.transport === 'udp' ? 'knock' : 'allocate', now);
  }

  /** @param since since when it has been looked for */
  hold(since: MonotonicMs): void {
    if (this.#held) return;
    this.#held = true;
    this.#since = since;
  }

  release(now: Now): void {
    if (!this.#held) return;
    this.#held = false;
    if (this.#allocation !== undefined) {
      const { token, leg } = this.#allocation;
      const transaction = this.#context.crypto.random(relayTransactionBytes);
      this.#send(leg, { type: 'release', token, transaction, time: this.#context.time(now) });
      this.#allocation = undefined;
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
    const leg = this.#allocation?.leg;
    if (leg !== undefined && leg.job === undefined) this.#begin(leg, 'refresh', now);
  }

  /** The same, unless it said so just now. */
  recheck(now: Now): void {
    const confirmedAt = this.#allocation?.confirmedAt;
    if (confirmedAt === undefined || now.monotonic - confirmedAt < limits.recheckMs) return;
    this.check(now);
  }

  networkChanged(now: Now): void {
    for (const leg of this.#legs) leg.renew();
    this.check(now);
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
    const endsAt = this.#endsAt();
    if (endsAt !== undefined && endsAt <= at) this.#lose(at);
    for (const leg of this.#legs) {
      const dueAt = leg.dueAt();
      if (dueAt !== undefined && dueAt <= at) this.#overdue(leg, now);
    }
    for (const leg of this.#legs) {
      const wish = this.#wish(leg, at);
      const freeAt = leg.freeAt(at);
      if (wish !== undefined && freeAt !== undefined && freeAt <= at) this.#begin(leg, wish, now);
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
    const all = [this.#endsAt(), this.#bridge.dueAt(this.#bridgeSince())];
    // Others choose again then.
    if (this.#since !== undefined) all.push(after(this.#since, limits.ailingMs));
    if (this.#held) all.push(this.#refreshAt(), this.#refusedUntil, this.#allocation?.drainsUntil);
    for (const leg of this.#legs) {
      all.push(leg.dueAt());
      if (this.#wish(leg, now) !== undefined) all.push(leg.freeAt(now));
    }
    // What was due has been done; other moments that have passed make no difference any more.
    const known = all.filter((at) => at !== undefined && at > now);
    return known.length === 0 ? undefined : (Math.min(...(known as number[])) as MonotonicMs);
  }

  /** A message of the relay that came on this leg. */
  receive(bytes: Uint8Array, leg: Leg, now: Now): void {
    const { count, crypto } = this.#context;
    const message = decodeRelay(bytes);
    if (message === undefined) {
      count('malformed');
      return;
    }
    const isPlain = message.type === 'challenge' || message.type === 'error';
    if (!isPlain && !relayMacIsValid(crypto, this.entry.key, bytes)) {
      count('forged');
      return;
    }
    switch (message.type) {
      case 'challenge':
      case 'allocated':
      case 'refreshed':
      case 'error': {
        if (message.type === 'challenge' && this.#moved(message, leg, now)) return;
        const { job } = leg;
        if (job === undefined || !sameBytes(job.transaction, message.transaction)) {
          count('unmatched');
          return;
        }
        if (message.type === 'challenge') this.#challenged(leg, job, message.cookie, now);
        else if (message.type === 'error') this.#refusedBy(message.code, leg, job, now.monotonic);
        else if (message.type === 'allocated') this.#allocated(message, leg, job, now.monotonic);
        else this.#refreshed(leg, job, now.monotonic);
        return;
      }
      case 'draining':
        this.#draining(message, now.monotonic);
        return;
      case 'allocate':
      case 'refresh':
      case 'release':
        count('unmatched');
        return;
      default:
        message satisfies never;
    }
  }

  /**
   * The NAT has given this way another port, from which the relay does not take our data: a refresh from there, with the cookie that the
   * relay sent along. True when the message says so. Whoever forges it makes us send one refresh.
   */
  #moved({ transaction, cookie }: Challenge, leg: Leg, now: Now): boolean {
    const allocation = this.#allocation;
    if (allocation === undefined || movedToken(transaction) !== allocation.token) return false;
    const isSoon = this.#movedAt !== undefined && now.monotonic - this.#movedAt < limits.movedMs;
    // A refresh under way finds out by itself.
    if (leg !== allocation.leg || leg.job !== undefined || isSoon) return true;
    this.#movedAt = now.monotonic;
    this.#context.count('moves');
    const job = { kind: 'refresh', transaction, cookie, cookies: 1, tries: 0 } as const;
    this.#repeat(leg, { ...job, sentAt: now.monotonic }, now);
    return true;
  }

  #challenged(leg: Leg, job: Job, cookie: Uint8Array, now: Now): void {
    const { transaction, kind, cookies } = job;
    if (cookies >= limits.maxCookies) {
      this.#context.count('unmatched');
      return;
    }
    leg.answered(now.monotonic);
    if (kind !== 'knock') {
      this.#repeat(leg, { ...job, cookie, cookies: cookies + 1, tries: 0 }, now);
      return;
    }
    leg.fresh = { transaction, cookie, at: now.monotonic };
    // A new ticket for the allocation that there is.
    if (leg === this.#allocation?.leg) this.#begin(leg, 'allocate', now);
  }

  #allocated(message: Allocated, leg: Leg, job: Job, now: MonotonicMs): void {
    if (job.kind !== 'allocate') {
      this.#context.count('unmatched');
      return;
    }
    leg.answered(now);
    if (!this.#held) return;
    this.#context.count('allocations');
    const { token, lifetimeSeconds } = message;
    const lifetimeMs = Math.max(lifetimeSeconds * 1000, limits.refreshLeastMs);
    this.#use({ token, leg, lifetimeMs, confirmedAt: now });
  }

  #refreshed(leg: Leg, job: Job, now: MonotonicMs): void {
    if (job.kind !== 'refresh') {
      this.#context.count('unmatched');
      return;
    }
    leg.answered(now);
    const allocation = this.#allocation;
    if (allocation === undefined) return;
    this.#context.count(leg === allocation.leg ? 'refreshes' : 'roams');
    this.#use({ ...allocation, leg, confirmedAt: now });
  }

  #use(allocation: Allocation): void {
    const before = this.#allocation;
    this.#allocation = allocation;
    this.#since = undefined;
    if (before?.leg === allocation.leg && before.token === allocation.token) return;
    // Whoever is late must not take the allocation away from the way that is used now.
    for (const leg of this.#legs) if (leg !== allocation.leg) leg.job = undefined;
    this.#context.emit({ type: 'up', way: this.way! });
  }

  #refusedBy(code: RelayErrorCode, leg: Leg, job: Job, now: MonotonicMs): void {
    this.#context.count('refused');
    leg.answered(now);
    const isOurs = job.kind === 'refresh' && leg === this.#allocation?.leg;
    if (code === 'unknown-token') {
      if (isOurs) this.#lose(now);
      else leg.failed(now);
      return;
    }
    leg.rest(now, limits.refusedMs);
    this.#refusedUntil = after(now, limits.refusedMs);
    if (isOurs) this.#lose(now);
  }

  #draining({ token, graceSeconds }: Draining, now: MonotonicMs): void {
    const allocation = this.#allocation;
    if (allocation?.token !== token) {
      this.#context.count('unmatched');
      return;
    }
    const graceMs = Math.min(graceSeconds * 1000, limits.refusedMs);
    this.#refusedUntil = after(now, Math.max(graceMs, limits.drainedMs));
    this.#allocation = { ...allocation, drainsUntil: after(now, graceMs) };
    this.#context.emit({ type: 'up', way: this.way! });
  }

  #lose(now: MonotonicMs): void {
    if (this.#allocation === undefined) return;
    this.#allocation = undefined;
    this.#since = now;
    for (const leg of this.#legs) {
      leg.job = undefined;
      leg.rttMs = undefined;
      leg.renew();
    }
    this.#context.count('losses');
    this.#context.emit({ type: 'down', relay: this.id });
  }

  #loseWithLeg(now: MonotonicMs): void {
    const leg = this.#allocation?.leg;
    if (leg !== undefined && !this.#legs.includes(leg)) this.#lose(now);
  }

  #overdue(leg: Leg, now: Now): void {
    const job = leg.job!;
    const isOurs = job.kind === 'refresh' && leg === this.#allocation?.leg;
    if (isOurs && job.tries === limits.doubtAfter) this.#since = now.monotonic;
    if (isOurs && job.tries >= limits.lostAfter) this.#lose(now.monotonic);
    else if (job.tries >= limits.maxTries) leg.failed(now.monotonic);
    else this.#repeat(leg, job, now);
  }

  /** What should be asked on this leg now. */
  #wish(leg: Leg, now: MonotonicMs): Job['kind'] | undefined {
    if (leg.job !== undefined) return undefined;
    const isUdp = leg.transport === 'udp';
    if (!this.#held) return isUdp && !this.#measured ? 'knock' : undefined;
    const allocation = this.#allocation;
    if (allocation !== undefined) {
      if (leg === allocation.leg) return this.#refreshAt()! <= now ? 'refresh' : undefined;
      const isBetter = isUdp && allocation.leg.transport === 'tcp';
      return isBetter || isDoubtful(allocation) ? 'refresh' : undefined;
    }
    if (!this.isUsable(now)) return undefined;
    // One at a time; but UDP does not wait for a WebSocket.
    const rivals = this.#legs.filter(({ job }) => job?.kind === 'allocate');
    if (rivals.some(({ transport }) => !isUdp || transport === 'udp')) return undefined;
    if (!isUdp) return 'allocate';
    return isFresh(leg, now) ? 'allocate' : 'knock';
  }

  #begin(leg: Leg, kind: Job['kind'], now: Now): void {
    const { fresh } = leg;
    const used = kind === 'allocate' && isFresh(leg, now.monotonic) ? fresh : undefined;
    leg.fresh = undefined;
    const transaction = used?.transaction ?? this.#context.crypto.random(relayTransactionBytes);
    const cookie = used === undefined ? {} : { cookie: used.cookie };
    const begun = { kind, transaction, ...cookie, cookies: 0, sentAt: now.monotonic, tries: 0 };
    this.#repeat(leg, begun, now);
  }

  #repeat(leg: Leg, job: Job, now: Now): void {
    leg.job = { ...job, sentAt: now.monotonic, tries: job.tries + 1 };
    const { transaction, kind, cookie } = job;
    const time = this.#context.time(now);
    const proof = cookie === undefined ? {} : { cookie };
    if (kind === 'refresh') {
      const token = this.#allocation?.token;
      if (token === undefined) leg.job = undefined;
      else this.#send(leg, { type: 'refresh', token, transaction, time, ...proof });
      return;
    }
    const ticket = kind === 'knock' ? nothing : this.entry.ticket;
    this.#send(leg, { type: 'allocate', transaction, time, ...proof, ticket });
  }

  #send(leg: Leg, message: SealedRelayMessage): void {
    const { crypto, emit, count } = this.#context;
    count('requests');
    const bytes = sealRelay(crypto, this.entry.key, message);
    emit({ type: 'send', socket: leg.socket, remote: leg.remote, bytes });
  }

  #refreshAt(): MonotonicMs | undefined {
    const allocation = this.#allocation;
    if (allocation === undefined || allocation.leg.job !== undefined) return undefined;
    return after(allocation.confirmedAt, this.#context.refreshMs());
  }

  #endsAt(): MonotonicMs | undefined {
    const allocation = this.#allocation;
    return allocation && after(allocation.confirmedAt, allocation.lifetimeMs);
  }

  /** Since when UDP alone does not serve; undefined: it does. */
  #bridgeSince(): MonotonicMs | undefined {
    if (!this.#held || this.entry.ws.length === 0) return undefined;
    const allocation = this.#allocation;
    if (allocation === undefined) return this.#since;
    const isNeeded = allocation.leg.transport === 'tcp' || isDoubtful(allocation);
    return isNeeded ? (this.#since ?? allocation.confirmedAt) : undefined;
  }

  /** One way for each address family, and one over the bridge. Those that stay keep what they know. */
  #makeLegs(): void {
    const wanted: Leg[] = [];
    for (const { socket, family } of this.#sockets) {
      const remote = this.entry.udp
        .map(parseEndpoint)
        .find((endpoint) => endpoint !== undefined && familyOf(endpoint.address) === family);
      if (remote !== undefined) wanted.push(new Leg('udp', socket, remote));
      const bridge = this.#bridge.endpoint;
      if (bridge !== undefined && familyOf(bridge.address) === family) {
        wanted.push(new Leg('tcp', socket, bridge));
      }
    }
    const known = new Map(this.#legs.map((leg) => [leg.key, leg]));
    this.#legs = wanted.map((leg) => known.get(leg.key) ?? leg);
  }
}

const nothing = new Uint8Array(0);

const isDoubtful = ({ leg }: Allocation): boolean =>
  leg.job?.kind === 'refresh' && leg.job.tries > limits.doubtAfter;

const isFresh = ({ fresh }: Leg, now: MonotonicMs): boolean =>
  fresh !== undefined && now - fresh.at < limits.cookieFreshMs;
