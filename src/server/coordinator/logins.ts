/**
 * Logins, one at a time for an identity, and what happens when the identity has a connection already (protocol §4, Copied
 * identities):
 *
 *   login ──no other connection, or the same daemon's──► admitted
 *     └──another daemon's──► challenge ──it answers──► refused, both told
 *                                └──3 s without an answer, or lost──► admitted, the older is replaced
 */
import type { Now } from '#core/time.ts';
import type { ServerMessage } from '#wire/control.ts';
import { closeReplaced, type Hub, hex } from './hub.ts';
import { copyChallengeMs } from './limits.ts';
import type { Liveness } from './liveness.ts';
import {
  type LoggedIn,
  type LoginMessage,
  login,
  type ProvenLogin,
  proveLogin,
  type Remote,
} from './login.ts';
import { formatIpv4, formatIpv6, pool6 } from './pool.ts';
import { Refusal } from './refusal.ts';
import type { RelayLists } from './relays/lists.ts';
import { renewalDue } from './renewal.ts';
import type { Renewals } from './renewals.ts';
import type { Session, SessionId } from './sessions.ts';

/** A second daemon wants in while the first has a connection. */
interface Challenge {
  readonly older: SessionId;
  readonly newer: SessionId;
  readonly pingId: number;
  readonly proven: ProvenLogin;
}

export class Logins {
  readonly #hub: Hub;
  readonly #liveness: Liveness;
  readonly #renewals: Renewals;
  readonly #relayLists: RelayLists;
  readonly #challenges = new Map<string, Challenge>();
  /** Identities whose login is at the database, by session. */
  readonly #underWay = new Map<string, SessionId>();
  /** Sessions lost while their login was at the database. */
  readonly #lostEarly = new Set<SessionId>();

  constructor(hub: Hub, liveness: Liveness, renewals: Renewals, relayLists: RelayLists) {
    this.#hub = hub;
    this.#liveness = liveness;
    this.#renewals = renewals;
    this.#relayLists = relayLists;
  }

