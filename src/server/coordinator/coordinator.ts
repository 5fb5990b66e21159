/**
 * The coordinator: what the server does with what its clients send. Sans-IO but for the store: time and randomness are
 * arguments, sessions are numbers, and what is to be sent comes out as effects, in order, after the commit.
 *
 *   session   open ──login──► logged in ──lost, logout, no pong──► gone
 */
import type { MonotonicMs, Now } from '#core/time.ts';
import type { ClientMessage, ServerMessageOf } from '#wire/control.ts';
import type { Presence } from '#wire/fields.ts';
import type { Db } from '../store/schema.ts';
import type { Context } from './context.ts';
import type { CoordinatorEvent } from './events.ts';
import { type CoordinatorOptions, closeGoingAway, closeNormal, Hub } from './hub.ts';
import { Liveness } from './liveness.ts';
import type { LoginMessage, Remote } from './login.ts';
import { Logins } from './logins.ts';
import { operate } from './operations/operations.ts';
import { hasRequest, membershipOf } from './operations/outcome.ts';
import { ProbeGrants } from './probe-grants.ts';
import { Refusal } from './refusal.ts';
import { type LocalRelay, RelayDesk, type RelayLoginMessage } from './relays/desk.ts';
import type { Relay } from './relays/registry.ts';
import { Renewals } from './renewals.ts';
import { viewFor } from './revisions.ts';
import { beginRequest, punchDelays, type Session, type SessionId } from './sessions.ts';
import { participationsOf } from './sync.ts';

export type { CoordinatorOptions, Effect, RelayCheckOrder } from './hub.ts';
export type { LocalRelay, RelayLoginMessage } from './relays/desk.ts';

/** An operator's work: its answer, whom it concerns, and whose connections end for it. */
export interface OperatorOutcome<T> {
  readonly value: T;
  readonly events: readonly CoordinatorEvent[];
  readonly expel?: readonly string[];
  readonly expelRelays?: readonly string[];
}

type SignalMessage = Extract<ClientMessage, { t: 'signal' }>;

export class Coordinator {
  readonly #hub: Hub;
  readonly #liveness: Liveness;
  readonly #renewals: Renewals;
  readonly #logins: Logins;
  readonly #relays: RelayDesk;
  readonly #probes: ProbeGrants;

  constructor(options: CoordinatorOptions) {
    this.#hub = new Hub(options);
    this.#liveness = new Liveness(this.#hub);
    this.#renewals = new Renewals(this.#hub);
    this.#relays = new RelayDesk(this.#hub);
    this.#logins = new Logins(this.#hub, this.#liveness, this.#renewals, this.#relays.lists);
    this.#hub.delivery.onRemoved = (client, network) => this.#relays.left(client, network);
    this.#hub.delivery.onTicketsRevoked = (clientId, serial) =>
      this.#relays.revoked({ clientId, serial });
    this.#probes = new ProbeGrants(options.tokens);
  }

  get onlineClients(): number {
    return this.#hub.sessions.size;
  }

  presenceOf(clientId: string): Presence {
    return this.#hub.directory.get(clientId)?.presence ?? 'offline';
  }

  /** Whoever was connected when the server ended has the grace period to come back before it is called offline. */
  async start(now: Now): Promise<void> {
    const { config, store } = this.#hub.options;
    const connected = await store.db
      .selectFrom('clients')
      .select('client_id')
      .where('connected', '=', 1)
      .execute();
    for (const { client_id } of connected) {
      const networks = await participationsOf(store.db, client_id);
      this.#hub.directory.set(client_id, 'unconfirmed', networks);
      this.#hub.schedule({ kind: 'grace', client: client_id }, now, config.graceMs);
    }
    await this.#relays.start(now);
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
    if (await this.#logins.login(id, remote, message, now)) await this.lost(id, false, now);
    this.#relays.settle(now);
  }

  /** A message of a logged-in connection; of any other it is ignored. Resolves when its effects are out. */
  async message(
    id: SessionId,
    message: Exclude<ClientMessage, { t: 'login' | 'relay-login' }>,
    now: Now,
  ): Promise<void> {
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
        this.#signal(session, message, now);
        return;
      case 'resync':
        await this.#resync(session, message.network);
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
    if (clean) this.#hub.delivery.goOffline(clientId);
    else if (present !== undefined) {
      present.presence = 'unconfirmed';
      this.#hub.schedule(
        { kind: 'grace', client: clientId },
        now,
        this.#hub.options.config.graceMs,
      );
      this.#hub.delivery.broadcastPresence(clientId);
    }
    this.#relays.settle(now);
    await this.#writeSeen(clientId, !clean, now);
    await this.#decide(identity, now);
  }

