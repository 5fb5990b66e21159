/** What is common to all kinds of relays: how they come onto the lists, and off them. */

import { Limiter } from '#core/limiter.ts';
import { sealTicketKey, ticketKeyBytes } from '#core/relay/ticket-key.ts';
import type { Now } from '#core/time.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import type { Hub } from '../hub.ts';
import { relayOffers } from '../limits.ts';
import type { SessionId } from '../sessions.ts';
import { Checks } from './checks.ts';
import { RelayLists } from './lists.ts';
import type { ResolvedOffer } from './offer.ts';
import { Registry, type Relay } from './registry.ts';
import { type RelayFacts, relayGone } from './relay-store.ts';

export class Board {
  readonly hub: Hub;
  readonly registry = new Registry();
  readonly lists: RelayLists;
  readonly checks: Checks;
  /** Offers, by client or relay. */
  readonly offers = new Limiter(relayOffers);

  constructor(hub: Hub) {
    this.hub = hub;
    this.lists = new RelayLists(hub, this.registry);
    this.checks = new Checks(hub, this.registry, this.lists, (relay, now) =>
      this.#tellState(relay, now),
    );
  }

  /** The connection that a relay is heard over: its own, or its member's. */
  sessionOf(relay: Relay): SessionId | undefined {
    return relay.owner === undefined ? relay.session : this.hub.sessions.ofClient(relay.owner)?.id;
  }

  /** Whether tickets can be sealed to it. */
  isKey(relayKey: Uint8Array): boolean {
    const { crypto } = this.hub.options;
    return sealTicketKey(crypto, relayKey, new Uint8Array(ticketKeyBytes)) !== undefined;
  }

  /** The relay as it is known, with what it says now; or a new one. */
  take(
    { id, relayKey, listing, software }: RelayFacts,
    kind: 'standalone' | 'volunteer',
    owner: string | undefined,
    source: string | undefined,
  ): Relay {
    const { udp, ws, capacity } = listing;
    const known = this.registry.get(id);
    if (known?.remote !== undefined) this.drop(known);
    else if (known !== undefined && known.kind === kind && known.owner === owner) {
      const same = JSON.stringify(known.udp) === JSON.stringify(udp);
      if (!same && kind === 'volunteer') known.state = 'checking';
      if (!same) known.unreachable = [];
      Object.assign(known, { udp, ws, capacity, source, presence: 'online' });
      known.generation++;
      return known;
    }
    const relay: Relay = {
      ...{ id, kind, relayKey, owner, software, udp, ws, capacity, source },
      ...{ session: undefined, presence: 'online', state: 'checking', unreachable: [] },
      ...{ failures: 0, generation: 1, revoke: undefined, remote: undefined },
    };
    this.registry.add(relay);
    return relay;
  }

  /** Off the lists, in memory. */
  drop(relay: Relay): void {
    this.hub.cancel({ kind: 'relay-grace', relay: relay.id });
    this.hub.cancel({ kind: 'relay-check', relay: relay.id });
    this.lists.touchAround(relay);
    this.registry.remove(relay);
  }

  /** Off the lists, and not listed again after a restart. */
  async gone(relay: Relay, now: Now): Promise<void> {
    this.drop(relay);
    this.lists.settle(now);
    try {
      const { node, store } = this.hub.options;
      await store.commits.run((tx) => relayGone(tx, now.wall, relay.id, node));
      this.announce();
    } catch (error) {
      this.hub.options.failed?.(error);
    }
  }

  /** The other nodes look for what has changed. */
  announce(): void {
    this.hub.federation?.all({ t: 'relays' });
  }

  #tellState(relay: Relay, now: Now): void {
    if (this.hub.federation !== undefined) this.#writeState(relay);
    const session = this.sessionOf(relay);
    if (session === undefined) return;
    const { id, state, unreachable } = relay;
    const message = { t: 'relay-state', id, state, serverTime: now.wall } as const;
    this.hub.send(session, { ...message, unreachable: [...unreachable] });
  }

  #writeState({ id, state, unreachable }: Relay): void {
    const { store, failed } = this.hub.options;
    const facts = { state, unreachable: JSON.stringify(unreachable) };
    store.commits
      .run((tx) => tx.updateTable('relays').set(facts).where('relay_id', '=', id).execute())
      .then(
        () => this.announce(),
        (error) => failed?.(error),
      );
  }
}

export const factsOf = (
  id: string,
  offer: RelayOffer,
  { udp, ws }: ResolvedOffer,
  software: string,
): RelayFacts => ({
  id,
  relayKey: offer.relayKey,
  listing: { udp: [...udp], ws: [...ws], capacity: offer.capacity },
  software,
});
