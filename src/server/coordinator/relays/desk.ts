/**
 * Relays as the server deals with them (protocol §11): standalone ones that log in, members that volunteer, the one in this
 * process; whether they are there, whether they answer where they say, and which tickets they must not honour.
 *
 *   standalone   unknown ──relay-login──► online ──lost──► unconfirmed ──grace over──► gone
 *                                           └──logout──► gone
 *
 * A volunteer is there as long as its member is (directory). Both have a reachability beside that: registry.ts.
 */
import type { Now } from '#core/time.ts';
import type { ClientMessage } from '#wire/control.ts';
import type { RelayOffer, RelayRevocation } from '#wire/relay-control.ts';
import type { FabricItemOf } from '../../fabric/messages.ts';
import type { Peer } from '../cluster/peers.ts';
import { closeGoingAway, closeNormal, closeReplaced, type Hub, hex } from '../hub.ts';
import { pingIntervalMs, pingTimeoutMs, relayRecheckMs } from '../limits.ts';
import type { Remote } from '../login.ts';
import { Refusal } from '../refusal.ts';
import type { Session, SessionId } from '../sessions.ts';
import { Board, factsOf } from './board.ts';
import type { RelayLists } from './lists.ts';
import { Neighbours } from './neighbours.ts';
import { resolveOffer } from './offer.ts';
import { type Registry, type Relay, relayIdOf } from './registry.ts';
import {
  decodeListing,
  enrolRelay,
  pruneRevocations,
  type RelayFacts,
  relayRows,
  revocationsFor,
} from './relay-store.ts';
import { Revocations } from './revocations.ts';
import { Volunteers } from './volunteers.ts';

export type RelayLoginMessage = Extract<ClientMessage, { t: 'relay-login' }>;
type RelayMessage = Exclude<ClientMessage, { t: 'login' | 'relay-login' }>;

/** The control connection of a standalone relay. */
interface RelaySession {
  readonly id: SessionId;
  readonly instance: string;
  relay: Relay;
  ping: number | undefined;
}

/** A relay in this process. */
export interface LocalRelay {
  readonly id: string;
  readonly offer: RelayOffer;
  readonly software: string;
  readonly revoke: (revoked: readonly RelayRevocation[]) => void;
}

export class RelayDesk {
  readonly lists: RelayLists;
  readonly registry: Registry;
  readonly #hub: Hub;
  readonly #board: Board;
  readonly #revocations: Revocations;
  readonly #volunteers: Volunteers;
  readonly #neighbours: Neighbours;
  readonly #sessions = new Map<SessionId, RelaySession>();
  /** Sessions whose login is at the database; true: lost meanwhile. */
  readonly #underWay = new Map<SessionId, boolean>();

  constructor(hub: Hub) {
    this.#hub = hub;
    this.#board = new Board(hub);
    this.lists = this.#board.lists;
    this.registry = this.#board.registry;
    this.#revocations = new Revocations(this.#board);
    this.#volunteers = new Volunteers(this.#board, this.#revocations);
    this.#neighbours = new Neighbours(this.#board, (relay) => this.#release(relay));
  }

  /** Relays that were there when the server ended have the grace period to come back. */
  async start(now: Now): Promise<void> {
    const { store, config } = this.#hub.options;
    const serial = await store.commits.run((tx) => pruneRevocations(tx, now.wall));
    this.#hub.ticketSerials.atLeast(serial);
    for (const row of await relayRows(store.db)) {
      const isOurs = row.node === null || row.node === this.#hub.options.node;
      const isThere = isOurs && row.connected === 1;
      const listing = isThere ? decodeListing(row.listing) : undefined;
      if (listing === undefined) continue;
      const { relay_id: id, kind, relay_key: relayKey, software } = row;
      this.registry.add({
        ...{ id, kind, relayKey, software, owner: row.owner ?? undefined, source: undefined },
        ...{ udp: listing.udp, ws: listing.ws, capacity: listing.capacity },
        ...{ session: undefined, presence: 'unconfirmed', state: 'listed', unreachable: [] },
        ...{ failures: 0, generation: 0, revoke: undefined, remote: undefined },
      });
      if (row.owner !== null) {
        this.#volunteers.resumed(row.owner);
        // Its member may come back without it.
        this.#hub.schedule({ kind: 'relay-check', relay: id }, now, relayRecheckMs);
      } else this.#hub.schedule({ kind: 'relay-grace', relay: id }, now, config.graceMs);
    }
    this.settle(now);
  }

