/** Logged-in connections: which client, whether it answers, and how far away it is. */
import type { MonotonicMs } from '#core/time.ts';
import { maxRequestsInWork } from './limits.ts';

/** Names a connection; the endpoint counts them up. */
export type SessionId = number;

export interface Session {
  readonly id: SessionId;
  readonly clientId: string;
  /** Hexadecimal identity and instance. */
  readonly identity: string;
  readonly instance: string;
  readonly prefix: string;
  /** Where the connection comes from; undefined when that is not known. */
  readonly address: string | undefined;
  /** The client wants to hear of relays. */
  readonly relays: boolean;
  /** Smoothed round trip (RFC 6298), milliseconds; undefined until the first pong. */
  rttMs: number | undefined;
  ping: { readonly id: number; readonly sentAt: MonotonicMs } | undefined;
  requestsInWork: number;
}

export class Sessions {
  readonly #byId = new Map<SessionId, Session>();
  readonly #byClient = new Map<string, Session>();
  readonly #byIdentity = new Map<string, Session>();

  get size(): number {
    return this.#byId.size;
  }

  add(session: Session): void {
    this.#byId.set(session.id, session);
    this.#byClient.set(session.clientId, session);
    this.#byIdentity.set(session.identity, session);
  }

  /** Forgets a session; false when it was none, or was replaced before. */
  remove(session: Session): boolean {
    if (!this.#byId.delete(session.id)) return false;
    if (this.#byClient.get(session.clientId) === session) this.#byClient.delete(session.clientId);
    if (this.#byIdentity.get(session.identity) === session)
      this.#byIdentity.delete(session.identity);
    return true;
  }

  get = (id: SessionId) => this.#byId.get(id);
  ofClient = (clientId: string) => this.#byClient.get(clientId);
  ofIdentity = (identity: string) => this.#byIdentity.get(identity);
  all = () => this.#byId.values();
}

/** False when the session has as many requests in work as it may. */
export function beginRequest(session: Session): boolean {
  if (session.requestsInWork >= maxRequestsInWork) return false;
  session.requestsInWork++;
  return true;
}

export function measured(session: Session, rttMs: number): void {
  session.rttMs = session.rttMs === undefined ? rttMs : session.rttMs + (rttMs - session.rttMs) / 8;
}

/** Assumed until measured. */
const unknownRttMs = 100;

/**
 * Delays after receipt such that both begin at once: a message takes half a round trip, so the nearer waits for the
 * farther (protocol §6).
 */
export function punchDelays(
  a: Pick<Session, 'rttMs'>,
  b: Pick<Session, 'rttMs'>,
): { aMs: number; bMs: number } {
  const oneWayA = (a.rttMs ?? unknownRttMs) / 2;
  const oneWayB = (b.rttMs ?? unknownRttMs) / 2;
  const latest = Math.max(oneWayA, oneWayB);
  return { aMs: Math.round(latest - oneWayA), bMs: Math.round(latest - oneWayB) };
}
