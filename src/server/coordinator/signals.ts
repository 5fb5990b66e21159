/** Sealed signals from client to client (protocol §6), also between clients of two nodes. */
import type { Now } from '#core/time.ts';
import type { ClientMessage } from '#wire/control.ts';
import type { FabricItemOf } from '../fabric/messages.ts';
import type { Hub } from './hub.ts';
import type { ProbeGrants } from './probe-grants.ts';
import { punchDelays, type Session } from './sessions.ts';

type SignalMessage = Extract<ClientMessage, { t: 'signal' }>;

export class Signals {
  readonly #hub: Hub;
  readonly #probes: ProbeGrants;

  constructor(hub: Hub, probes: ProbeGrants) {
    this.#hub = hub;
    this.#probes = probes;
  }

  /** Whoever may not be reached is answered like whoever is not there. */
  send(session: Session, message: SignalMessage, now: Now): void {
    const { to, sealed, punch } = message;
    const from = session.clientId;
    const { directory, sessions } = this.#hub;
    const other = sessions.ofClient(to);
    if (other === session || !directory.meet(from, to)) {
      this.#hub.send(session.id, { t: 'undelivered', to });
      return;
    }
    const proven = this.#grant(from, to, message, now);
    if (other === undefined) {
      this.#forward(session, message, proven);
      return;
    }
    const granted = proven.length === 0 ? {} : { proven };
    if (!punch) {
      this.#hub.send(other.id, { t: 'signal', from, sealed, ...granted });
      return;
    }
    const { aMs, bMs } = punchDelays(session, other);
    this.#hub.send(other.id, { t: 'signal', from, sealed, punchInMs: bMs, ...granted });
    this.#hub.send(session.id, { t: 'punch', peer: to, punchInMs: aMs });
  }

  /** From another node: for a client of this one. */
  received(item: FabricItemOf<'signal' | 'undelivered' | 'punch'>, node: string): void {
    const { federation, directory, latest, sessions } = this.#hub;
    if (item.t !== 'signal') {
      const session = sessions.ofClient(item.client);
      if (session === undefined) return;
      if (item.t === 'undelivered') this.#hub.send(session.id, { t: 'undelivered', to: item.to });
      else this.#hub.send(session.id, { t: 'punch', peer: item.peer, punchInMs: item.inMs });
      return;
    }
    const { from, to, sealed, probes } = item;
    const other = sessions.ofClient(to);
    if (other === undefined || !directory.meet(from, to)) {
      federation?.to(node, { t: 'undelivered', client: from, to });
      return;
    }
    // This node grants what goes to addresses of its own clients: it must know who would like to send there.
    if (probes && latest !== undefined) this.#probes.wish(from, to, latest.monotonic);
    const granted = item.proven.length === 0 ? {} : { proven: item.proven };
    if (!item.punch) {
      this.#hub.send(other.id, { t: 'signal', from, sealed, ...granted });
      return;
    }
    const { aMs, bMs } = punchDelays({ rttMs: item.rttMs }, other);
    this.#hub.send(other.id, { t: 'signal', from, sealed, punchInMs: bMs, ...granted });
    federation?.to(node, { t: 'punch', client: from, peer: to, inMs: aMs });
  }

  #forward(session: Session, message: SignalMessage, proven: string[]): void {
    const { to, sealed, punch, probes = false } = message;
    const { clientId: from, rttMs } = session;
    const node = this.#hub.directory.get(to)?.node;
    const rtt = rttMs === undefined ? {} : { rttMs: Math.round(rttMs) };
    const item = { t: 'signal', from, to, sealed, punch, probes, proven, ...rtt } as const;
    const isOurs = node === undefined || node === this.#hub.options.node;
    if (isOurs || this.#hub.federation?.to(node, item) !== true)
      this.#hub.send(session.id, { t: 'undelivered', to });
  }

  /** Who gets a signal may send its sender more probes, when it asked for that and the sender proved its addresses. */
  #grant(from: string, to: string, message: SignalMessage, now: Now): string[] {
    if (message.probes === true) this.#probes.wish(from, to, now.monotonic);
    const { proofs } = message;
    if (proofs === undefined) return [];
    return this.#probes.grant(to, from, proofs, now.monotonic, now.wall);
  }
}
