/**
 * The coordinator: what the server does with what its clients send. Sans-IO but for the store: time and randomness are
 * arguments, sessions are numbers, and what is to be sent comes out as effects, in order, after the commit.
 *
 *   session   open ──login──► [challenge of the older connection] ──► logged in ──lost, logout──► gone
 */
import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { ClientMessage, ServerMessage, ServerMessageOf } from '#wire/control.ts';
import type { Db } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { Agenda } from './agenda.ts';
import { type Context, type CoordinatorConfig, Guard } from './context.ts';
import { Delivery } from './delivery.ts';
import { Directory } from './directory.ts';
import type { CoordinatorEvent } from './events.ts';
import {
  copyChallengeMs,
  pingIntervalMs,
  pingTimeoutMs,
  renewalRoundMs,
  statementRenewAfterMs,
} from './limits.ts';
import {
  type LoggedIn,
  type LoginMessage,
  login,
  type ProvenLogin,
  proveLogin,
  type Remote,
} from './login.ts';
import { operate } from './operations/operations.ts';
import { membershipOf } from './operations/outcome.ts';
import { formatIpv4, formatIpv6, pool6 } from './pool.ts';
import { Refusal } from './refusal.ts';
import { renewalDue, renewStatements } from './renewal.ts';
import { viewFor } from './revisions.ts';
import {
  beginRequest,
  measured,
  punchDelays,
  type Session,
  type SessionId,
  Sessions,
} from './sessions.ts';
import { participationsOf } from './sync.ts';

export type Effect =
  | { readonly kind: 'send'; readonly session: SessionId; readonly message: ServerMessage }
  /** End the connection after what was sent before. Codes of RFC 6455 §7.4. */
  | { readonly kind: 'close'; readonly session: SessionId; readonly code: number };

export interface CoordinatorOptions {
  readonly store: Store;
  readonly crypto: Crypto;
  readonly config: CoordinatorConfig;
  /** Ed25519 by the cluster key. */
  readonly sign: (message: Uint8Array) => Uint8Array;
  /** The signed list of nodes as it is now. */
  readonly nodeList: () => Uint8Array;
  /** Called in order; must not call back. */
  readonly emit: (effect: Effect) => void;
  /** A failure of the database: the client is told that nothing was done, the operator why. */
  readonly failed?: (error: unknown) => void;
}

export const closeNormal = 1000;
export const closeGoingAway = 1001;
export const closePolicy = 1008;
/** A newer connection of the same daemon took over. */
export const closeReplaced = 4001;

type Duty =
  | { readonly kind: 'ping'; readonly session: SessionId }
  | { readonly kind: 'grace'; readonly client: string }
  | { readonly kind: 'renew'; readonly client: string }
  | { readonly kind: 'challenge'; readonly identity: string };

