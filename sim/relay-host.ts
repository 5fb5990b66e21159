/**
 * A relay in the simulated network: what the clients' side needs of one, in the wire format, over UDP and over a wire that stands for a
 * WebSocket. It believes tickets by their bytes.
 */
import type { Crypto } from '#core/crypto.ts';
import { clientNumber } from '#wire/client-number.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import {
  decodeRelay,
  deliveredPrefix,
  encodePlainRelay,
  isDeliveredBare,
  type RelayErrorCode,
  readData,
  relayMacIsValid,
  relayType,
  type SealedRelayMessage,
  sealRelay,
} from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import type { VirtualClock } from './clock.ts';
import type { Host } from './network.ts';

export const relayPort = 3480;
const lifetimeMs = 90_000;

/** Where a client is: an address, or its WebSocket. */
interface Place {
  readonly text: string;
  readonly remote: Endpoint;
  readonly isWebSocket: boolean;
  send(bytes: Uint8Array): void;
}

interface Allocation {
  readonly token: bigint;
  readonly client: number;
  readonly key: Uint8Array;
  place: Place;
  at: number;
}

export class RelayHost {
  readonly id: string;
  readonly host: Host;
  /** False: it takes nothing and says nothing. */
  up = true;
  forwarded = 0;
  /** Sees, and may replace or swallow, what it is about to send. */
  meddle: ((bytes: Uint8Array) => Uint8Array | undefined) | undefined;
  readonly #clock: VirtualClock;
  readonly #crypto: Crypto;
  readonly #secret: Uint8Array;
  readonly #clients = new Map<string, { readonly client: number; readonly key: Uint8Array }>();
  readonly #byToken = new Map<bigint, Allocation>();
  readonly #byClient = new Map<number, Allocation>();

  constructor(id: string, host: Host, clock: VirtualClock, crypto: Crypto) {
    this.id = id;
    this.host = host;
    this.#clock = clock;
    this.#crypto = crypto;
    this.#secret = crypto.random(32);
    host.bind(relayPort, (bytes, remote) => {
      const send = (answer: Uint8Array) => host.send(relayPort, remote, answer);
      const place = { text: formatEndpoint(remote), remote, isWebSocket: false, send };
      this.receive(bytes, place);
    });
  }

  get endpoint(): Endpoint {
    return { address: this.host.addresses[0]!, port: relayPort };
  }

  get allocations(): number {
    return this.#byClient.size;
  }

