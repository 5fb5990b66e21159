/** Tickets that must not be honoured any more: who is told, and what is kept for relays that come later. */
import type { Now } from '#core/time.ts';
import { maxRevocationsPerMessage, type RelayRevocation } from '#wire/relay-control.ts';
import type { SessionId } from '../sessions.ts';
import type { Board } from './board.ts';
import type { Relay } from './registry.ts';
import { recordRevocation } from './relay-store.ts';

export class Revocations {
  readonly #board: Board;

  constructor(board: Board) {
    this.#board = board;
    board.lists.onParted = (clientId, relay, now) => this.parted(clientId, relay, now);
  }

  /** At every relay: the client has been removed. It is in the database already. */
  everywhere(revocation: RelayRevocation): void {
    this.#board.hub.federation?.all({ t: 'revoke', ...revocation });
    this.heard(undefined, revocation);
  }

  /** From another node, or for all of this one: at one relay, or at every one. */
  heard(relay: string | undefined, revocation: RelayRevocation): void {
    const named = relay === undefined ? undefined : this.#board.registry.get(relay);
    if (named !== undefined) this.#tell(named, [revocation]);
    if (relay !== undefined) return;
    for (const relay of this.#board.registry.all()) this.#tell(relay, [revocation]);
  }

  /** A client shares no network with a relay's owner any more. */
  parted(clientId: string, relay: Relay, now: Now): void {
    const { hub } = this.#board;
    const revocation = { clientId, serial: hub.ticketSerials.next(now) };
    this.#tell(relay, [revocation]);
    hub.federation?.all({ t: 'revoke', relay: relay.id, ...revocation });
    const context = hub.context(now);
    hub.options.store.commits
      .run((tx) => recordRevocation(tx, context, relay.id, revocation))
      .catch((error) => hub.options.failed?.(error));
  }

  send(session: SessionId, revoked: readonly RelayRevocation[]): void {
    for (let from = 0; from < revoked.length; from += maxRevocationsPerMessage) {
      const part = revoked.slice(from, from + maxRevocationsPerMessage);
      this.#board.hub.send(session, { t: 'relay-revoke', revoked: part });
    }
  }

  #tell(relay: Relay, revoked: readonly RelayRevocation[]): void {
    relay.revoke?.(revoked);
    const session = this.#board.sessionOf(relay);
    if (session !== undefined) this.send(session, revoked);
  }
}
