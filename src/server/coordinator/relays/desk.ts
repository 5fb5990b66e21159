/**
 * Relays as the server deals with them (protocol §11): standalone ones that log in, members that volunteer, the one in this
 * process; whether they are there, whether they answer where they say, and which tickets they must not honour.
 *
 *   standalone   unknown ──relay-login──► online ──lost──► unconfirmed ──grace over──► gone
 *                                           └──logout──► gone
 *
 * A volunteer is there as long as its member is (directory). Both have a reachability beside that: registry.ts.
 */
import { sealTicketKey, ticketKeyBytes } from '#core/relay/ticket-key.ts';
import type { Now } from '#core/time.ts';
import type { ClientMessage } from '#wire/control.ts';
import {
  maxRevocationsPerMessage,
  type RelayOffer,
  type RelayRevocation,
} from '#wire/relay-control.ts';
import { closeGoingAway, closeNormal, closeReplaced, type Hub, hex } from '../hub.ts';
import { Limiter } from '../limiter.ts';
import { maxVolunteers, pingIntervalMs, pingTimeoutMs, relayOffers } from '../limits.ts';
import type { Remote } from '../login.ts';
import { Refusal } from '../refusal.ts';
import type { Session, SessionId } from '../sessions.ts';
import { Checks } from './checks.ts';
import { RelayLists } from './lists.ts';
import { type ResolvedOffer, resolveOffer } from './offer.ts';
import { Registry, type Relay, relayIdOf } from './registry.ts';
import {
  decodeListing,
  enrolRelay,
  pruneRevocations,
  type RelayFacts,
  recordRevocation,
  relayGone,
  relayRows,
  revocationsFor,
  saveVolunteer,
} from './relay-store.ts';

export type RelayLoginMessage = Extract<ClientMessage, { t: 'relay-login' }>;
type RelayMessage = Exclude<ClientMessage, { t: 'login' | 'relay-login' }>;

/** The control connection of a standalone relay. */
interface RelaySession {
  readonly id: SessionId;
  readonly instance: string;
  readonly relay: Relay;
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
  readonly registry = new Registry();
  readonly lists: RelayLists;
  readonly #hub: Hub;
  readonly #checks: Checks;
  readonly #sessions = new Map<SessionId, RelaySession>();
  readonly #offers = new Limiter(relayOffers);
  /** Sessions whose login is at the database; true: lost meanwhile. */
  readonly #underWay = new Map<SessionId, boolean>();
  /** Owners of volunteers that may have gone. */
  readonly #mayBeGone = new Set<string>();

  constructor(hub: Hub) {
    this.#hub = hub;
    this.lists = new RelayLists(hub, this.registry);
    this.lists.onParted = (clientId, relay) => this.#parted(clientId, relay);
    this.#checks = new Checks(hub, this.registry, this.lists, (relay) => this.#tellState(relay));
    hub.directory.onChange = (clientId, network) => this.#participationChanged(clientId, network);
  }

  /** Relays that were there when the server ended have the grace period to come back. */
  async start(now: Now): Promise<void> {
    const { store, config } = this.#hub.options;
    const serial = await store.commits.run((tx) => pruneRevocations(tx, now.wall));
    this.#hub.ticketSerials.atLeast(serial);
    for (const row of await relayRows(store.db)) {
      const listing = row.connected === 1 ? decodeListing(row.listing) : undefined;
      if (listing === undefined) continue;
      const { relay_id: id, kind, relay_key: relayKey, software } = row;
      this.registry.add({
        ...{ id, kind, relayKey, software, owner: row.owner ?? undefined, source: undefined },
        ...{ udp: listing.udp, ws: listing.ws, capacity: listing.capacity },
        ...{ session: undefined, presence: 'unconfirmed', state: 'listed', unreachable: [] },
        ...{ failures: 0, generation: 0, revoke: undefined },
      });
      if (row.owner !== null) this.#mayBeGone.add(row.owner);
      else this.#hub.schedule({ kind: 'relay-grace', relay: id }, now, config.graceMs);
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
      ...{ failures: 0, generation: 0 },
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
          this.#sendRevocations(id, revoked);
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
      if (message.offer === undefined) await this.#gone(relay, now);
      else await this.#reoffer(session, message.offer, now);
    }
    this.settle(now);
    return true;
  }

