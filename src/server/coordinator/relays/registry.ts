/**
 * The relays that the server knows now, in memory:
 *
 *   unknown ──login, offer──► checking ──answers──► listed ◄──────┐
 *      ▲                         └──silence──► unreachable ──answers
 *      └──goodbye; connection lost and the grace period over; withdrawn
 *
 * A server's own relay and standalone ones are the operator's, and listed whatever the checks say.
 */
import type { Crypto } from '#core/crypto.ts';
import type { RelayKind, RelayOffer, RelayRevocation } from '#wire/relay-control.ts';
import { hex } from '../hub.ts';
import type { SessionId } from '../sessions.ts';

export interface Relay {
  readonly id: string;
  readonly kind: RelayKind;
  readonly relayKey: Uint8Array;
  /** The member whose relay this is. */
  readonly owner: string | undefined;
  readonly software: string;
  /** The node that it, or its member, is connected to; undefined: this one. */
  readonly remote: string | undefined;
  udp: readonly string[];
  ws: readonly string[];
  capacity: RelayOffer['capacity'];
  /** Where its control connection comes from. */
  source: string | undefined;
  /** The connection that it is heard over: its own, or the member's. */
  session: SessionId | undefined;
  presence: 'online' | 'unconfirmed';
  state: 'checking' | 'listed' | 'unreachable';
  /** Of `udp`: those that did not answer when last asked. */
  unreachable: readonly string[];
  failures: number;
  /** Counts offers: an answer to a check of an earlier one says nothing. */
  generation: number;
  /** Of a relay in this process. */
  readonly revoke: ((revoked: readonly RelayRevocation[]) => void) | undefined;
}

/** `r-` and the first 16 digits of SHA-256 of its key. */
export const relayIdOf = (crypto: Crypto, relayKey: Uint8Array): string =>
  `r-${hex(crypto.sha256(relayKey)).slice(0, 16)}`;

export const isListed = (relay: Relay): boolean =>
  relay.kind !== 'volunteer' || (relay.state === 'listed' && relay.udp.length > 0);

/** The addresses that clients are told: of a volunteer only those that answered. */
export const listedUdp = (relay: Relay): readonly string[] =>
  relay.kind === 'volunteer'
    ? relay.udp.filter((endpoint) => !relay.unreachable.includes(endpoint))
    : relay.udp;

export class Registry {
  readonly #byId = new Map<string, Relay>();
  readonly #byOwner = new Map<string, Relay>();

  get size(): number {
    return this.#byId.size;
  }

  get volunteers(): number {
    return this.#byOwner.size;
  }

  add(relay: Relay): void {
    this.#byId.set(relay.id, relay);
    if (relay.owner !== undefined) this.#byOwner.set(relay.owner, relay);
  }

  remove(relay: Relay): void {
    if (this.#byId.get(relay.id) === relay) this.#byId.delete(relay.id);
    if (relay.owner !== undefined && this.#byOwner.get(relay.owner) === relay)
      this.#byOwner.delete(relay.owner);
  }

  get = (id: string) => this.#byId.get(id);
  ofOwner = (clientId: string) => this.#byOwner.get(clientId);
  all = () => this.#byId.values();
}