  /** The relay of this process. Returns what takes it back. */
  register(local: LocalRelay, now: Now): () => void {
    const { offer, id, software, revoke } = local;
    const relay: Relay = {
      ...{ id, kind: 'server', relayKey: offer.relayKey, owner: undefined, software, revoke },
      ...{ udp: offer.udp, ws: offer.ws, capacity: offer.capacity, source: undefined },
      ...{ session: undefined, presence: 'online', state: 'listed', unreachable: [] },
      ...{ failures: 0, generation: 0, remote: undefined },
    };
    this.#assertKey(offer.relayKey);
    this.registry.add(relay);
    this.lists.touchAround(relay);
    this.settle(now);
    const { commits } = this.#hub.options.store;
    const context = this.#hub.context(now);
    commits
      .run((tx) => revocationsFor(tx, context, id))
      .then(
        (revoked) => revoked.length > 0 && revoke(revoked),
        (error) => this.#hub.options.failed?.(error),
      );
    return () => {
      this.registry.remove(relay);
      this.lists.touchAround(relay);
    };
  }

  /** The first message of a standalone relay. Resolves when it has been dealt with. */
  async login(id: SessionId, remote: Remote, message: RelayLoginMessage, now: Now): Promise<void> {
    const { crypto, store } = this.#hub.options;
    this.#underWay.set(id, false);
    try {
      const { offer } = message;
      if (!crypto.equal(offer.relayKey, remote.controlKey))
        throw new Refusal('relay-invalid', { detail: 'it is for another key than the connection' });
      this.#assertKey(offer.relayKey);
      const relayId = relayIdOf(crypto, offer.relayKey);
      const before = this.registry.get(relayId);
      const other = before?.session === undefined ? undefined : this.#sessions.get(before.session);
      const copied = other !== undefined && other.instance !== hex(message.instance);
      if (copied || before?.kind === 'volunteer') throw new Refusal('relay-in-use');
      const resolved = resolveOffer(offer, remote.address, false);
      const facts = factsOf(relayId, offer, resolved, message.software);
      const context = this.#hub.context(now);
      await store.commits.run(
        async (tx) => {
          await enrolRelay(tx, context, facts, message.token, remote.prefix);
          return await revocationsFor(tx, context, relayId);
        },
        (revoked) => {
          if (this.#underWay.get(id) === false) this.#enter(id, remote, message, facts, now);
          this.#revocations.send(id, revoked);
        },
      );
    } catch (error) {
      this.#hub.refuse(id, error);
    } finally {
      this.#underWay.delete(id);
    }
    this.settle(now);
  }

  /** True when the session is a relay's: then the message is dealt with. */
  async message(id: SessionId, message: RelayMessage, now: Now): Promise<boolean> {
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    const { relay } = session;
    if (message.t === 'pong' && message.id === session.ping) {
      session.ping = undefined;
      this.#hub.schedule({ kind: 'relay-ping', session: id }, now, pingIntervalMs);
    } else if (message.t === 'logout') {
      this.#hub.close(id, closeNormal);
      await this.lost(id, true, now);
    } else if (message.t === 'relay-offer') {
      if (message.offer === undefined) await this.#board.gone(relay, now);
      else await this.#reoffer(session, message.offer, now);
    }
    this.settle(now);
    return true;
  }

  /** The connection has ended. True when it was a relay's. */
  async lost(id: SessionId, clean: boolean, now: Now): Promise<boolean> {
    if (this.#underWay.has(id)) this.#underWay.set(id, true);
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    this.#sessions.delete(id);
    this.#hub.cancel({ kind: 'relay-ping', session: id });
    const { relay } = session;
    if (relay.session !== id) return true;
    relay.session = undefined;
    relay.presence = 'unconfirmed';
    if (clean) await this.#board.gone(relay, now);
    else {
      const { graceMs } = this.#hub.options.config;
      this.#hub.schedule({ kind: 'relay-grace', relay: relay.id }, now, graceMs);
    }
    return true;
  }

  async pingDue(id: SessionId, now: Now): Promise<void> {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    if (session.ping !== undefined) {
      this.#hub.close(id, closeGoingAway);
      await this.lost(id, false, now);
      return;
    }
    session.ping = this.#hub.newPingId();
    this.#hub.send(id, { t: 'ping', id: session.ping, serverTime: now.wall });
    this.#hub.schedule({ kind: 'relay-ping', session: id }, now, pingTimeoutMs);
  }

  async graceOver(relayId: string, now: Now): Promise<void> {
    const relay = this.registry.get(relayId);
    if (relay?.presence === 'unconfirmed') await this.#board.gone(relay, now);
  }

  checkDue(relayId: string, now: Now): void {
    const relay = this.registry.get(relayId);
    if (relay !== undefined) this.#board.checks.ask(relay, now);
  }

  checked(relayId: string, generation: number, unreachable: readonly string[], now: Now): void {
    this.#board.checks.answered(relayId, generation, unreachable, now);
    this.settle(now);
  }

  /** A member volunteers, or does not any more. */
  async volunteer(session: Session, offer: RelayOffer | undefined, now: Now): Promise<void> {
    await this.#volunteers.offer(session, offer, now);
    this.settle(now);
  }

  /** A client is out of a network. */
  left(clientId: string, network: string): void {
    this.#volunteers.left(clientId, network);
  }

  /** Everywhere: the client has been removed. The revocation is in the database. */
  revoked(revocation: RelayRevocation): void {
    this.#revocations.everywhere(revocation);
  }

  /** The operator removed the relay. */
  expel(relayId: string): void {
    const relay = this.registry.get(relayId);
    if (relay === undefined) return;
    if (relay.kind === 'standalone' && relay.session !== undefined) {
      this.#hub.refuse(relay.session, new Refusal('relay-removed'));
      this.#sessions.delete(relay.session);
    }
    this.#board.drop(relay);
  }

  /** Relays of other nodes, as the database has them. */
  async compare(peers: readonly Peer[], now: Now): Promise<void> {
    const rows = await relayRows(this.#hub.options.store.db);
    this.#neighbours.compare(
      rows.filter(({ connected }) => connected === 1),
      peers,
    );
    this.settle(now);
  }

  nodeGone(node: string, now: Now): void {
    this.#neighbours.gone(node);
    this.settle(now);
  }

  /** Another node has heard of tickets that are void. */
  heardRevocation({ relay, clientId, serial }: FabricItemOf<'revoke'>, now: Now): void {
    this.#hub.ticketSerials.atLeast(serial);
    this.#revocations.heard(relay, { clientId, serial });
    this.settle(now);
  }

  /** The relay has a connection to another node. */
  #release(relay: Relay): void {
    if (relay.kind !== 'standalone' || relay.session === undefined) return;
    this.#sessions.delete(relay.session);
    this.#hub.cancel({ kind: 'relay-ping', session: relay.session });
    this.#hub.close(relay.session, closeReplaced);
  }

  settle(now: Now): void {
    this.#volunteers.settle(now);
    this.lists.settle(now);
  }

  #enter(
    id: SessionId,
    remote: Remote,
    message: RelayLoginMessage,
    facts: RelayFacts,
    now: Now,
  ): void {
    const relay = this.#board.take(facts, 'standalone', undefined, remote.address);
    if (relay.session !== undefined) {
      this.#sessions.delete(relay.session);
      this.#hub.close(relay.session, closeReplaced);
    }
    relay.session = id;
    relay.presence = 'online';
    relay.state = 'listed';
    this.#hub.cancel({ kind: 'relay-grace', relay: relay.id });
    const session = { id, instance: hex(message.instance), relay, ping: undefined };
    this.#sessions.set(id, session);
    this.#board.checks.begin(relay, [], now);
    void this.pingDue(id, now);
  }

