/**
 * Asks a relay whether it is where it says (protocol §11), by an allocation that is released at once. Sans-IO; for each address:
 *
 *   asking ──challenge──► proving ──allocated, MAC right──► reachable
 *     ▲ └──silence──┐        └──error──► unreachable
 *     └──── new try ┴──── third time ──► unreachable
 *
 * `asking` carries no ticket: an address that is no relay's gets 68 bytes a try, and no more until it has answered in the
 * relay's words with the transaction that was sent to it.
 */
import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import { type Endpoint, parseEndpoint, sameEndpoint } from '#wire/endpoint.ts';
import {
  decodeRelay,
  relayMacIsValid,
  relayTransactionBytes,
  type SealedRelayMessage,
  sealRelay,
} from '#wire/relay.ts';
import type { RelayCheckOrder } from '../coordinator/coordinator.ts';

export const checkTries = 3;
export const checkTryMs = 700;

export interface Datagram {
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
}

interface Target {
  readonly listed: string;
  readonly to: Endpoint;
  state: 'asking' | 'proving' | 'reachable' | 'unreachable';
  transaction: Uint8Array;
  tries: number;
  until: MonotonicMs;
}

const noTicket = new Uint8Array(0);

export class RelayCheck {
  readonly order: RelayCheckOrder;
  readonly #crypto: Crypto;
  readonly #targets: Target[] = [];
  readonly #outgoing: Datagram[] = [];

  constructor(crypto: Crypto, order: RelayCheckOrder, now: Now) {
    this.order = order;
    this.#crypto = crypto;
    for (const { listed, ask } of order.targets) {
      const to = parseEndpoint(ask);
      if (to === undefined) continue;
      const target: Target = {
        ...{ listed, to, state: 'asking', tries: 0 },
        ...{ transaction: noTicket, until: now.monotonic },
      };
      this.#targets.push(target);
      this.#try(target, now);
    }
  }

  /** True when the datagram was one of this check. */
  handle(bytes: Uint8Array, from: Endpoint, now: Now): boolean {
    const message = decodeRelay(bytes);
    if (message === undefined || !('transaction' in message)) return false;
    const target = this.#targets.find(
      ({ to, transaction }) =>
        sameEndpoint(to, from) && this.#crypto.equal(transaction, message.transaction),
    );
    if (target === undefined) return false;
    if (message.type === 'challenge' && target.state === 'asking') {
      target.state = 'proving';
      const { transaction } = target;
      const { ticket } = this.order;
      const time = now.wall;
      this.#send(target, { type: 'allocate', transaction, time, cookie: message.cookie, ticket });
    } else if (message.type === 'error' && target.state === 'proving') {
      target.state = 'unreachable';
    } else if (message.type === 'allocated' && target.state === 'proving') {
      if (!relayMacIsValid(this.#crypto, this.order.key, bytes)) return true;
      target.state = 'reachable';
      const transaction = this.#crypto.random(relayTransactionBytes);
      this.#send(target, { type: 'release', token: message.token, transaction, time: now.wall });
    }
    return true;
  }

  tick(now: Now): void {
    for (const target of this.#targets) {
      if (!isOpen(target) || target.until > now.monotonic) continue;
      if (target.tries < checkTries) this.#try(target, now);
      else target.state = 'unreachable';
    }
  }

  deadline(): MonotonicMs | undefined {
    let first: MonotonicMs | undefined;
    for (const target of this.#targets)
      if (isOpen(target) && (first === undefined || target.until < first)) first = target.until;
    return first;
  }

  /** The next datagram to send. */
  poll(): Datagram | undefined {
    return this.#outgoing.shift();
  }

  /** What did not answer, as listed; undefined until that is known of all. */
  unreachable(): string[] | undefined {
    if (this.#targets.some(isOpen)) return undefined;
    const reached = this.#targets.filter(({ state }) => state === 'reachable');
    const listed = reached.map((target) => target.listed);
    return this.order.targets.map((target) => target.listed).filter((l) => !listed.includes(l));
  }

  /** A new transaction each time: a relay takes the same one twice for a replay. */
  #try(target: Target, now: Now): void {
    target.tries++;
    target.state = 'asking';
    target.until = after(now.monotonic, checkTryMs);
    target.transaction = this.#crypto.random(relayTransactionBytes);
    const { transaction } = target;
    this.#send(target, { type: 'allocate', transaction, time: now.wall, ticket: noTicket });
  }

  #send({ to }: Target, message: SealedRelayMessage): void {
    this.#outgoing.push({ to, bytes: sealRelay(this.#crypto, this.order.key, message) });
  }
}

const isOpen = ({ state }: Target) => state === 'asking' || state === 'proving';
