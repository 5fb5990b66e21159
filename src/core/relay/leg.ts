import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import type { RelayTransport } from './io.ts';
import * as limits from './limits.ts';

/** A request that waits for its answer; repeats have the same transaction. */
export interface Job {
  /** `knock`: an allocate without ticket, answered by a cookie, which costs the relay nothing and tells its distance. */
  readonly kind: 'knock' | 'allocate' | 'refresh';
  readonly transaction: Uint8Array;
  readonly cookie?: Uint8Array;
  readonly cookies: number;
  readonly sentAt: MonotonicMs;
  readonly tries: number;
}

/** A cookie that came, and the transaction that it is for. */
export interface FreshCookie {
  readonly transaction: Uint8Array;
  readonly cookie: Uint8Array;
  readonly at: MonotonicMs;
}

/** One way from here to a relay: a socket and an address, with the request under way and the rest after failures. */
export class Leg {
  readonly transport: RelayTransport;
  readonly socket: number;
  readonly remote: Endpoint;
  readonly key: string;
  job: Job | undefined;
  fresh: FreshCookie | undefined;
  rttMs: number | undefined;
  #restUntil: MonotonicMs | undefined;
  #failures = 0;

  constructor(transport: RelayTransport, socket: number, remote: Endpoint) {
    this.transport = transport;
    this.socket = socket;
    this.remote = remote;
    this.key = `${transport} ${socket} ${formatEndpoint(remote)}`;
  }

  /** When the request under way is repeated or given up. */
  dueAt(): MonotonicMs | undefined {
    return this.job === undefined ? undefined : after(this.job.sentAt, this.patienceMs);
  }

  get patienceMs(): number {
    return Math.max(3 * (this.rttMs ?? 0), limits.patienceMs);
  }

  /** When a request may begin; undefined while one is under way. */
  freeAt(now: MonotonicMs): MonotonicMs | undefined {
    if (this.job !== undefined) return undefined;
    return this.#restUntil === undefined || this.#restUntil < now ? now : this.#restUntil;
  }

  /** @param mostMs the longest rest */
  failed(now: MonotonicMs, mostMs: number): void {
    const restMs = Math.min(limits.restFirstMs * 2 ** this.#failures, mostMs);
    this.#failures = Math.min(this.#failures + 1, 16);
    this.rest(now, restMs);
  }

  rest(now: MonotonicMs, restMs: number): void {
    this.job = undefined;
    this.#restUntil = after(now, restMs);
  }

  /** Rests no longer than this from now on. */
  hasten(now: MonotonicMs, mostMs: number): void {
    const until = after(now, mostMs);
    if (this.#restUntil !== undefined && this.#restUntil > until) this.#restUntil = until;
  }

  /** The request under way was answered. */
  answered(now: MonotonicMs): void {
    const { job } = this;
    this.#failures = 0;
    this.#restUntil = undefined;
    this.job = undefined;
    // Only the answer to a request that was not repeated tells how long it took (Karn).
    if (job === undefined || job.tries > 1) return;
    const sampleMs = Math.max(0, now - job.sentAt);
    const before = this.rttMs ?? sampleMs;
    const weight = sampleMs < before ? 1 / 2 : 1 / 8;
    this.rttMs = before + weight * (sampleMs - before);
  }

  /** Forgets failures: the network is another one. */
  renew(): void {
    this.#failures = 0;
    this.#restUntil = undefined;
    this.fresh = undefined;
  }
}
