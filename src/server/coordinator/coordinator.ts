/**
 * The coordinator: what the server does with what its clients send. Sans-IO but for the store: time and randomness are
 * arguments, sessions are numbers, and what is to be sent comes out as effects, in order, after the commit.
 *
 *   session   open ──login──► logged in ──lost, logout, no pong──► gone
 */

import { hex } from '#core/bytes.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { ClientMessage, ServerMessageOf } from '#wire/control.ts';
import type { Presence } from '#wire/fields.ts';
import type { FabricItem, Parcel } from '../fabric/messages.ts';
import type { Db } from '../store/schema.ts';
import { ChangeRates } from './change-rates.ts';
import { Federation } from './cluster/federation.ts';
import { toldByEvents } from './cluster/news.ts';
import type { FederationOptions } from './cluster/node-link.ts';
import { connectedTo, sightingsOf, unconfirmAll, writeConnected } from './cluster/node-store.ts';
import { Whereabouts } from './cluster/whereabouts.ts';
import type { Context } from './context.ts';
import type { Present } from './directory.ts';
import type { CoordinatorEvent } from './events.ts';
import { type CoordinatorOptions, closeNormal, closeReplaced, Hub } from './hub.ts';
import { crowdedCheckMs, maxChangeDelayMs, maxCrowdedMs, maxProvenCertificates } from './limits.ts';
import { Liveness } from './liveness.ts';
import type { LoginMessage, Remote } from './login.ts';
import { Logins } from './logins.ts';
import { operate } from './operations/operations.ts';
import { ProbeGrants } from './probe-grants.ts';
import { Refusal } from './refusal.ts';
import { type LocalRelay, RelayDesk, type RelayLoginMessage } from './relays/desk.ts';
import type { Relay } from './relays/registry.ts';
import { Renewals } from './renewals.ts';
import { Resync } from './resync.ts';
import { beginRequest, type Session, type SessionId } from './sessions.ts';
import { Signals } from './signals.ts';
import { participating, participationsOf, participationsOfMany } from './sync.ts';

export type { CoordinatorOptions, Effect, RelayCheckOrder } from './hub.ts';
export type { LocalRelay, RelayLoginMessage } from './relays/desk.ts';

/** An operator's work: its answer, whom it concerns, and whose connections end for it. */
export interface OperatorOutcome<T> {
  readonly value: T;
  readonly events: readonly CoordinatorEvent[];
  readonly expel?: readonly string[];
  readonly expelRelays?: readonly string[];
}

export class Coordinator {
  readonly #hub: Hub;
  readonly #liveness: Liveness;
  readonly #renewals: Renewals;
  readonly #logins: Logins;
  readonly #relays: RelayDesk;
  readonly #signals: Signals;
  readonly #sync: Resync;
  readonly #rates = new ChangeRates();
  #federation: Federation | undefined;
  /** Since when grace is put off. */
  #crowdedSince: MonotonicMs | undefined;

  constructor(options: CoordinatorOptions) {
    this.#hub = new Hub(options);
    this.#liveness = new Liveness(this.#hub);
    this.#renewals = new Renewals(this.#hub);
    this.#relays = new RelayDesk(this.#hub);
    this.#logins = new Logins(this.#hub, this.#liveness, this.#renewals, this.#relays.lists);
    this.#sync = new Resync(this.#hub);
    this.#hub.delivery.onRemoved = (client, network) => this.#relays.left(client, network);
    this.#hub.delivery.onTicketsRevoked = (clientId, serial) =>
      this.#relays.revoked({ clientId, serial });
    this.#signals = new Signals(this.#hub, new ProbeGrants(options.tokens));
    if (options.cluster !== undefined) this.#federate(options.cluster);
  }

  /** Is one of several nodes. */
  #federate(cluster: FederationOptions): void {
    const hub = this.#hub;
    const whereabouts = new Whereabouts(hub, (client) => this.#release(client.clientId));
    const federation = new Federation(hub, cluster, {
      whereabouts,
      item: (item, from, now) => this.#item(item, from.id, now),
      expel: (clientId) => this.#expel(clientId),
      compareRelays: (nodes, now) => this.#relays.compare(nodes, now),
      nodeGone: (node, now) => this.#relays.nodeGone(node, now),
      reassert: (now) => this.#reassert(now),
      handedOver: (now) => this.#handedOver(now),
    });
    this.#federation = federation;
    hub.federation = federation;
    hub.delivery.onChanged = (network, revision) =>
      federation.all({ t: 'network', network, ...(revision === undefined ? {} : { revision }) });
    hub.delivery.onBehind = (network, whole) => federation.behind(network, whole, hub.latest);
  }