  /** A member volunteers, or does not any more. */
  async volunteer(session: Session, offer: RelayOffer | undefined, now: Now): Promise<void> {
    const { clientId } = session;
    const mine = this.registry.ofOwner(clientId);
    if (offer === undefined) {
      if (mine !== undefined) await this.#gone(mine, now);
      return;
    }
    const id = relayIdOf(this.#hub.options.crypto, offer.relayKey);
    const resolved = resolveOffer(offer, session.address, true);
    const reason = this.#refusal(session, id, offer, resolved, now);
    if (reason !== undefined) {
      const unreachable = [...resolved.refused];
      const serverTime = now.wall;
      const state = { t: 'relay-state', id, state: 'refused', unreachable, reason } as const;
      this.#hub.send(session.id, { ...state, serverTime });
      return;
    }
    if (mine !== undefined && mine.id !== id) this.#drop(mine);
    const facts = factsOf(id, offer, resolved, 'member');
    const context = this.#hub.context(now);
    try {
      await this.#hub.options.store.commits.run(
        async (tx) => {
          await saveVolunteer(tx, context, facts, clientId);
          return await revocationsFor(tx, context, id);
        },
        (revoked) => {
          const relay = this.#relayOf(facts, 'volunteer', clientId, session.address);
          this.#checks.begin(relay, resolved.refused, now);
          this.#sendRevocations(session.id, revoked);
        },
      );
    } catch (error) {
      this.#hub.options.failed?.(error);
    }
    this.#participationChanged(clientId, undefined);
    this.settle(now);
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
    if (clean) await this.#gone(relay, now);
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
    if (relay?.presence === 'unconfirmed') await this.#gone(relay, now);
  }

  checkDue(relayId: string, now: Now): void {
    const relay = this.registry.get(relayId);
    if (relay !== undefined) this.#checks.ask(relay, now);
  }

  checked(relayId: string, generation: number, unreachable: readonly string[], now: Now): void {
    this.#checks.answered(relayId, generation, unreachable, now);
    this.settle(now);
  }

  /** Everywhere: the client has been removed. The revocation is in the database. */
  revoked(revocation: RelayRevocation): void {
    for (const relay of this.registry.all()) this.#tellRevoked(relay, [revocation]);
  }

  /** The operator removed the relay. */
  expel(relayId: string): void {
    const relay = this.registry.get(relayId);
    if (relay === undefined) return;
    if (relay.kind === 'standalone' && relay.session !== undefined) {
      this.#hub.refuse(relay.session, new Refusal('relay-removed'));
      this.#sessions.delete(relay.session);
    }
    this.#drop(relay);
  }

