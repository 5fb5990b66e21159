/**
 * What the switchboard knows, and what can be done with it: allocations come, move and end; messages go out. Who may do so is decided in
 * `desk.ts` and `switchboard.ts`.
 */
import type { Crypto } from '#core/crypto.ts';
import { forgetOldest } from '#core/forget-oldest.ts';
import { PrefixHoldings } from '#core/holdings.ts';
import { prefixesOf } from '#core/prefixes.ts';
import { after, type MonotonicMs, monotonicMs, type Now } from '#core/time.ts';
import { encodePlainRelay, type SealedRelayMessage, sealRelay } from '#wire/relay.ts';
import { Allocations, type Holder } from './allocations.ts';
import { Cookies } from './cookies.ts';
import { RelayCounters } from './counters.ts';
import * as limits from './limits.ts';
import { Requests } from './requests.ts';
import type { Source } from './source.ts';
import type { Ticket, TicketKeys } from './tickets.ts';

export interface SwitchboardOptions extends TicketKeys {
  readonly maxAllocations?: number;
}

export type SwitchboardOutput =
  | { readonly type: 'send'; readonly to: Source; readonly bytes: Uint8Array }
  /** What is for this slot goes there from now on. */
  | { readonly type: 'placed'; readonly slot: number; readonly source: Source }
  | { readonly type: 'gone'; readonly slot: number };

/** After the server was away, clients have so long to come with a new ticket. */
const renewalMs = 60_000;

export class Board {
  readonly options: SwitchboardOptions;
  readonly crypto: Crypto;
  readonly counters = new RelayCounters();
  readonly allocations: Allocations;
  readonly #cookies: Cookies;
  readonly #perPrefix = new PrefixHoldings(limits.maxPerPrefix, limits.maxPerWidePrefix);
  readonly #revoked = new Map<number, number>();
  /** Of clients whose allocation has ended: replays of what they sent must not bring it back. */
  readonly #mourned = new Map<number, { readonly requests: Requests; readonly until: number }>();
  isDraining = false;
  #out: SwitchboardOutput[] = [];
  #offsetMs = 0;
  #isReachable = true;
  /** Since when the server is there again. */
  #reachableAt = monotonicMs(Number.NEGATIVE_INFINITY);

  constructor(options: SwitchboardOptions) {
    this.options = options;
    this.crypto = options.crypto;
    this.#cookies = new Cookies(options.crypto);
    this.allocations = new Allocations(options.maxAllocations ?? limits.maxAllocations);
  }

  get isIdle(): boolean {
    return this.allocations.size === 0 && this.#mourned.size === 0;
  }

  get hasOutputs(): boolean {
    return this.#out.length > 0;
  }

  takeOutputs(): SwitchboardOutput[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  setServer(isReachable: boolean, now: Now, offsetMs = this.#offsetMs): void {
    if (isReachable && !this.#isReachable) this.#reachableAt = now.monotonic;
    this.#isReachable = isReachable;
    this.#offsetMs = offsetMs;
  }

  /** The server's time as far as it is known. */
  timeMs(now: Now): number {
    return now.wall + this.#offsetMs;
  }

  /** How long tickets of live allocations count beyond their end. */
  graceMs(now: Now): number {
    const isSettled = now.monotonic >= after(this.#reachableAt, renewalMs);
    return this.#isReachable && isSettled ? 0 : limits.orphanedMs;
  }

  // ---- proofs and answers

  /** Whether the sender has shown that it receives at this address. TCP shows it. */
  hasProven(
    from: Source,
    transaction: Uint8Array,
    cookie: Uint8Array | undefined,
    now: Now,
  ): boolean {
    if (from.kind === 'ws') return true;
    return cookie !== undefined && this.#cookies.isGood(cookie, from, transaction, now.monotonic);
  }

  challenge(to: Source, transaction: Uint8Array, nowMs: MonotonicMs): void {
    const cookie = this.#cookies.make(to, transaction, nowMs);
    this.send(to, encodePlainRelay({ type: 'challenge', transaction, cookie }));
  }

  send(to: Source, bytes: Uint8Array): void {
    this.#out.push({ type: 'send', to, bytes });
  }

  seal(holder: Holder, message: SealedRelayMessage): void {
    this.send(holder.source, sealRelay(this.crypto, holder.ticket.macKey, message));
  }

  // ---- tickets that were taken back

  revoke(client: number, serial: number): void {
    const known = this.#revoked.get(client) ?? 0;
    this.#revoked.delete(client);
    this.#revoked.set(client, Math.max(known, serial));
    forgetOldest(this.#revoked, limits.maxRevoked);
  }

  isRevoked({ client, serial }: Ticket): boolean {
    return serial <= (this.#revoked.get(client) ?? -1);
  }

  // ---- allocations

  /** What is known of a client's requests before it holds an allocation. */
  requestsOf(client: number): Requests {
    return this.#mourned.get(client)?.requests ?? new Requests();
  }

  hasRoom({ endpoint }: Source): boolean {
    return this.#perPrefix.hasRoom(prefixesOf(endpoint.address));
  }

  /** There must be room. Returns the slot. */
  add(ticket: Ticket, source: Source, requests: Requests): number {
    this.#mourned.delete(ticket.client);
    const slot = this.allocations.add(this.crypto, ticket, source, requests);
    this.#hold(source);
    this.#out.push({ type: 'placed', slot, source });
    return slot;
  }

  /** False when too many hold allocations there. */
  move(slot: number, to: Source, nowMs: MonotonicMs): boolean {
    const { source } = this.allocations.holder(slot)!;
    this.#letGo(source);
    const hasRoom = this.hasRoom(to);
    this.#hold(hasRoom ? to : source);
    if (!hasRoom) return false;
    this.allocations.move(slot, to, nowMs);
    this.#out.push({ type: 'placed', slot, source: to });
    return true;
  }

  end(slot: number, nowMs: MonotonicMs): void {
    const { source, ticket, requests } = this.allocations.holder(slot)!;
    this.#letGo(source);
    this.allocations.remove(slot);
    this.#mourned.set(ticket.client, { requests, until: nowMs + 2 * limits.maxSkewMs });
    forgetOldest(this.#mourned, limits.maxMourned);
    this.#out.push({ type: 'gone', slot });
  }

  /** Forgets what need not be remembered any more. */
  prune(nowMs: MonotonicMs): void {
    for (const [client, { until }] of this.#mourned) {
      if (nowMs >= until) this.#mourned.delete(client);
    }
  }

  #hold({ endpoint }: Source): void {
    this.#perPrefix.add(prefixesOf(endpoint.address));
  }

  #letGo({ endpoint }: Source): void {
    this.#perPrefix.remove(prefixesOf(endpoint.address));
  }
}