  get onlineClients(): number {
    return this.#hub.sessions.size;
  }

  presenceOf(clientId: string): Presence {
    return this.#hub.directory.get(clientId)?.presence ?? 'offline';
  }

  /** The other nodes, as this one hears of them; undefined: it is the only one. */
  get federation(): Federation | undefined {
    return this.#federation;
  }

  /**
   * Whoever was connected when the server ended has the grace period to come back before it is called offline; whom a node that
   * ended in order a moment ago has sent on to others has its time for that first.
   */
  async start(now: Now): Promise<void> {
    this.#hub.latest = now;
    const { config, node, store } = this.#hub.options;
    const handoverLeftMs = (await this.#federation?.handoverLeftMs(now)) ?? 0;
    const mine = await store.read(async (tx) => {
      const connected = await connectedTo(tx, undefined);
      const own = connected.filter((sighting) => sighting.node === null || sighting.node === node);
      const ids = own.map(({ clientId }) => clientId);
      const networks = await participationsOfMany(tx, ids);
      return own.map((sighting) => ({
        ...sighting,
        networks: networks.get(sighting.clientId) ?? [],
      }));
    });
    await this.#knowCertificates();
    if (handoverLeftMs > 0) this.#hub.schedule({ kind: 'handover', node }, now, handoverLeftMs);
    else await store.commits.run((tx) => unconfirmAll(tx, node, now.wall));
    for (const { clientId, connected, serial, identity, instance, networks } of mine) {
      const whereabouts = { node, serial, identity: hex(identity), instance };
      const presence = handoverLeftMs > 0 && connected === 1 ? 'online' : 'unconfirmed';
      this.#hub.directory.set(clientId, presence, networks, whereabouts);
      if (presence === 'unconfirmed')
        this.#hub.schedule({ kind: 'grace', client: clientId }, now, config.graceMs);
    }
    await this.#federation?.start(now);
    await this.#relays.start(now);
  }

  async #knowCertificates(): Promise<void> {
    const rows = await this.#hub.options.store.db
      .selectFrom('clients')
      .select('certificate')
      .orderBy('last_seen_at', 'desc')
      .limit(maxProvenCertificates)
      .execute();
    this.#logins.knowCertificates(rows.reverse().map(({ certificate }) => certificate));
  }

  /** A parcel of another node, opened. */
  received(parcel: Parcel, now: Now): void {
    this.#hub.latest = now;
    this.#federation?.receive(parcel, now);
    this.#relays.settle(now);
  }

  /** Whether the fabric works. */
  fabric(up: boolean, now: Now): void {
    this.#hub.latest = now;
    this.#federation?.fabric(up, now);
  }

  /** Relays that are there now. */
  get relays(): Iterable<Relay> {
    return this.#relays.registry.all();
  }

  /** A relay of this process; returns what takes it back. */
  registerRelay(relay: LocalRelay, now: Now): () => void {
    return this.#relays.register(relay, now);
  }

  /** Answer to an effect `check-relay`. */
  relayChecked(relay: string, generation: number, unreachable: readonly string[], now: Now): void {
    this.#relays.checked(relay, generation, unreachable, now);
  }

  /** The first message of a standalone relay. Resolves when it has been dealt with. */
  async relayLogin(
    id: SessionId,
    remote: Remote,
    message: RelayLoginMessage,
    now: Now,
  ): Promise<void> {
    await this.#relays.login(id, remote, message, now);
  }