  /** A client is out of a network. One that is not connected may still hold tickets of volunteers in it. */
  left(clientId: string, network: string): void {
    if (this.#hub.sessions.ofClient(clientId) !== undefined) return;
    for (const { clientId: owner } of this.#hub.directory.presentIn(network)) {
      const relay = this.registry.ofOwner(owner);
      if (relay !== undefined && owner !== clientId) this.#parted(clientId, relay);
    }
  }

  settle(now: Now): void {
    this.#now = now;
    for (const owner of this.#mayBeGone) {
      const relay = this.registry.ofOwner(owner);
      if (relay !== undefined && this.#hub.directory.get(owner) === undefined)
        void this.#gone(relay, now);
    }
    this.#mayBeGone.clear();
    this.lists.settle(now);
  }

  #now: Now | undefined;

  #enter(
    id: SessionId,
    remote: Remote,
    message: RelayLoginMessage,
    facts: RelayFacts,
    now: Now,
  ): void {
    const relay = this.#relayOf(facts, 'standalone', undefined, remote.address);
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
    this.#checks.begin(relay, [], now);
    void this.pingDue(id, now);
  }

  async #reoffer(session: RelaySession, offer: RelayOffer, now: Now): Promise<void> {
    const { relay, id } = session;
    const { crypto, store } = this.#hub.options;
    const limited = this.#offers.tryTake(relay.id, now.monotonic) > 0;
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
          const kept = this.#relayOf(facts, 'standalone', undefined, relay.source);
          this.#checks.begin(kept, [], now);
        },
      );
    } catch (error) {
      this.#hub.options.failed?.(error);
    }
  }

  /** The relay as it is known, with what it says now; or a new one. */
  #relayOf(
    { id, relayKey, listing, software }: RelayFacts,
    kind: 'standalone' | 'volunteer',
    owner: string | undefined,
    source: string | undefined,
  ): Relay {
    const { udp, ws, capacity } = listing;
    const known = this.registry.get(id);
    if (known !== undefined && known.kind === kind && known.owner === owner) {
      const same = JSON.stringify(known.udp) === JSON.stringify(udp);
      if (!same && kind === 'volunteer') known.state = 'checking';
      if (!same) known.unreachable = [];
      Object.assign(known, { udp, ws, capacity, source });
      known.generation++;
      return known;
    }
    const relay: Relay = {
      ...{ id, kind, relayKey, owner, software, udp, ws, capacity, source },
      ...{ session: undefined, presence: 'online', state: 'checking', unreachable: [] },
      ...{ failures: 0, generation: 1, revoke: undefined },
    };
    this.registry.add(relay);
    return relay;
  }

  /** Why a member cannot be this relay; undefined when it may try. */
  #refusal(
    { clientId }: Session,
    id: string,
    offer: RelayOffer,
    resolved: ResolvedOffer,
    now: Now,
  ): string | undefined {
    const known = this.registry.get(id);
    if (this.#offers.tryTake(clientId, now.monotonic) > 0) return 'too many offers; wait a little';
    if (known !== undefined && (known.kind !== 'volunteer' || known.owner !== clientId))
      return 'another relay has the same key; give each relay a directory of its own';
    if (this.registry.volunteers >= maxVolunteers && this.registry.ofOwner(clientId) === undefined)
      return 'the server knows as many volunteers as it may';
    if (resolved.udp.length === 0)
      return 'no UDP address that the server sees this device at; offer 0.0.0.0 and the port';
    return this.#isKey(offer.relayKey) ? undefined : 'its key is none';
  }

  #isKey(relayKey: Uint8Array): boolean {
    const { crypto } = this.#hub.options;
    return sealTicketKey(crypto, relayKey, new Uint8Array(ticketKeyBytes)) !== undefined;
  }

  #assertKey(relayKey: Uint8Array): void {
    if (!this.#isKey(relayKey)) throw new Refusal('relay-invalid', { detail: 'its key is none' });
  }

  #drop(relay: Relay): void {
    this.#hub.cancel({ kind: 'relay-grace', relay: relay.id });
    this.#hub.cancel({ kind: 'relay-check', relay: relay.id });
    this.lists.touchAround(relay);
    this.registry.remove(relay);
  }

  async #gone(relay: Relay, now: Now): Promise<void> {
    this.#drop(relay);
    this.lists.settle(now);
    try {
      await this.#hub.options.store.commits.run((tx) => relayGone(tx, now.wall, relay.id));
    } catch (error) {
      this.#hub.options.failed?.(error);
    }
  }

  #participationChanged(clientId: string, network: string | undefined): void {
    if (this.registry.volunteers === 0) return;
    this.lists.touch(clientId);
    if (this.registry.ofOwner(clientId) === undefined) return;
    this.#mayBeGone.add(clientId);
    if (network !== undefined) this.lists.touchNetwork(network);
  }

  /** A client that shares no network with a relay's owner any more: its tickets there are void. */
  #parted(clientId: string, relay: Relay): void {
    const now = this.#now;
    if (now === undefined) return;
    const revocation = { clientId, serial: this.#hub.ticketSerials.next(now) };
    this.#tellRevoked(relay, [revocation]);
    const context = this.#hub.context(now);
    this.#hub.options.store.commits
      .run((tx) => recordRevocation(tx, context, relay.id, revocation))
      .catch((error) => this.#hub.options.failed?.(error));
  }

  #tellRevoked(relay: Relay, revoked: readonly RelayRevocation[]): void {
    if (relay.revoke !== undefined) relay.revoke(revoked);
    const session = this.#sessionOf(relay);
    if (session !== undefined) this.#sendRevocations(session, revoked);
  }

  #sendRevocations(session: SessionId, revoked: readonly RelayRevocation[]): void {
    for (let from = 0; from < revoked.length; from += maxRevocationsPerMessage) {
      const part = revoked.slice(from, from + maxRevocationsPerMessage);
      this.#hub.send(session, { t: 'relay-revoke', revoked: part });
    }
  }

  #tellState(relay: Relay): void {
    const session = this.#sessionOf(relay);
    const serverTime = this.#now?.wall;
    if (session === undefined || serverTime === undefined) return;
    const { id, state, unreachable } = relay;
    const message = { t: 'relay-state', id, state } as const;
    this.#hub.send(session, { ...message, unreachable: [...unreachable], serverTime });
  }

  #sessionOf(relay: Relay): SessionId | undefined {
    return relay.owner === undefined ? relay.session : this.#hub.sessions.ofClient(relay.owner)?.id;
  }
}

const factsOf = (
  id: string,
  offer: RelayOffer,
  { udp, ws }: ResolvedOffer,
  software: string,
): RelayFacts => ({
  id,
  relayKey: offer.relayKey,
  listing: { udp: [...udp], ws: [...ws], capacity: offer.capacity },
  software,
});
