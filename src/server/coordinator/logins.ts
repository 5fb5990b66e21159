/**
 * Logins, one at a time for an identity, and what happens when the identity has a connection already (protocol §4, Copied
 * identities):
 *
 *   login ──no other connection, or the same daemon's──► admitted
 *     └──another daemon's──► challenge ──it answers──► refused, both told
 *                                └──3 s without an answer, or lost──► admitted, the older is replaced
 */
import { forgetOldest } from '#core/forget-oldest.ts';
import type { Now } from '#core/time.ts';
import type { ServerMessage } from '#wire/control.ts';
import { toldBySync } from './cluster/news.ts';
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
import { ProvenCertificates } from './proven-certificates.ts';
import { Refusal } from './refusal.ts';
import type { RelayLists } from './relays/lists.ts';
import type { Renewals } from './renewals.ts';
import type { Session, SessionId } from './sessions.ts';
import { participating } from './sync.ts';

/** A second daemon wants in while the first has a connection. */
interface Challenge {
  /** Undefined: a connection of another node, which asks it. */
  readonly older: SessionId | undefined;
  readonly newer: SessionId;
  readonly pingId: number;
  readonly proven: ProvenLogin;
}

/** Asked by another node: the ping that was sent for it. */
interface Asked {
  readonly session: SessionId;
  readonly pingId: number;
  readonly node: string;
}

type Older = Pick<Session, 'identity' | 'instance'> & { readonly id: SessionId | undefined };

const maxAsked = 4_096;

export class Logins {
  readonly #hub: Hub;
  readonly #liveness: Liveness;
  readonly #renewals: Renewals;
  readonly #relayLists: RelayLists;
  readonly #challenges = new Map<string, Challenge>();
  readonly #asked = new Map<string, Asked>();
  /** Identities whose login is at the database, by session. */
  readonly #underWay = new Map<string, SessionId>();
  readonly #proven: ProvenCertificates;
  /** Sessions lost while their login was at the database. */
  readonly #lostEarly = new Set<SessionId>();

  constructor(hub: Hub, liveness: Liveness, renewals: Renewals, relayLists: RelayLists) {
    this.#hub = hub;
    this.#liveness = liveness;
    this.#renewals = renewals;
    this.#relayLists = relayLists;
    this.#proven = new ProvenCertificates(hub.options.crypto);
  }

  /** Those of clients that were connected lately, from the database. */
  knowCertificates(certificates: Iterable<Uint8Array>): void {
    for (const certificate of certificates) this.#proven.add(certificate);
  }

  /** Resolves when the login has been answered, or waits for a challenge. True: the session was lost meanwhile. */
  async login(id: SessionId, remote: Remote, message: LoginMessage, now: Now): Promise<boolean> {
    try {
      const proven = proveLogin(this.#hub.options.crypto, this.#proven, remote, message, now.wall);
      const identity = hex(proven.certificate.identity);
      const older = this.#hub.sessions.ofIdentity(identity) ?? this.#elsewhere(identity);
      if (older === undefined || older.instance === hex(message.instance))
        return await this.#admit(id, proven, now);
      this.#challenge({ ...older, identity }, id, proven, now);
    } catch (error) {
      this.#hub.refuse(id, error);
    }
    return false;
  }

  /** Whether a pong was the older connection's answer to a challenge: then the newer is refused. */
  answered(session: Session, pingId: number): boolean {
    const challenge = this.#challenges.get(session.identity);
    const asked = this.#asked.get(session.identity);
    if (asked?.session === session.id && asked.pingId === pingId) {
      this.#asked.delete(session.identity);
      this.#hub.federation?.to(asked.node, { t: 'challenged', identity: session.identity });
      this.#notice(session.id);
      return true;
    }
    if (challenge?.older !== session.id || challenge.pingId !== pingId) return false;
    this.#refuseNewer(session.identity, challenge);
    this.#notice(session.id);
    return true;
  }

  /** Another node asks whether the connection that this one has still answers. */
  asked(identity: string, node: string, now: Now): void {
    const session = this.#hub.sessions.ofIdentity(identity);
    if (session === undefined) return;
    const pingId = this.#hub.newPingId();
    this.#asked.set(identity, { session: session.id, pingId, node });
    forgetOldest(this.#asked, maxAsked);
    this.#hub.send(session.id, { t: 'ping', id: pingId, serverTime: now.wall });
  }

  /** The connection that another node has did answer. */
  alive(identity: string): void {
    const challenge = this.#challenges.get(identity);
    if (challenge !== undefined && challenge.older === undefined)
      this.#refuseNewer(identity, challenge);
  }

  #refuseNewer(identity: string, { newer }: Challenge): void {
    this.#endChallenge(identity);
    this.#hub.refuse(newer, new Refusal('identity-in-use'));
  }

  #notice(session: SessionId): void {
    const { code, message } = new Refusal('identity-in-use');
    this.#hub.send(session, { t: 'notice', code, message });
  }