  async #reoffer(session: RelaySession, offer: RelayOffer, now: Now): Promise<void> {
    const { relay, id } = session;
    const { crypto, store } = this.#hub.options;
    const limited = this.#board.offers.tryTake(relay.id, now.monotonic) > 0;
    if (limited || !crypto.equal(offer.relayKey, relay.relayKey)) {
      this.#hub.refuse(id, new Refusal(limited ? 'rate-limited' : 'relay-invalid'));
      await this.lost(id, false, now);
      return;
    }
    const resolved = resolveOffer(offer, relay.source, false);
    const facts = factsOf(relay.id, offer, resolved, relay.software);
    const context = this.#hub.context(now);
    try {
      await store.commits.run(
        (tx) => enrolRelay(tx, context, facts, undefined, ''),
        () => {
          if (this.#sessions.get(id) !== session) return;
          // Another object when the offer before was taken back.
          const kept = this.#board.take(facts, 'standalone', undefined, relay.source);
          Object.assign(kept, { session: id, state: 'listed' });
          session.relay = kept;
          this.#board.checks.begin(kept, [], now);
        },
      );
    } catch (error) {
      this.#hub.options.failed?.(error);
    }
  }

  #assertKey(relayKey: Uint8Array): void {
    if (!this.#board.isKey(relayKey))
      throw new Refusal('relay-invalid', { detail: 'its key is none' });
  }
}
