/** What one relay answers, what it leaves unanswered, and what becomes of the allocation by that. */
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import {
  type Allocated,
  type Challenge,
  type Draining,
  decodeRelay,
  movedToken,
  type RelayErrorCode,
  relayMacIsValid,
} from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { sameBytes } from '../bytes.ts';
import type { Allocation, Hold } from './allocation.ts';
import type { RelayWay } from './io.ts';
import type { Job, Leg } from './leg.ts';
import type { Legs } from './legs.ts';
import * as limits from './limits.ts';
import type { LinkContext, Requests } from './requests.ts';

export interface TalkParts {
  readonly context: LinkContext;
  /** The relay as it is listed now, and the way to it that is in use. */
  readonly link: {
    readonly id: string;
    readonly entry: RelayEntry;
    readonly way: RelayWay | undefined;
  };
  readonly hold: Hold;
  readonly legs: Legs;
  readonly requests: Requests;
}

export class Talk {
  readonly #context: LinkContext;
  readonly #link: TalkParts['link'];
  readonly #hold: Hold;
  readonly #legs: Legs;
  readonly #requests: Requests;
  /** When the relay's word that our data comes from elsewhere was followed. */
  #movedAt: MonotonicMs | undefined;

  constructor({ context, link, hold, legs, requests }: TalkParts) {
    this.#context = context;
    this.#link = link;
    this.#hold = hold;
    this.#legs = legs;
    this.#requests = requests;
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
    if (!isPlain && !relayMacIsValid(crypto, this.#link.entry.key, bytes)) {
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
    const { allocation } = this.#hold;
    if (allocation === undefined || movedToken(transaction) !== allocation.token) return false;
    const isSoon = this.#movedAt !== undefined && now.monotonic - this.#movedAt < limits.movedMs;
    // A refresh under way finds out by itself.
    if (leg !== allocation.leg || leg.job !== undefined || isSoon) return true;
    this.#movedAt = now.monotonic;
    this.#context.count('moves');
    const job = { kind: 'refresh', transaction, cookie, cookies: 1, tries: 0 } as const;
    this.#requests.repeat(leg, { ...job, sentAt: now.monotonic }, now);
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
      this.#requests.repeat(leg, { ...job, cookie, cookies: cookies + 1, tries: 0 }, now);
      return;
    }
    leg.fresh = { transaction, cookie, at: now.monotonic };
    // A new ticket for the allocation that there is.
    if (leg === this.#hold.allocation?.leg) this.#requests.begin(leg, 'allocate', now);
  }

  #allocated(message: Allocated, leg: Leg, job: Job, now: MonotonicMs): void {
    if (job.kind !== 'allocate') {
      this.#context.count('unmatched');
      return;
    }
    leg.answered(now);
    if (!this.#hold.isHeld) return;
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
    const allocation = this.#hold.allocation;
    if (allocation === undefined) return;
    this.#context.count(leg === allocation.leg ? 'refreshes' : 'roams');
    this.#use({ ...allocation, leg, confirmedAt: now });
  }

  #use(allocation: Allocation): void {
    const before = this.#hold.allocation;
    this.#hold.take(allocation);
    if (before?.leg === allocation.leg && before.token === allocation.token) return;
    // Whoever is late must not take the allocation away from the way that is used now.
    for (const leg of this.#legs) if (leg !== allocation.leg) leg.job = undefined;
    this.#context.emit({ type: 'up', way: this.#link.way! });
  }

  #refusedBy(code: RelayErrorCode, leg: Leg, job: Job, now: MonotonicMs): void {
    this.#context.count('refused');
    leg.answered(now);
    const isOurs = job.kind === 'refresh' && leg === this.#hold.allocation?.leg;
    if (code === 'unknown-token') {
      if (isOurs) this.lose(now);
      else leg.failed(now, this.#context.restMostMs());
      return;
    }
    leg.rest(now, limits.refusedMs);
    this.#hold.refuse(after(now, limits.refusedMs), code);
    if (isOurs) this.lose(now);
  }

  #draining({ token, graceSeconds }: Draining, now: MonotonicMs): void {
    const allocation = this.#hold.allocation;
    if (allocation?.token !== token) {
      this.#context.count('unmatched');
      return;
    }
    const graceMs = Math.min(graceSeconds * 1000, limits.refusedMs);
    this.#hold.refuse(after(now, Math.max(graceMs, limits.drainedMs)));
    this.#hold.drain(after(now, graceMs));
    this.#context.emit({ type: 'up', way: this.#link.way! });
  }

  lose(now: MonotonicMs): void {
    if (this.#hold.allocation === undefined) return;
    this.#hold.seek(now);
    for (const leg of this.#legs) {
      leg.job = undefined;
      leg.rttMs = undefined;
      leg.renew();
    }
    this.#context.count('losses');
    this.#context.emit({ type: 'down', relay: this.#link.id });
  }

  overdue(leg: Leg, now: Now): void {
    const job = leg.job!;
    const isOurs = job.kind === 'refresh' && leg === this.#hold.allocation?.leg;
    if (isOurs && job.tries === limits.doubtAfter) this.#hold.doubt(now.monotonic);
    if (isOurs && job.tries >= limits.lostAfter) this.lose(now.monotonic);
    else if (job.tries >= limits.maxTries) leg.failed(now.monotonic, this.#context.restMostMs());
    else this.#requests.repeat(leg, job, now);
  }
}
