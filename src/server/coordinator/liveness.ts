/** Whether connections answer, and how far away they are (protocol §4, Presence). */
import type { Now } from '#core/time.ts';
import { closeGoingAway, type Hub } from './hub.ts';
import { pingIntervalMs, pingTimeoutMs } from './limits.ts';
import { measured, type Session, type SessionId } from './sessions.ts';

export class Liveness {
  readonly #hub: Hub;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  ping(session: Session, now: Now): void {
    session.ping = { id: this.#hub.newPingId(), sentAt: now.monotonic };
    this.#hub.send(session.id, { t: 'ping', id: session.ping.id, serverTime: now.wall });
    this.#hub.schedule({ kind: 'ping', session: session.id }, now, pingTimeoutMs);
  }

  /** The duty is due: pings, or gives up who has not answered. True when the session is to be taken for lost. */
  due(id: SessionId, now: Now): boolean {
    const session = this.#hub.sessions.get(id);
    if (session === undefined) return false;
    if (session.ping !== undefined) {
      this.#hub.close(id, closeGoingAway);
      return true;
    }
    this.ping(session, now);
    return false;
  }

  pong(session: Session, pingId: number, now: Now): void {
    if (session.ping?.id !== pingId) return;
    const { sentAt } = session.ping;
    session.ping = undefined;
    measured(session, now.monotonic - sentAt);
    const delayMs = Math.max(0, sentAt + pingIntervalMs - now.monotonic);
    this.#hub.schedule({ kind: 'ping', session: session.id }, now, delayMs);
  }

  forget(session: Session): void {
    this.#hub.cancel({ kind: 'ping', session: session.id });
  }
}
