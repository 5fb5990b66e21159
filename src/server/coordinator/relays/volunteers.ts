/** Members that volunteer as relays: what they may offer, and when it ends. A volunteer is there as long as its member is. */
import type { Now } from '#core/time.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import { maxVolunteers } from '../limits.ts';
import type { Session } from '../sessions.ts';
import { type Board, factsOf } from './board.ts';
import { type ResolvedOffer, resolveOffer } from './offer.ts';
import { relayIdOf } from './registry.ts';
import { revocationsFor, saveVolunteer } from './relay-store.ts';
import type { Revocations } from './revocations.ts';

export class Volunteers {
  readonly #board: Board;
  readonly #revocations: Revocations;
  /** Owners that may have gone offline. */
  readonly #mayBeGone = new Set<string>();

  constructor(board: Board, revocations: Revocations) {
    this.#board = board;
    this.#revocations = revocations;
    board.hub.directory.onChange = (clientId, network) =>
      this.#participationChanged(clientId, network);
  }

  /** After a restart: the owner may have been offline. */
  resumed(owner: string): void {
    this.#mayBeGone.add(owner);
  }

  /** A member volunteers, or does not any more. */
  async offer(session: Session, offer: RelayOffer | undefined, now: Now): Promise<void> {
    const { hub, registry, checks } = this.#board;
    const { clientId } = session;
    const mine = registry.ofOwner(clientId);
    if (offer === undefined) {
      if (mine !== undefined) await this.#board.gone(mine, now);
      return;
    }
    const id = relayIdOf(hub.options.crypto, offer.relayKey);
    const resolved = resolveOffer(offer, session.address, true);
    const reason = this.#refusal(session, id, offer, resolved, now);
    if (reason !== undefined) {
      const unreachable = [...resolved.refused];
      const state = { t: 'relay-state', id, state: 'refused', reason } as const;
      hub.send(session.id, { ...state, unreachable, serverTime: now.wall });
      return;
    }
    if (mine !== undefined && mine.id !== id) this.#board.drop(mine);
    const facts = factsOf(id, offer, resolved, 'member');
    const context = hub.context(now);
    try {
      await hub.options.store.commits.run(
        async (tx) => {
          await saveVolunteer(tx, context, facts, clientId);
          return await revocationsFor(tx, context, id);
        },
        (revoked) => {
          const relay = this.#board.take(facts, 'volunteer', clientId, session.address);
          checks.begin(relay, resolved.refused, now);
          this.#revocations.send(session.id, revoked);
        },
      );
    } catch (error) {
      hub.options.failed?.(error);
    }
    // The member may have gone while its offer was at the database.
    this.#mayBeGone.add(clientId);
  }

  /** A client is out of a network. One that is not connected may still hold tickets of volunteers in it. */
  left(clientId: string, network: string): void {
    const { hub, registry } = this.#board;
    if (hub.sessions.ofClient(clientId) !== undefined || hub.latest === undefined) return;
    for (const { clientId: owner } of hub.directory.presentIn(network)) {
      const relay = registry.ofOwner(owner);
      if (relay !== undefined && owner !== clientId)
        this.#revocations.parted(clientId, relay, hub.latest);
    }
  }

  /** Takes those off the lists whose member is not there any more. */
  settle(now: Now): void {
    const { hub, registry } = this.#board;
    for (const owner of this.#mayBeGone) {
      const relay = registry.ofOwner(owner);
      const isOurs = relay !== undefined && relay.remote === undefined;
      if (isOurs && hub.directory.get(owner) === undefined) void this.#board.gone(relay, now);
    }
    this.#mayBeGone.clear();
  }

  #participationChanged(clientId: string, network: string | undefined): void {
    const { lists, registry } = this.#board;
    if (registry.volunteers === 0) return;
    lists.touch(clientId);
    if (registry.ofOwner(clientId) === undefined) return;
    this.#mayBeGone.add(clientId);
    if (network !== undefined) lists.touchNetwork(network);
  }

  /** Why a member cannot be this relay; undefined when it may try. */
  #refusal(
    { clientId }: Session,
    id: string,
    offer: RelayOffer,
    resolved: ResolvedOffer,
    now: Now,
  ): string | undefined {
    const { registry, offers } = this.#board;
    const known = registry.get(id);
    if (offers.tryTake(clientId, now.monotonic) > 0) return 'too many offers; wait a little';
    if (known !== undefined && (known.kind !== 'volunteer' || known.owner !== clientId))
      return 'another relay has the same key; give each relay a directory of its own';
    if (registry.volunteers >= maxVolunteers && registry.ofOwner(clientId) === undefined)
      return 'the server knows as many volunteers as it may';
    if (resolved.udp.length === 0)
      return 'no UDP address that the server sees this device at; offer 0.0.0.0 and the port';
    return this.#board.isKey(offer.relayKey) ? undefined : 'its key is none';
  }
}