  /** Resolves when the login has been answered, or waits for a challenge. True: the session was lost meanwhile. */
  async login(id: SessionId, remote: Remote, message: LoginMessage, now: Now): Promise<boolean> {
    try {
      const proven = proveLogin(this.#hub.options.crypto, remote, message, now.wall);
      const identity = hex(proven.certificate.identity);
      const older = this.#hub.sessions.ofIdentity(identity);
      if (older === undefined || older.instance === hex(message.instance))
        return await this.#admit(id, proven, now);
      this.#challenge(older, id, proven, now);
    } catch (error) {
      this.#hub.refuse(id, error);
    }
    return false;
  }

  /** Whether a pong was the older connection's answer to a challenge: then the newer is refused. */
  answered(session: Session, pingId: number): boolean {
    const challenge = this.#challenges.get(session.identity);
    if (challenge?.older !== session.id || challenge.pingId !== pingId) return false;
    this.#endChallenge(session.identity);
    const refusal = new Refusal('identity-in-use');
    this.#hub.refuse(challenge.newer, refusal);
    const { code, message } = refusal;
    this.#hub.send(challenge.older, { t: 'notice', code, message });
    return true;
  }

  /** The session that waits for a challenge of this identity. */
  challenger(identity: string): SessionId | undefined {
    return this.#challenges.get(identity)?.newer;
  }

  /** The older connection has not answered in time, or is lost: the newer takes over. True as for `login`. */
  async decide(identity: string, now: Now): Promise<boolean> {
    const challenge = this.#challenges.get(identity);
    if (challenge === undefined) return false;
    this.#endChallenge(identity);
    try {
      return await this.#admit(challenge.newer, challenge.proven, now);
    } catch (error) {
      this.#hub.refuse(challenge.newer, error);
      return false;
    }
  }

  /** A session that is not logged in has ended. */
  lost(id: SessionId): void {
    for (const [identity, challenge] of this.#challenges)
      if (challenge.newer === id) this.#endChallenge(identity);
    for (const session of this.#underWay.values()) if (session === id) this.#lostEarly.add(id);
  }

  #challenge(older: Session, newer: SessionId, proven: ProvenLogin, now: Now): void {
    const previous = this.#challenges.get(older.identity);
    if (previous !== undefined) {
      const again = hex(previous.proven.message.instance) === hex(proven.message.instance);
      if (!again) throw new Refusal('login-in-progress', { retryAfterMs: copyChallengeMs });
      // The same newcomer tries again: its earlier connection is of no use any more.
      this.#hub.close(previous.newer, closeReplaced);
      this.#challenges.set(older.identity, { ...previous, newer, proven });
      return;
    }
    const pingId = this.#hub.newPingId();
    this.#challenges.set(older.identity, { older: older.id, newer, pingId, proven });
    this.#hub.schedule({ kind: 'challenge', identity: older.identity }, now, copyChallengeMs);
    this.#hub.send(older.id, { t: 'ping', id: pingId, serverTime: now.wall });
  }

  #endChallenge(identity: string): void {
    this.#challenges.delete(identity);
    this.#hub.cancel({ kind: 'challenge', identity });
  }

  async #admit(id: SessionId, proven: ProvenLogin, now: Now): Promise<boolean> {
    const identity = hex(proven.certificate.identity);
    if (this.#underWay.has(identity))
      throw new Refusal('login-in-progress', { retryAfterMs: copyChallengeMs });
    this.#underWay.set(identity, id);
    const context = this.#hub.context(now);
    try {
      await this.#hub.options.store.commits.run(
        async (tx) => {
          const loggedIn = await login(tx, context, proven);
          const renewAt = await renewalDue(tx, loggedIn.client.client_id);
          return { loggedIn, renewAt };
        },
        ({ loggedIn, renewAt }) => {
          this.#enter(id, proven, loggedIn, now);
          if (renewAt !== undefined)
            this.#renewals.schedule(loggedIn.client.client_id, renewAt, now);
        },
      );
    } catch (error) {
      this.#lostEarly.delete(id);
      throw error;
    } finally {
      this.#underWay.delete(identity);
    }
    return this.#lostEarly.delete(id);
  }

  /** After the commit: the client is online, knows what it missed, and the others know. */
  #enter(id: SessionId, proven: ProvenLogin, loggedIn: LoggedIn, now: Now): void {
    const { delivery, directory, sessions } = this.#hub;
    const { client, networks } = loggedIn;
    const clientId = client.client_id;
    const older = sessions.ofClient(clientId);
    if (older !== undefined) {
      sessions.remove(older);
      this.#liveness.forget(older);
      this.#hub.close(older.id, closeReplaced);
    }
    const before = directory.get(clientId)?.presence;
    this.#hub.cancel({ kind: 'grace', client: clientId });
    directory.set(clientId, 'online', networks);
    const session: Session = {
      id,
      clientId,
      identity: hex(proven.certificate.identity),
      instance: hex(proven.message.instance),
      prefix: proven.remote.prefix,
      address: proven.remote.address,
      relays: proven.remote.relays === true,
      rttMs: undefined,
      ping: undefined,
      requestsInWork: 0,
    };
    sessions.add(session);
    this.#hub.send(id, this.#welcome(loggedIn, now));
    this.#relayLists.welcome(session, proven.certificate.identity, now);
    delivery.synchronise(clientId, loggedIn.sync);
    const ids = networks.map(({ network }) => network);
    this.#hub.send(id, { t: 'synchronised', networks: ids });
    for (const event of loggedIn.events) delivery.deliver(event);
    if (before !== 'online') delivery.broadcastPresence(clientId);
    this.#liveness.ping(session, now);
  }

  #welcome({ client }: LoggedIn, now: Now): ServerMessage {
    const { config, nodeList } = this.#hub.options;
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
}