/** A second daemon wants in while the first has a connection. */
interface Challenge {
  readonly older: SessionId;
  readonly newer: SessionId;
  readonly pingId: number;
  readonly proven: ProvenLogin;
}

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #guard = new Guard();
  readonly #directory = new Directory();
  readonly #sessions = new Sessions();
  readonly #delivery: Delivery;
  readonly #agenda = new Agenda<string>();
  readonly #challenges = new Map<string, Challenge>();
  /** Identities whose login is at the database, by session: one at a time. */
  readonly #loggingIn = new Map<string, SessionId>();
  /** Sessions that were lost while their login was at the database. */
  readonly #lostEarly = new Map<SessionId, { clean: boolean; now: Now }>();
  #nextPing = 1;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#delivery = new Delivery(this.#directory, (clientId, message) => {
      const session = this.#sessions.ofClient(clientId);
      if (session !== undefined) this.#send(session.id, message);
    });
  }

  get onlineClients(): number {
    return this.#sessions.size;
  }

  presenceOf(clientId: string): 'online' | 'unconfirmed' | 'offline' {
    return this.#directory.get(clientId)?.presence ?? 'offline';
  }

  /** Whoever was connected when the server ended has the grace period to come back before it is called offline. */
  async start(now: Now): Promise<void> {
    const { db } = this.#options.store;
    const connected = await db
      .selectFrom('clients')
      .select('client_id')
      .where('connected', '=', 1)
      .execute();
    for (const { client_id } of connected) {
      const networks = await participationsOf(db, client_id);
      this.#directory.set(client_id, 'unconfirmed', networks);
      this.#schedule({ kind: 'grace', client: client_id }, now, this.#options.config.graceMs);
    }
  }

  /** The first message of an authenticated connection. Resolves when it has been answered. */
  async login(id: SessionId, remote: Remote, message: LoginMessage, now: Now): Promise<void> {
    try {
      const proven = proveLogin(this.#options.crypto, remote, message, now.wall);
      const identity = hex(proven.certificate.identity);
      const older = this.#sessions.ofIdentity(identity);
      const instance = hex(message.instance);
      if (this.#loggingIn.has(identity))
        throw new Refusal('login-in-progress', { retryAfterMs: copyChallengeMs });
      if (older !== undefined && older.instance !== instance) {
        this.#challenge(older, id, proven, now);
        return;
      }
      await this.#admit(id, proven, now);
    } catch (error) {
      this.#refuse(id, error);
    }
  }

  /** A message of a logged-in connection; of any other it is ignored. Resolves when its effects are out. */
  async message(
    id: SessionId,
    message: Exclude<ClientMessage, { t: 'login' }>,
    now: Now,
  ): Promise<void> {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    switch (message.t) {
      case 'request':
        await this.#request(session, message, now);
        return;
      case 'signal':
        this.#signal(session, message);
        return;
      case 'resync':
        await this.#resync(session, message.network);
        return;
      case 'pong':
        this.#pong(session, message.id, now);
        return;
      case 'logout':
        this.#emit({ kind: 'close', session: id, code: closeNormal });
        await this.lost(id, true, now);
        return;
      default:
        message satisfies never;
    }
  }

  /** The connection has ended; `clean` when the client said goodbye. */
  async lost(id: SessionId, clean: boolean, now: Now): Promise<void> {
    const session = this.#sessions.get(id);
    if (session === undefined) {
      for (const [identity, challenge] of this.#challenges)
        if (challenge.newer === id) this.#endChallenge(identity);
      if ([...this.#loggingIn.values()].includes(id)) this.#lostEarly.set(id, { clean, now });
      return;
    }
    this.#sessions.remove(session);
    this.#agenda.cancel(dutyKey({ kind: 'ping', session: id }));
    this.#agenda.cancel(dutyKey({ kind: 'renew', client: session.clientId }));
    const present = this.#directory.get(session.clientId);
    if (clean) {
      this.#delivery.goOffline(session.clientId);
    } else if (present !== undefined) {
      present.presence = 'unconfirmed';
      this.#schedule(
        { kind: 'grace', client: session.clientId },
        now,
        this.#options.config.graceMs,
      );
      this.#delivery.broadcastPresence(session.clientId);
    }
    const challenge = this.#challenges.get(session.identity);
    if (challenge?.older === id) {
      this.#endChallenge(session.identity);
      await this.#admit(challenge.newer, challenge.proven, now).catch((error) =>
        this.#refuse(challenge.newer, error),
      );
    } else await this.#writeSeen(session.clientId, !clean, now);
  }

  /** When `tick` is to be called at the latest. */
  deadline(): MonotonicMs | undefined {
    return this.#agenda.next();
  }

  async tick(now: Now): Promise<void> {
    const renew: string[] = [];
    const work: Promise<void>[] = [];
    for (;;) {
      const key = this.#agenda.takeDue(now.monotonic);
      if (key === undefined) break;
      const duty = JSON.parse(key) as Duty;
      switch (duty.kind) {
        case 'ping':
          this.#pingOrGiveUp(duty.session, now, work);
          break;
        case 'grace':
          if (this.#directory.get(duty.client)?.presence !== 'unconfirmed') break;
          this.#delivery.goOffline(duty.client);
          work.push(this.#writeSeen(duty.client, false, now));
          break;
        case 'renew':
          renew.push(duty.client);
          break;
        case 'challenge':
          work.push(this.#older(duty.identity, now));
          break;
        default:
          duty satisfies never;
      }
    }
    if (renew.length > 0) work.push(this.#renew(renew, now));
    await Promise.all(work);
  }

  /**
   * Runs an operator's work in a transaction and tells whom it concerns. `expel` names clients whose connections end
   * with a reason.
   */
  async operate<T>(
    now: Now,
    work: (
      tx: Db,
      context: Context,
    ) => Promise<{
      value: T;
      events: readonly CoordinatorEvent[];
      expel?: readonly string[];
    }>,
  ): Promise<T> {
    const context = this.#context(now);
    const done = await this.#options.store.commits.run(
      (tx) => work(tx, context),
      ({ events, expel = [] }) => {
        for (const event of events) this.#delivery.deliver(event);
        for (const clientId of expel) this.#expel(clientId);
      },
    );
    return done.value;
  }

  // Logins.

  #challenge(older: Session, newer: SessionId, proven: ProvenLogin, now: Now): void {
    const previous = this.#challenges.get(older.identity);
    if (previous !== undefined) {
      const again = hex(previous.proven.message.instance) === hex(proven.message.instance);
      if (!again) throw new Refusal('login-in-progress', { retryAfterMs: copyChallengeMs });
      // The same newcomer tries again: its earlier connection is of no use any more.
      this.#emit({ kind: 'close', session: previous.newer, code: closeReplaced });
      this.#challenges.set(older.identity, { ...previous, newer, proven });
      return;
    }
    const pingId = this.#newPingId();
    this.#challenges.set(older.identity, { older: older.id, newer, pingId, proven });
    this.#schedule({ kind: 'challenge', identity: older.identity }, now, copyChallengeMs);
    this.#send(older.id, { t: 'ping', id: pingId, serverTime: now.wall });
  }

  /** The older connection answered: it stays, and both sides are told. */
  #copied(identity: string, challenge: Challenge): void {
    this.#endChallenge(identity);
    const refusal = new Refusal('identity-in-use');
    this.#refuse(challenge.newer, refusal);
    const { code, message } = refusal;
    this.#send(challenge.older, { t: 'notice', code, message });
  }

  /** The older connection did not answer in time: it is dead, the newer takes over. */
  async #older(identity: string, now: Now): Promise<void> {
    const challenge = this.#challenges.get(identity);
    if (challenge === undefined) return;
    this.#endChallenge(identity);
    try {
      await this.#admit(challenge.newer, challenge.proven, now);
    } catch (error) {
      this.#refuse(challenge.newer, error);
    }
  }

  #endChallenge(identity: string): void {
    this.#challenges.delete(identity);
    this.#agenda.cancel(dutyKey({ kind: 'challenge', identity }));
  }

  async #admit(id: SessionId, proven: ProvenLogin, now: Now): Promise<void> {
    const identity = hex(proven.certificate.identity);
    if (this.#loggingIn.has(identity))
      throw new Refusal('login-in-progress', { retryAfterMs: copyChallengeMs });
    this.#loggingIn.set(identity, id);
    const context = this.#context(now);
    let renewAt: number | undefined;
    try {
      await this.#options.store.commits.run(
        async (tx) => {
          const loggedIn = await login(tx, context, proven);
          renewAt = await renewalDue(tx, loggedIn.client.client_id);
          return loggedIn;
        },
        (loggedIn) => this.#enter(id, proven, loggedIn, renewAt, now),
      );
    } finally {
      this.#loggingIn.delete(identity);
    }
    const lost = this.#lostEarly.get(id);
    if (lost !== undefined) {
      this.#lostEarly.delete(id);
      await this.lost(id, lost.clean, lost.now);
    }
  }

  #enter(
    id: SessionId,
    proven: ProvenLogin,
    loggedIn: LoggedIn,
    renewAt: number | undefined,
    now: Now,
  ): void {
    const { client, networks } = loggedIn;
    const clientId = client.client_id;
    const identity = hex(proven.certificate.identity);
    const older = this.#sessions.ofClient(clientId);
    if (older !== undefined) {
      this.#sessions.remove(older);
      this.#agenda.cancel(dutyKey({ kind: 'ping', session: older.id }));
      this.#emit({ kind: 'close', session: older.id, code: closeReplaced });
    }
    const before = this.#directory.get(clientId)?.presence;
    this.#agenda.cancel(dutyKey({ kind: 'grace', client: clientId }));
    this.#directory.set(clientId, 'online', networks);
    const session: Session = {
      id,
      clientId,
      identity,
      instance: hex(proven.message.instance),
      prefix: proven.remote.prefix,
      rttMs: undefined,
      ping: undefined,
      requestsInWork: 0,
    };
    this.#sessions.add(session);
    this.#send(id, this.#welcome(loggedIn, now));
    this.#delivery.synchronise(clientId, loggedIn.sync);
    this.#send(id, {
      t: 'synchronised',
      networks: networks.map(({ network }) => network),
    });
    for (const event of loggedIn.events) this.#delivery.deliver(event);
    if (before !== 'online') this.#delivery.broadcastPresence(clientId);
    this.#ping(session, now);
    if (renewAt !== undefined) this.#scheduleRenewal(clientId, renewAt, now);
  }

  #welcome({ client }: LoggedIn, now: Now): ServerMessage {
    const { config, nodeList } = this.#options;
    return {
      t: 'welcome',
      clientId: client.client_id,
      ipv4: formatIpv4(client.address4),
      ipv6: formatIpv6(client.address4),
      pool4: config.pool4.text,
      pool6,
      serverTime: now.wall,
      nodeList: nodeList(),
      graceMs: config.graceMs,
      software: config.software,
    };
  }

  #expel(clientId: string): void {
    const session = this.#sessions.ofClient(clientId);
    if (session !== undefined) {
      this.#sessions.remove(session);
      this.#refuse(session.id, new Refusal('client-removed'));
    }
    this.#agenda.cancel(dutyKey({ kind: 'grace', client: clientId }));
    this.#agenda.cancel(dutyKey({ kind: 'renew', client: clientId }));
    this.#delivery.goOffline(clientId);
  }

  // Requests and signals.

  async #request(
    session: Session,
    { id, operation }: Extract<ClientMessage, { t: 'request' }>,
    now: Now,
  ): Promise<void> {
    if (!beginRequest(session)) {
      this.#respond(session, id, new Refusal('rate-limited', { retryAfterMs: 1000 }));
      return;
    }
    const context = this.#context(now);
    try {
      await this.#options.store.commits.run(
        (tx) => operate(tx, context, session, operation),
        ({ result, events }) => {
          this.#send(session.id, { t: 'response', id, result: { ok: true, ...result } });
          for (const event of events) this.#delivery.deliver(event);
          const entered = events.some(
            (event) => event.kind === 'entered' && event.client === session.clientId,
          );
          if (entered) this.#renewLater(session.clientId, now);
        },
      );
    } catch (error) {
      this.#respond(session, id, error);
    } finally {
      session.requestsInWork--;
    }
  }

  #respond(session: Session, id: number, error: unknown): void {
    const { code, message } = this.#asRefusal(error);
    const result: ServerMessageOf<'response'>['result'] = { ok: false, error: { code, message } };
    if (this.#sessions.get(session.id) === session)
      this.#send(session.id, { t: 'response', id, result });
  }

  #signal(session: Session, message: Extract<ClientMessage, { t: 'signal' }>): void {
    const { to, sealed } = message;
    const other = this.#sessions.ofClient(to);
    if (other === undefined || !this.#directory.meet(session.clientId, to)) {
      this.#send(session.id, { t: 'undelivered', to });
      return;
    }
    const from = session.clientId;
    if (!message.punch) {
      this.#send(other.id, { t: 'signal', from, sealed });
      return;
    }
    const { aMs, bMs } = punchDelays(session, other);
    this.#send(other.id, { t: 'signal', from, sealed, punchInMs: bMs });
    this.#send(session.id, { t: 'punch', peer: to, punchInMs: aMs });
  }

  async #resync(session: Session, network: string): Promise<void> {
    if (!beginRequest(session)) return;
    const { clientId } = session;
    try {
      await this.#options.store.commits.run(
        async (tx) => {
          const membership = await membershipOf(tx, network, clientId);
          if (membership !== undefined)
            return await viewFor(tx, network, clientId, 'member', membership.active === 1);
          const waits = this.#directory.get(clientId)?.networks.get(network)?.state === 'pending';
          return waits ? await viewFor(tx, network, clientId, 'pending', false) : undefined;
        },
        (view) =>
          this.#send(
            session.id,
            view === undefined
              ? { t: 'removed', network, reason: 'deleted' }
              : this.#delivery.viewMessage(view),
          ),
      );
    } catch (error) {
      this.#options.failed?.(error);
    } finally {
      session.requestsInWork--;
    }
  }

  // Liveness.

  #ping(session: Session, now: Now): void {
    session.ping = { id: this.#newPingId(), sentAt: now.monotonic };
    this.#send(session.id, { t: 'ping', id: session.ping.id, serverTime: now.wall });
    this.#schedule({ kind: 'ping', session: session.id }, now, pingTimeoutMs);
  }

  #pingOrGiveUp(id: SessionId, now: Now, work: Promise<void>[]): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    if (session.ping === undefined) {
      this.#ping(session, now);
      return;
    }
    this.#emit({ kind: 'close', session: id, code: closeGoingAway });
    work.push(this.lost(id, false, now));
  }

  #pong(session: Session, pingId: number, now: Now): void {
    const challenge = this.#challenges.get(session.identity);
    if (challenge?.older === session.id && challenge.pingId === pingId) {
      this.#copied(session.identity, challenge);
      return;
    }
    if (session.ping?.id !== pingId) return;
    const { sentAt } = session.ping;
    session.ping = undefined;
    measured(session, now.monotonic - sentAt);
    const delayMs = Math.max(0, sentAt + pingIntervalMs - now.monotonic);
    this.#schedule({ kind: 'ping', session: session.id }, now, delayMs);
  }

  #newPingId(): number {
    const id = this.#nextPing;
    this.#nextPing = (id % 0x7fff_ffff) + 1;
    return id;
  }

  // Durable chores.

  async #writeSeen(clientId: string, connected: boolean, now: Now): Promise<void> {
    try {
      await this.#options.store.commits.run((tx) =>
        tx
          .updateTable('clients')
          .set({ connected: connected ? 1 : 0, last_seen_at: now.wall })
          .where('client_id', '=', clientId)
          .execute(),
      );
    } catch (error) {
      this.#options.failed?.(error);
    }
  }

  async #renew(clients: readonly string[], now: Now): Promise<void> {
    const online = clients.filter((client) => this.#sessions.ofClient(client) !== undefined);
    const context = this.#context(now);
    try {
      await this.#options.store.commits.run(
        (tx) => renewStatements(tx, context, online),
        (events) => {
          for (const event of events) this.#delivery.deliver(event);
        },
      );
      for (const client of online) await this.#renewAgain(client, now);
    } catch (error) {
      this.#options.failed?.(error);
      for (const client of online) this.#schedule({ kind: 'renew', client }, now, renewalRoundMs);
    }
  }

  async #renewAgain(client: string, now: Now): Promise<void> {
    const dueAt = await renewalDue(this.#options.store.db, client);
    if (dueAt !== undefined) this.#scheduleRenewal(client, dueAt, now);
  }

  #renewLater(client: string, now: Now): void {
    const key = dutyKey({ kind: 'renew', client });
    if (!this.#agenda.has(key))
      this.#scheduleRenewal(client, now.wall + statementRenewAfterMs, now);
  }

  /** On a multiple of the round, so that the members of a network are renewed together. */
  #scheduleRenewal(client: string, dueAtMs: number, now: Now): void {
    const round = Math.ceil(dueAtMs / renewalRoundMs) * renewalRoundMs;
    this.#schedule({ kind: 'renew', client }, now, Math.max(0, round - now.wall));
  }

  // Small change.

  #context(now: Now): Context {
    const { crypto, config, sign } = this.#options;
    return { crypto, config, sign, now, guard: this.#guard };
  }

  #schedule(duty: Duty, now: Now, delayMs: number): void {
    this.#agenda.set(dutyKey(duty), after(now.monotonic, delayMs));
  }

  #emit(effect: Effect): void {
    this.#options.emit(effect);
  }

  #send(session: SessionId, message: ServerMessage): void {
    this.#emit({ kind: 'send', session, message });
  }

  #refuse(session: SessionId, error: unknown): void {
    const { code, message, retryAfterMs } = this.#asRefusal(error);
    this.#send(session, {
      t: 'refused',
      error: { code, message },
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
    this.#emit({ kind: 'close', session, code: closePolicy });
  }

  #asRefusal(error: unknown): Refusal {
    if (error instanceof Refusal) return error;
    this.#options.failed?.(error);
    return new Refusal('server-storage');
  }
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const dutyKey = (duty: Duty) => JSON.stringify(duty);