  /** When `tick` is to be called at the latest. */
  deadline(): MonotonicMs | undefined {
    return this.#hub.deadline();
  }

  async tick(now: Now): Promise<void> {
    const renew: string[] = [];
    const work: Promise<void>[] = [];
    for (let duty = this.#hub.takeDue(now); duty !== undefined; duty = this.#hub.takeDue(now)) {
      switch (duty.kind) {
        case 'ping':
          if (this.#liveness.due(duty.session, now)) work.push(this.lost(duty.session, false, now));
          break;
        case 'grace':
          if (this.presenceOf(duty.client) !== 'unconfirmed') break;
          this.#hub.delivery.goOffline(duty.client);
          work.push(this.#writeSeen(duty.client, false, now));
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
          work.push(this.#relays.graceOver(duty.relay, now));
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
        for (const event of events) this.#hub.delivery.deliver(event);
        for (const clientId of expel) this.#expel(clientId);
        for (const relay of expelRelays) this.#relays.expel(relay);
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
      await this.#hub.options.store.commits.run(
        (tx) => operate(tx, context, session, operation),
        ({ result, events }) => {
          this.#hub.send(session.id, { t: 'response', id, result: { ok: true, ...result } });
          for (const event of events) {
            this.#hub.delivery.deliver(event);
            if (event.kind === 'entered' && this.presenceOf(event.client) === 'online')
              this.#renewals.joined(event.client, now);
          }
        },
      );
    } catch (error) {
      this.#respond(session, id, error);
    } finally {
      session.requestsInWork--;
    }
  }

  #respond(session: Session, id: number, error: unknown): void {
    const { code, message } = this.#hub.asRefusal(error);
    const result: ServerMessageOf<'response'>['result'] = { ok: false, error: { code, message } };
    this.#hub.send(session.id, { t: 'response', id, result });
  }

  /** Whoever may not be reached is answered like whoever is not there. */
  #signal(session: Session, message: SignalMessage, now: Now): void {
    const { to, sealed } = message;
    const from = session.clientId;
    const other = this.#hub.sessions.ofClient(to);
    if (other === undefined || other === session || !this.#hub.directory.meet(from, to)) {
      this.#hub.send(session.id, { t: 'undelivered', to });
      return;
    }
    const granted = this.#grant(from, to, message, now);
    if (!message.punch) {
      this.#hub.send(other.id, { t: 'signal', from, sealed, ...granted });
      return;
    }
    const { aMs, bMs } = punchDelays(session, other);
    this.#hub.send(other.id, { t: 'signal', from, sealed, punchInMs: bMs, ...granted });
    this.#hub.send(session.id, { t: 'punch', peer: to, punchInMs: aMs });
  }

  /** Who gets a signal may send its sender more probes, when it asked for that and the sender proved its addresses. */
  #grant(from: string, to: string, message: SignalMessage, now: Now): { proven?: string[] } {
    if (message.probes === true) this.#probes.wish(from, to, now.monotonic);
    const { proofs } = message;
    if (proofs === undefined) return {};
    const proven = this.#probes.grant(to, from, proofs, now.monotonic, now.wall);
    return proven.length === 0 ? {} : { proven };
  }

  /** One that cannot be served ends the connection: the client waits for the view, and has it at its next login. */
  async #resync(session: Session, network: string): Promise<void> {
    if (!beginRequest(session)) {
      this.#hub.close(session.id, closeGoingAway);
      return;
    }
    const { clientId } = session;
    try {
      await this.#hub.options.store.commits.run(
        async (tx) => {
          const membership = await membershipOf(tx, network, clientId);
          if (membership !== undefined)
            return await viewFor(tx, network, clientId, 'member', membership.active === 1);
          const waits = await hasRequest(tx, network, clientId);
          return waits ? await viewFor(tx, network, clientId, 'pending', false) : undefined;
        },
        (view) => {
          const message =
            view === undefined
              ? ({ t: 'removed', network, reason: 'deleted' } as const)
              : this.#hub.delivery.viewMessage(view);
          this.#hub.send(session.id, message);
        },
      );
    } catch (error) {
      this.#hub.options.failed?.(error);
      this.#hub.close(session.id, closeGoingAway);
    } finally {
      session.requestsInWork--;
    }
  }

  async #writeSeen(clientId: string, connected: boolean, now: Now): Promise<void> {
    try {
      await this.#hub.options.store.commits.run((tx) =>
        tx
          .updateTable('clients')
          .set({ connected: connected ? 1 : 0, last_seen_at: now.wall })
          .where('client_id', '=', clientId)
          .execute(),
      );
    } catch (error) {
      this.#hub.options.failed?.(error);
    }
  }
}
