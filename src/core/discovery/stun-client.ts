import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import { decodeStun, stunBinding, stunTransactionIdBytes } from '#wire/stun.ts';
import { encodeBindingRequest } from '#wire/stun-encode.ts';

/** RFC 8489 §6.2.1: the first retransmission, doubled each time. */
export const firstRtoMs = 500;
/** With a known round trip the timer may be shorter, but not below this. */
const leastRtoMs = 100;
/** Requests of one transaction; RFC 8489 allows 7, but another server is asked sooner. */
const maxRequests = 5;
export const maxTransactions = 32;

export interface Ask {
  readonly socket: number;
  readonly server: Endpoint;
  /** RFC 5780 §4.4: let the answer come from the other port, or the other address and port. */
  readonly change?: 'port' | 'address';
  /** Where such an answer may come from. */
  readonly answerFrom?: readonly Endpoint[];
  /** RFC 5780 §4.6: let the answer go to this port, which leads to another socket of ours. */
  readonly answerTo?: { readonly port: number; readonly socket: number };
  /** Ask for a token too (protocol §8). */
  readonly wantsToken?: boolean;
  /** Most requests that are sent when nothing comes back. */
  readonly requests?: number;
  /** Silence is an answer too: requests follow each other without longer and longer pauses. */
  readonly isSteady?: boolean;
}

export type StunResult =
  | {
      readonly type: 'answered';
      readonly mapped: Endpoint;
      readonly otherAddress: Endpoint | undefined;
      readonly token: Uint8Array | undefined;
      readonly rttMs: number;
    }
  /** The server refuses, or answers as if nothing had been asked of its answer. */
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
 * socket that it left by, (or was to arrive at), from the endpoint that was asked, or from another one of the server when that was asked for.
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
    const bytes = encodeBindingRequest({
      transactionId: id,
      changePort: ask.change !== undefined,
      changeIp: ask.change === 'address',
      ...(ask.answerTo === undefined ? {} : { responsePort: ask.answerTo.port }),
      wantsToken: ask.wantsToken === true,
    });
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

  /** Whether anything is in flight for these tags. */
  isAsking(matches: (tag: Tag) => boolean): boolean {
    return [...this.#pending.values()].some(({ tag }) => matches(tag));
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
    if (pending === undefined) return undefined;
    const { tag, ask } = pending;
    const isRedirected = ask.answerTo !== undefined && socket === ask.answerTo.socket;
    if (socket !== ask.socket && !isRedirected) return undefined;
    const isAsked = sameEndpoint(remote, ask.server);
    const isOther = ask.answerFrom?.some((other) => sameEndpoint(remote, other)) === true;
    if (!isAsked && !(ask.change !== undefined && isOther)) return undefined;
    if (message.class !== 'success' && message.class !== 'error') return undefined;
    const mapped = message.xorMappedAddress ?? message.mappedAddress;
    const isIgnored =
      (ask.change !== undefined && isAsked) || (ask.answerTo !== undefined && !isRedirected);
    const refused = message.class === 'error' || mapped === undefined || isIgnored;
    this.#pending.delete(key(pending.id));
    if (refused) return { tag, result: { type: 'refused' } };
    const { otherAddress, token } = message;
    // Karn: a retransmitted request does not tell the round trip, but an upper bound of it.
    const rttMs = now - (pending.requests === 1 ? pending.sentAt : pending.startedAt);
    return { tag, result: { type: 'answered', mapped, otherAddress, token, rttMs } };
  }

  /** Retransmits what is due; returns the tags of those that stayed without an answer. */
  wake(now: MonotonicMs): Tag[] {
    const silent: Tag[] = [];
    for (const [id, pending] of this.#pending) {
      if (pending.dueAt > now) continue;
      if (pending.requests >= (pending.ask.requests ?? maxRequests)) {
        this.#pending.delete(id);
        silent.push(pending.tag);
        continue;
      }
      pending.requests += 1;
      if (pending.ask.isSteady !== true) pending.rtoMs *= 2;
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
