/**
 * What is sent to one relay: requests that are repeated until they are answered, each on one leg.
 *
 *     knock ────────► relay                 an allocate without ticket: costs the relay nothing
 *           ◄──────── challenge             a cookie, and how far the relay is
 *     allocate ─────► with cookie, ticket
 *           ◄──────── allocated             token, up
 *     refresh ──────► every 25 s; from another address answered by a challenge first (roam)
 *           ◄──────── refreshed
 */
import type { Crypto } from '#core/crypto.ts';
import type { MonotonicMs, Now } from '#core/time.ts';
import { relayTransactionBytes, type SealedRelayMessage, sealRelay } from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import type { Hold } from './allocation.ts';
import type { RelayCounter, RelaysOutput } from './io.ts';
import type { Job, Leg } from './leg.ts';
import { cookieFreshMs } from './limits.ts';

export interface LinkContext {
  readonly crypto: Crypto;
  emit(output: RelaysOutput): void;
  count(counter: RelayCounter): void;
  /** Server time in ms. */
  time(now: Now): number;
  refreshMs(): number;
  /** The longest rest of a way that failed. */
  restMostMs(): number;
}

export class Requests {
  readonly #context: LinkContext;
  readonly #link: { readonly entry: RelayEntry };
  readonly #hold: Hold;

  /** @param link the relay as it is listed now */
  constructor(context: LinkContext, link: { readonly entry: RelayEntry }, hold: Hold) {
    this.#context = context;
    this.#link = link;
    this.#hold = hold;
  }

  begin(leg: Leg, kind: Job['kind'], now: Now): void {
    const { fresh } = leg;
    const used = kind === 'allocate' && isFresh(leg, now.monotonic) ? fresh : undefined;
    leg.fresh = undefined;
    const transaction = used?.transaction ?? this.#context.crypto.random(relayTransactionBytes);
    const cookie = used === undefined ? {} : { cookie: used.cookie };
    const begun = { kind, transaction, ...cookie, cookies: 0, sentAt: now.monotonic, tries: 0 };
    this.repeat(leg, begun, now);
  }

  repeat(leg: Leg, job: Job, now: Now): void {
    leg.job = { ...job, sentAt: now.monotonic, tries: job.tries + 1 };
    const { transaction, kind, cookie } = job;
    const time = this.#context.time(now);
    const proof = cookie === undefined ? {} : { cookie };
    if (kind === 'refresh') {
      const token = this.#hold.allocation?.token;
      if (token === undefined) leg.job = undefined;
      else this.#send(leg, { type: 'refresh', token, transaction, time, ...proof });
      return;
    }
    const ticket = kind === 'knock' ? nothing : this.#link.entry.ticket;
    this.#send(leg, { type: 'allocate', transaction, time, ...proof, ticket });
  }

  /** Gives the allocation back; nobody waits for an answer. */
  release(leg: Leg, token: bigint, now: Now): void {
    const transaction = this.#context.crypto.random(relayTransactionBytes);
    this.#send(leg, { type: 'release', token, transaction, time: this.#context.time(now) });
  }

  #send(leg: Leg, message: SealedRelayMessage): void {
    const { crypto, emit, count } = this.#context;
    count('requests');
    const bytes = sealRelay(crypto, this.#link.entry.key, message);
    emit({ type: 'send', socket: leg.socket, remote: leg.remote, bytes });
  }
}

const nothing = new Uint8Array(0);

export const isFresh = ({ fresh }: Leg, now: MonotonicMs): boolean =>
  fresh !== undefined && now - fresh.at < cookieFreshMs;