  /** The first message of an authenticated connection. Resolves when it has been dealt with. */
  async login(id: SessionId, remote: Remote, message: LoginMessage, now: Now): Promise<void> {
    this.#hub.latest = now;
    if (await this.#logins.login(id, remote, message, now)) await this.lost(id, false, now);
    this.#relays.settle(now);
  }

  /** A message of a logged-in connection; of any other it is ignored. Resolves when its effects are out. */
  async message(
    id: SessionId,
    message: Exclude<ClientMessage, { t: 'login' | 'relay-login' }>,
    now: Now,
  ): Promise<void> {
    this.#hub.latest = now;
    const session = this.#hub.sessions.get(id);
    if (session === undefined) await this.#relays.message(id, message, now);
    else await this.#clientMessage(session, message, now);
    this.#relays.settle(now);
  }

  async #clientMessage(
    session: Session,
    message: Exclude<ClientMessage, { t: 'login' | 'relay-login' }>,
    now: Now,
  ): Promise<void> {
    switch (message.t) {
      case 'request':
        await this.#request(session, message, now);
        return;
      case 'signal':
        this.#signals.send(session, message, now);
        return;
      case 'resync':
        await this.#resync(session, message.network, now);
        return;
      case 'pong':
        if (!this.#logins.answered(session, message.id))
          this.#liveness.pong(session, message.id, now);
        return;
      case 'logout':
        this.#hub.close(session.id, closeNormal);
        await this.lost(session.id, true, now);
        return;
      case 'relay-offer':
        await this.#relays.volunteer(session, message.offer, now);
        return;
      default:
        message satisfies never;
    }
  }

  /** The connection has ended; `clean` when the client said goodbye. */
  async lost(id: SessionId, clean: boolean, now: Now): Promise<void> {
    this.#hub.latest = now;
    const session = this.#hub.sessions.get(id);
    if (session === undefined) {
      this.#logins.lost(id);
      await this.#relays.lost(id, clean, now);
      this.#relays.settle(now);
      return;
    }
    const { clientId, identity } = session;
    this.#hub.sessions.remove(session);
    this.#relays.lists.forget(session);
    this.#liveness.forget(session);
    this.#renewals.forget(clientId);
    const present = this.#hub.directory.get(clientId);
    const told = present && (clean ? this.#left(present, now) : this.#unconfirm(present, now));
    this.#relays.settle(now);
    await told;
    await this.#decide(identity, now);
  }

  /** Its connection has ended; whether it comes back is to be seen. Resolves when that is written. */
  #unconfirm(present: Present, now: Now): Promise<void> {
    const { clientId, serial } = present;
    present.presence = 'unconfirmed';
    this.#hub.federation?.all({ t: 'lost', clientId, serial, presence: 'unconfirmed' });
    this.#hub.schedule({ kind: 'grace', client: clientId }, now, this.#hub.options.config.graceMs);
    this.#hub.delivery.broadcastPresence(clientId);
    return this.#writeSeen(present, 2, now);
  }

  /** It is gone. Resolves when that is written. */
  #left(present: Present, now: Now): Promise<void> {
    const { clientId, serial } = present;
    this.#hub.federation?.all({ t: 'lost', clientId, serial, presence: 'offline' });
    this.#hub.delivery.goOffline(clientId);
    return this.#writeSeen(present, 0, now);
  }

