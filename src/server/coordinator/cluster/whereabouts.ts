/**
 * Clients of other nodes, as the directory shows them. What is said of a client carries the serial of its login, which the
 * database counts: the higher serial is the later truth, whatever order parcels come in; for one login things only go forward:
 *
 *   online ──lost──► unconfirmed ──goodbye, grace over──► offline
 *      ▲  └─its node is doubted─► suspect ─┘
 *      └──────it lives after all────┘
 */
import { hex } from '#core/bytes.ts';
import type { Now } from '#core/time.ts';
import type { Present } from '../directory.ts';
import type { Hub } from '../hub.ts';
import { remoteGraceMs } from '../limits.ts';
import type { Participating } from '../sync.ts';
import type { Sighting } from './node-store.ts';

export interface Arrival {
  readonly clientId: string;
  readonly node: string;
  readonly serial: number;
  readonly identity: string;
  readonly instance: string;
  readonly networks: readonly Participating[];
}

export class Whereabouts {
  readonly #hub: Hub;
  /** A connection of this node has ended: another node has the client now. */
  readonly #release: (client: Present) => void;

  constructor(hub: Hub, release: (client: Present) => void) {
    this.#hub = hub;
    this.#release = release;
  }

  /** A client has logged in at another node, or was found connected there. */
  arrived(arrival: Arrival, presence: 'online' | 'unconfirmed', now: Now): void {
    const { directory, delivery } = this.#hub;
    const { clientId, networks, ...whereabouts } = arrival;
    const known = directory.get(clientId);
    if (known !== undefined && known.serial >= arrival.serial) {
      if (known.serial === arrival.serial && presence === 'online') this.#cleared(known);
      return;
    }
    const before = known?.presence;
    if (known !== undefined) this.#release(known);
    this.#hub.cancel({ kind: 'grace', client: clientId });
    const unnamed = delivery.unnamed(known, networks);
    directory.set(clientId, presence, [...networks, ...unnamed], whereabouts);
    for (const { network, revision } of networks)
      delivery.entered(clientId, network, revision, false);
    for (const { network } of unnamed) delivery.onBehind(network, true);
    if (before !== presence) delivery.broadcastPresence(clientId);
    if (presence === 'unconfirmed') this.#grace(clientId, now);
  }

  /** The connection of this login has ended. */
  lost(
    { clientId, serial }: { readonly clientId: string; readonly serial: number },
    presence: 'unconfirmed' | 'offline',
    now: Now,
  ): void {
    const known = this.#hub.directory.get(clientId);
    if (known?.serial !== serial || this.#isHere(known)) return;
    if (presence === 'offline') {
      this.#hub.cancel({ kind: 'grace', client: clientId });
      this.#hub.delivery.goOffline(clientId);
      return;
    }
    const told = known.presence === 'unconfirmed';
    if (told && !known.suspect) return;
    known.presence = 'unconfirmed';
    known.suspect = false;
    this.#grace(clientId, now);
    if (!told) this.#hub.delivery.broadcastPresence(clientId);
  }

  /** A node is doubted: its clients may be cut off, or fine. Peers check their tunnels; nobody is called offline for it. */
  suspect(node: string): void {
    for (const present of this.#of(node)) {
      if (present.presence !== 'online') continue;
      present.presence = 'unconfirmed';
      present.suspect = true;
      this.#hub.delivery.broadcastPresence(present.clientId);
    }
  }

  /** A node is gone, and the grace period after it is over. Connections that it lost itself have their own time. */
  gone(node: string): void {
    for (const { clientId } of this.#of(node)) {
      this.#hub.cancel({ kind: 'grace', client: clientId });
      this.#hub.delivery.goOffline(clientId);
    }
  }

  /** The store's word on a client that is, or was, connected to another node; `isDoubted`: that node is. */
  sighted(
    sighting: Sighting,
    networks: readonly Participating[],
    isDoubted: boolean,
    now: Now,
  ): void {
    const { clientId, connected, serial, node } = sighting;
    const known = this.#hub.directory.get(clientId);
    if (known !== undefined && known.serial > serial) return;
    if (connected === 0) {
      if (known !== undefined && known.serial <= serial && !this.#isOurs(known, serial))
        this.lost({ clientId, serial: known.serial }, 'offline', now);
      return;
    }
    if (node === null || this.#isOurs(known, serial)) return;
    const { instance } = sighting;
    const arrival = {
      clientId,
      node,
      serial,
      instance,
      identity: hex(sighting.identity),
      networks,
    };
    if (known?.serial === serial && connected === 2) this.lost(arrival, 'unconfirmed', now);
    else if (isDoubted) {
      if (known?.serial === serial) return;
      this.arrived(arrival, 'online', now);
      this.suspect(node);
    } else this.arrived(arrival, connected === 1 ? 'online' : 'unconfirmed', now);
  }

  /** Clients of a node that are still thought to be there. */
  of(node: string): string[] {
    return this.#of(node).map(({ clientId }) => clientId);
  }

  /** It is connected after all. */
  #cleared(known: Present): void {
    if (!known.suspect) return;
    known.suspect = false;
    known.presence = 'online';
    this.#hub.delivery.broadcastPresence(known.clientId);
  }

  /** Our own word on our own connections is the better one. */
  #isOurs(known: Present | undefined, serial: number): boolean {
    return known !== undefined && known.serial >= serial && this.#isHere(known);
  }

  #isHere = (known: Present) => known.node === this.#hub.options.node;

  #grace(client: string, now: Now): void {
    const { graceMs } = this.#hub.options.config;
    this.#hub.schedule({ kind: 'grace', client }, now, graceMs + remoteGraceMs);
  }

  #of(node: string): Present[] {
    return [...this.#hub.directory.all()].filter((present) => present.node === node);
  }
}
