import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import {
  decodeStun,
  encodeBindingRequest,
  stunBinding,
  stunTransactionIdBytes,
} from '#wire/stun.ts';

/** RFC 8489 §6.2.1: the first retransmission, doubled each time. */
export const firstRtoMs = 500;
/** With a known round trip the timer may be shorter, but not below this. */
const leastRtoMs = 100;
/** Requests of one transaction; RFC 8489 allows 7, but another server is asked sooner. */
const maxRequests = 5;
export const maxTransactions = 16;

export interface Ask {
  readonly socket: number;
  readonly server: Endpoint;
  /** RFC 5780 §4.4: let the answer come from the other port. */
  readonly changePort: boolean;
  /** Ports of the server's address that such an answer may come from. */
  readonly otherPorts: readonly number[];
}

export type StunResult =
  | {
      readonly type: 'answered';
      readonly mapped: Endpoint;
      readonly otherAddress: Endpoint | undefined;
      readonly rttMs: number;
    }
  /** The server refuses, or answers a change request as if it were none. */
  | { readonly type: 'refused' }
  | { readonly type: 'silent' };

interface Pending<Tag> {
  readonly tag: Tag;
  readonly ask: Ask;
  readonly id: Uint8Array;
  readonly bytes: Uint8Array;
  readonly startedAt: MonotonicMs;
  sentAt: MonotonicMs;
  requests: number;
  rtoMs: number;
  dueAt: MonotonicMs;
}

type Send = (socket: number, remote: Endpoint, bytes: Uint8Array) => void;

/**
 * Binding transactions with retransmission. An answer is believed only with the identifier of a request in flight, on the
 * socket that it left by, from the endpoint that was asked, or from another port of it when that was asked for.
 */
export class StunClient<Tag> {
  readonly #crypto: Crypto;
  readonly #send: Send;
  readonly #pending = new Map<string, Pending<Tag>>();

  constructor(crypto: Crypto, send: Send) {
    this.#crypto = crypto;
    this.#send = send;
  }

  /** @param rttMs of this server, when it is known. */
  ask(tag: Tag, ask: Ask, now: MonotonicMs, rttMs?: number): void {
    if (this.#pending.size >= maxTransactions) return;
    const id = this.#crypto.random(stunTransactionIdBytes);
    const bytes = encodeBindingRequest({ transactionId: id, changePort: ask.changePort });
    const rtoMs = rttMs === undefined ? firstRtoMs : Math.max(leastRtoMs, 3 * rttMs);
    const dueAt = after(now, rtoMs);
    const pending = { tag, ask, id, bytes, startedAt: now, sentAt: now, requests: 1, rtoMs, dueAt };
    this.#pending.set(key(id), pending);
    this.#send(ask.socket, ask.server, bytes);
  }

  /** Gives up what is in flight for these tags. */
  cancel(matches: (tag: Tag) => boolean): void {
    for (const [id, { tag }] of this.#pending) if (matches(tag)) this.#pending.delete(id);
  }

  get size(): number {
    return this.#pending.size;
  }

  /** The result that a datagram brings, or undefined when it answers nothing that was asked. */
  receive(
    bytes: Uint8Array,
    socket: number,
    remote: Endpoint,
    now: MonotonicMs,
  ): { tag: Tag; result: StunResult } | undefined {
    const message = decodeStun(bytes);
    if (message === undefined || message.method !== stunBinding) return undefined;
    const pending = this.#pending.get(key(message.transactionId));
    if (pending === undefined || pending.ask.socket !== socket) return undefined;
    const { tag, ask } = pending;
    const isAsked = sameEndpoint(remote, ask.server);
    const isOther = remote.address === ask.server.address && ask.otherPorts.includes(remote.port);
    if (!isAsked && !(ask.changePort && isOther)) return undefined;
    if (message.class !== 'success' && message.class !== 'error') return undefined;
    const mapped = message.xorMappedAddress ?? message.mappedAddress;
    const refused =
      message.class === 'error' || mapped === undefined || (ask.changePort && isAsked);
    this.#pending.delete(key(pending.id));
    if (refused) return { tag, result: { type: 'refused' } };
    const { otherAddress } = message;
    // Karn: a retransmitted request does not tell the round trip, but an upper bound of it.
    const rttMs = now - (pending.requests === 1 ? pending.sentAt : pending.startedAt);
    return { tag, result: { type: 'answered', mapped, otherAddress, rttMs } };
  }

  /** Retransmits what is due; returns the tags of those that stayed without an answer. */
  wake(now: MonotonicMs): Tag[] {
    const silent: Tag[] = [];
    for (const [id, pending] of this.#pending) {
      if (pending.dueAt > now) continue;
      if (pending.requests >= maxRequests) {
        this.#pending.delete(id);
        silent.push(pending.tag);
        continue;
      }
      pending.requests += 1;
      pending.rtoMs *= 2;
      pending.sentAt = now;
      pending.dueAt = after(now, pending.rtoMs);
      this.#send(pending.ask.socket, pending.ask.server, pending.bytes);
    }
    return silent;
  }

  deadline(): MonotonicMs | undefined {
    let earliest: MonotonicMs | undefined;
    for (const { dueAt } of this.#pending.values()) {
      if (earliest === undefined || dueAt < earliest) earliest = dueAt;
    }
    return earliest;
  }
}

const key = (id: Uint8Array) => String.fromCharCode(...id);