  /** What a server tells a client of it. */
  entryFor(clientId: string): RelayEntry {
    const [ticket, key] = [this.#crypto.random(300), this.#crypto.random(32)];
    this.#clients.set(textOf(ticket), { client: clientNumber(clientId)!, key });
    const udp = this.host.addresses.map((address) => formatEndpoint({ address, port: relayPort }));
    const ws = [`ws://${this.host.addresses[0]}:8443/v1/relay`];
    return { id: this.id, kind: 'server', udp, ws, ticket, key };
  }

  /** The process dies and another one starts: allocations are gone. */
  restart(): void {
    this.#byToken.clear();
    this.#byClient.clear();
    this.up = true;
  }

  drain(graceSeconds = 10): void {
    for (const { token, key, place } of this.#byClient.values()) {
      this.#send(place, sealRelay(this.#crypto, key, { type: 'draining', token, graceSeconds }));
    }
    this.#clock.in(graceSeconds * 1000, () => {
      this.up = false;
    });
  }

  receive(bytes: Uint8Array, place: Place): void {
    if (!this.up) return;
    for (const [token, { at, client }] of this.#byToken) {
      if (this.#clock.monotonic - at < lifetimeMs) continue;
      this.#byToken.delete(token);
      this.#byClient.delete(client);
    }
    if (relayType(bytes) === 'data') this.#forward(bytes, place);
    else this.#control(bytes, place);
  }

  #forward(bytes: Uint8Array, place: Place): void {
    const data = readData(bytes);
    const from = data && this.#byToken.get(data.token);
    const to = data && this.#byClient.get(data.destination);
    if (data === undefined || from?.place.text !== place.text || to === undefined) return;
    from.at = this.#clock.monotonic;
    this.forwarded += 1;
    const { payload } = data;
    this.#send(
      to.place,
      isDeliveredBare(payload) ? payload : joined(deliveredPrefix(from.client), payload),
    );
  }

  #control(bytes: Uint8Array, place: Place): void {
    const message = decodeRelay(bytes);
    if (message?.type === 'allocate') {
      const { transaction, cookie, ticket } = message;
      if (!this.#hasProof(transaction, cookie, place)) {
        this.#challenge(transaction, place);
        return;
      }
      const known = this.#clients.get(textOf(ticket));
      if (known === undefined) {
        this.#refuse(transaction, 'bad-ticket', place);
        return;
      }
      if (!relayMacIsValid(this.#crypto, known.key, bytes)) return;
      const allocation = this.#allocate(known, place);
      this.#answer(allocation, {
        ...{ type: 'allocated', transaction, token: allocation.token },
        ...{ lifetimeSeconds: lifetimeMs / 1000, observed: place.remote },
      });
    } else if (message?.type === 'refresh') {
      const { transaction, cookie, token } = message;
      const allocation = this.#byToken.get(token);
      if (allocation === undefined) {
        this.#refuse(transaction, 'unknown-token', place);
        return;
      }
      if (!relayMacIsValid(this.#crypto, allocation.key, bytes)) return;
      const isElsewhere = allocation.place.text !== place.text;
      if (isElsewhere && !this.#hasProof(transaction, cookie, place)) {
        this.#challenge(transaction, place);
        return;
      }
      allocation.place = place;
      allocation.at = this.#clock.monotonic;
      this.#answer(allocation, { type: 'refreshed', transaction, observed: place.remote });
    } else if (message?.type === 'release') {
      const allocation = this.#byToken.get(message.token);
      if (allocation === undefined || !relayMacIsValid(this.#crypto, allocation.key, bytes)) return;
      this.#byToken.delete(allocation.token);
      this.#byClient.delete(allocation.client);
    }
  }

  #allocate(
    { client, key }: { readonly client: number; readonly key: Uint8Array },
    place: Place,
  ): Allocation {
    const before = this.#byClient.get(client);
    if (before !== undefined) this.#byToken.delete(before.token);
    const token =
      before?.token ?? new DataView(this.#crypto.random(8).buffer).getBigUint64(0, true);
    const allocation = { token, client, key, place, at: this.#clock.monotonic };
    this.#byToken.set(token, allocation);
    this.#byClient.set(client, allocation);
    return allocation;
  }

  #hasProof(transaction: Uint8Array, cookie: Uint8Array | undefined, place: Place): boolean {
    if (place.isWebSocket) return true;
    const expected = this.#cookie(transaction, place);
    return cookie !== undefined && this.#crypto.equal(cookie, expected);
  }

  #cookie(transaction: Uint8Array, { text }: Place): Uint8Array {
    const source = new TextEncoder().encode(text);
    return this.#crypto.blake2sMac(this.#secret, 16, source, transaction);
  }

  #challenge(transaction: Uint8Array, place: Place): void {
    const cookie = this.#cookie(transaction, place);
    this.#send(place, encodePlainRelay({ type: 'challenge', transaction, cookie }));
  }

  #refuse(transaction: Uint8Array, code: RelayErrorCode, place: Place): void {
    this.#send(place, encodePlainRelay({ type: 'error', transaction, code }));
  }

  #answer({ key, place }: Allocation, message: SealedRelayMessage): void {
    this.#send(place, sealRelay(this.#crypto, key, message));
  }

  #send(place: Place, bytes: Uint8Array): void {
    const sent = this.meddle === undefined ? bytes : this.meddle(bytes);
    if (sent !== undefined) place.send(sent);
  }
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