  /** Whom this node had when it ended in order, and who has not come back since, to whichever node. */
  async #handedOver(now: Now): Promise<void> {
    const { directory, options, sessions } = this.#hub;
    const missing = [...directory.all()].filter(
      ({ clientId, node, presence }) =>
        node === options.node && presence === 'online' && sessions.ofClient(clientId) === undefined,
    );
    await Promise.all(missing.map((present) => this.#unconfirm(present, now)));
  }

  /** When `tick` is to be called at the latest. */
  deadline(): MonotonicMs | undefined {
    return this.#hub.deadline();
  }

  async tick(now: Now): Promise<void> {
    this.#hub.latest = now;
    const renew: string[] = [];
    const work: Promise<void>[] = [];
    const isCrowded = this.#keepsWaiting(now);
    for (let duty = this.#hub.takeDue(now); duty !== undefined; duty = this.#hub.takeDue(now)) {
      switch (duty.kind) {
        case 'ping':
          if (this.#liveness.due(duty.session, now)) work.push(this.lost(duty.session, false, now));
          break;
        case 'grace':
          if (isCrowded) this.#hub.schedule(duty, now, crowdedCheckMs);
          else work.push(this.#graceOver(duty.client, now));
          break;
        case 'renew':
          renew.push(duty.client);
          break;
        case 'challenge':
          work.push(this.#decide(duty.identity, now));
          break;
        case 'relay-ping':
          work.push(this.#relays.pingDue(duty.session, now));
          break;
        case 'relay-grace':
          if (isCrowded) this.#hub.schedule(duty, now, crowdedCheckMs);
          else work.push(this.#relays.graceOver(duty.relay, now));
          break;
        case 'relay-check':
          this.#relays.checkDue(duty.relay, now);
          break;
        case 'relay-lists':
          this.#relays.lists.due(now);
          break;
        case 'relay-tickets':
          this.#relays.lists.touch(duty.client);
          break;
        case 'out-of-step':
          work.push(this.#sync.due(now));
          break;
        case 'fabric-beat':
        case 'node-beat':
        case 'catch-up':
        case 'compare':
        case 'node-grace':
        case 'handover':
          if (this.#federation !== undefined) work.push(this.#federation.due(duty, now));
          break;
        default:
          duty satisfies never;
      }
    }
    this.#relays.settle(now);
    if (renew.length > 0) work.push(this.#renewals.renew(renew, now));
    await Promise.all(work);
  }

  /** Runs an operator's work in a transaction and tells whom it concerns. */
  async operate<T>(
    now: Now,
    work: (tx: Db, context: Context) => Promise<OperatorOutcome<T>>,
  ): Promise<T> {
    const context = this.#hub.context(now);
    const { value } = await this.#hub.options.store.commits.run(
      (tx) => work(tx, context),
      ({ events, expel = [], expelRelays = [] }) => {
        this.#hub.delivery.deliver(events);
        for (const clientId of expel) {
          this.#hub.federation?.all({ t: 'expel', clientId });
          this.#expel(clientId);
        }
        for (const relay of expelRelays) {
          this.#hub.federation?.all({ t: 'expel-relay', relay });
          this.#relays.expel(relay);
        }
      },
    );
    this.#relays.settle(now);
    return value;
  }

  async #decide(identity: string, now: Now): Promise<void> {
    const newer = this.#logins.challenger(identity);
    if (newer !== undefined && (await this.#logins.decide(identity, now)))
      await this.lost(newer, false, now);
  }

  #expel(clientId: string): void {
    const session = this.#hub.sessions.ofClient(clientId);
    if (session !== undefined) {
      this.#hub.sessions.remove(session);
      this.#liveness.forget(session);
      this.#relays.lists.forget(session);
      this.#hub.refuse(session.id, new Refusal('client-removed'));
    }
    this.#hub.cancel({ kind: 'grace', client: clientId });
    this.#renewals.forget(clientId);
    this.#hub.delivery.goOffline(clientId);
  }

  async #request(
    session: Session,
    { id, operation }: Extract<ClientMessage, { t: 'request' }>,
    now: Now,
  ): Promise<void> {
    if (!beginRequest(session)) {
      this.#respond(session, id, new Refusal('rate-limited', { retryAfterMs: 1000 }));
      return;
    }
    const context = this.#hub.context(now);
    try {
      if (operation.op !== 'admission')
        this.#slow(session, this.#rates.change(session, now.monotonic));
      await this.#hub.options.store.commits.run(
        (tx) =>
          this.#hub.telling(tx, operate(tx, context, session, operation), ({ events }) =>
            toldByEvents(events),
          ),
        ({ result: { result, events }, news }) => {
          this.#hub.heard(news, now);
          this.#hub.send(session.id, { t: 'response', id, result: { ok: true, ...result } });
          this.#hub.delivery.deliver(events);
          for (const event of events)
            if (event.kind === 'entered' && this.presenceOf(event.client) === 'online')
              this.#renewals.joined(event.client, now);
        },
      );
    } catch (error) {
      this.#respond(session, id, error);
    } finally {
      session.requestsInWork--;
    }
  }

  async #resync(session: Session, network: string, now: Now): Promise<void> {
    try {
      this.#slow(session, this.#rates.resync(session, now.monotonic));
    } catch (error) {
      // The client would wait for a view that does not come: it is told when to come back.
      this.#hub.refuse(session.id, error);
      return;
    }
    await this.#sync.asked(session, network, now);
  }

  /** Has who comes a little too early wait before the next. Refusal: rate-limited, when it is much too early. */
  #slow(session: Session, waitMs: number): void {
    if (waitMs > maxChangeDelayMs) throw new Refusal('rate-limited', { retryAfterMs: waitMs });
    if (waitMs > 0) this.#hub.options.emit({ kind: 'pause', session: session.id, ms: waitMs });
  }

  #respond(session: Session, id: number, error: unknown): void {
    const { code, message } = this.#hub.asRefusal(error);
    const result: ServerMessageOf<'response'>['result'] = { ok: false, error: { code, message } };
    this.#hub.send(session.id, { t: 'response', id, result });
  }

  /** Whether members may be away only because this node does not let them in yet; nobody can make it say so for ever. */
  #keepsWaiting(now: Now): boolean {
    if (this.#hub.options.isCrowded?.() !== true) this.#crowdedSince = undefined;
    else this.#crowdedSince ??= now.monotonic;
    return (
      this.#crowdedSince !== undefined && now.monotonic < after(this.#crowdedSince, maxCrowdedMs)
    );
  }

  async #graceOver(clientId: string, now: Now): Promise<void> {
    const present = this.#hub.directory.get(clientId);
    if (present?.presence === 'unconfirmed' && !present.suspect) await this.#left(present, now);
  }

  /** What only some of the parts understand. */
  #item(item: FabricItem, from: string, now: Now): void {
    switch (item.t) {
      case 'signal':
      case 'undelivered':
      case 'punch':
        this.#signals.received(item, from);
        return;
      case 'challenge':
        this.#logins.asked(item.identity, from, now);
        return;
      case 'challenged':
        this.#logins.alive(item.identity);
        return;
      case 'revoke':
        this.#relays.heardRevocation(item, now);
        return;
      case 'expel-relay':
        this.#relays.expel(item.relay);
        return;
      default:
    }
  }