  /** The connection that another node has with this identity, as far as it is known to live. */
  #elsewhere(identity: string): { readonly id: undefined; readonly instance: string } | undefined {
    const present = this.#hub.directory.ofIdentity(identity);
    if (present === undefined || present.presence !== 'online') return undefined;
    return present.node === this.#hub.options.node
      ? undefined
      : { id: undefined, instance: present.instance };
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

  #challenge(older: Older, newer: SessionId, proven: ProvenLogin, now: Now): void {
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
    if (older.id !== undefined) {
      this.#hub.send(older.id, { t: 'ping', id: pingId, serverTime: now.wall });
      return;
    }
    const { identity } = older;
    const node = this.#hub.directory.ofIdentity(identity)?.node;
    if (node !== undefined) this.#hub.federation?.to(node, { t: 'challenge', identity });
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
        (tx) => this.#hub.telling(tx, login(tx, context, proven), ({ sync }) => toldBySync(sync)),
        ({ result: loggedIn, news }) => {
          this.#hub.heard(news, now);
          this.#enter(id, proven, loggedIn, now);
          const { renewAt } = loggedIn;
          if (renewAt !== undefined)
            this.#renewals.schedule(loggedIn.client.client_id, renewAt, now);
        },
        ({ result: { enrolled, events } }) => enrolled || events.length > 0,
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
    const { delivery, directory, federation, options, sessions } = this.#hub;
    const { client, networks } = loggedIn;
    const clientId = client.client_id;
    const serial = client.login_serial;
    const known = directory.get(clientId);
    if (known !== undefined && known.serial > serial) {
      // It has gone on to another node while this login was at the database.
      this.#hub.close(id, closeReplaced);
      return;
    }
    const older = sessions.ofClient(clientId);
    if (older !== undefined) {
      sessions.remove(older);
      this.#liveness.forget(older);
      this.#hub.close(older.id, closeReplaced);
    }
    this.#hub.cancel({ kind: 'grace', client: clientId });
    const session = sessionOf(id, clientId, proven);
    const { identity, instance } = session;
    const before = known?.presence;
    const unnamed = delivery.unnamed(known, networks);
    directory.set(clientId, 'online', networks, { node: options.node, serial, identity, instance });
    sessions.add(session);
    federation?.all({
      t: 'online',
      clientId,
      serial,
      identity,
      instance,
      networks: networks.map(participating),
    });
    delivery.deliver(loggedIn.events);
    this.#hub.send(id, this.#welcome(loggedIn, now));
    this.#relayLists.welcome(session, proven.certificate.identity, now);
    delivery.synchronise(clientId, loggedIn.sync);
    const ids = networks.map(({ network }) => network);
    this.#hub.send(id, { t: 'synchronised', networks: ids });
    for (const { network, revision } of networks)
      delivery.entered(clientId, network, revision, true);
    for (const { network } of unnamed) delivery.onBehind(network, true);
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

const sessionOf = (
  id: SessionId,
  clientId: string,
  { message, remote, certificate }: ProvenLogin,
): Session => ({
  id,
  clientId,
  identity: hex(certificate.identity),
  instance: hex(message.instance),
  prefix: remote.prefix,
  address: remote.address,
  relays: remote.relays === true,
  rttMs: undefined,
  ping: undefined,
  requestsInWork: 0,
});