  /** The client has gone on to another node. */
  #release(clientId: string): void {
    const session = this.#hub.sessions.ofClient(clientId);
    if (session === undefined) return;
    this.#hub.sessions.remove(session);
    this.#liveness.forget(session);
    this.#relays.lists.forget(session);
    this.#renewals.forget(clientId);
    this.#hub.close(session.id, closeReplaced);
  }

  /** The database was away: what it says of our connections may be out of date. */
  async #reassert(now: Now): Promise<void> {
    const { directory, federation, options, sessions } = this.#hub;
    const own = [...sessions.all()].map(({ clientId }) => clientId);
    const wrong = await options.store.commits.run(async (tx) => {
      const rows = await connectedTo(tx, [options.node]);
      const listed = new Set(rows.map(({ clientId }) => clientId));
      const rest = await sightingsOf(
        tx,
        own.filter((id) => !listed.has(id)),
      );
      const found: string[] = [];
      for (const { clientId, serial, connected, node } of [...rows, ...rest]) {
        const present = directory.get(clientId);
        const ours = present?.serial === serial && present.node === options.node;
        if (node !== options.node || (present !== undefined && !ours)) continue;
        const here = sessions.ofClient(clientId) !== undefined;
        const right = here ? 1 : present === undefined ? 0 : 2;
        if (right === connected) continue;
        await writeConnected(tx, { clientId, serial }, right, now.wall);
        if (here) found.push(clientId);
      }
      return found;
    });
    for (const clientId of wrong) {
      const present = directory.get(clientId);
      if (present === undefined) continue;
      const { serial, identity, instance } = present;
      const networks = (await participationsOf(options.store.db, clientId)).map(participating);
      federation?.all({ t: 'online', clientId, serial, identity, instance, networks });
    }
  }

  async #writeSeen(present: Present, connected: 0 | 2, now: Now): Promise<void> {
    try {
      await this.#hub.options.store.commits.run(
        (tx) => writeConnected(tx, present, connected, now.wall),
        () => {},
        () => false,
      );
    } catch (error) {
      this.#hub.federation?.doubt();
      this.#hub.options.failed?.(error);
    }
  }
}
