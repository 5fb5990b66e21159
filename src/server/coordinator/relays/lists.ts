/**
 * Who is told of which relays, with which tickets (protocol §11). A list goes out with the welcome, when something in it has
 * changed, and when its tickets are at half of their life; changes that come together go out together, a few lists a turn.
 */
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import { maxRelays, type RelayEntry } from '#wire/relay-control.ts';
import type { Hub } from '../hub.ts';
import {
  defaultRelayBytesPerSecond,
  defaultRelayPacketsPerSecond,
  relayListDelayMs,
  relayListPauseMs,
  relayListsPerTurn,
  relayTicketLifetimeMs,
} from '../limits.ts';
import type { Session } from '../sessions.ts';
import { isListed, listedUdp, type Registry, type Relay } from './registry.ts';
import { issueTicket, type Ticket } from './tickets.ts';

interface HeldTicket extends Ticket {
  readonly renewAt: MonotonicMs;
}

/** A client that is connected and wants to hear of relays. */
interface Holder {
  readonly session: Session;
  readonly identity: Uint8Array;
  readonly tickets: Map<string, HeldTicket>;
  /** What it was told last. */
  told: string;
}

const rank = { server: 0, standalone: 1, volunteer: 2 } as const;
const byRank = (a: Relay, b: Relay) =>
  rank[a.kind] - rank[b.kind] || (a.id < b.id ? -1 : Number(a.id > b.id));

export class RelayLists {
  readonly #hub: Hub;
  readonly #registry: Registry;
  readonly #holders = new Map<string, Holder>();
  readonly #dirty = new Set<string>();
  /** A client has met the owner of a relay that it holds a ticket of, and does not any more. */
  onParted: (clientId: string, relay: Relay, now: Now) => void = () => {};

  constructor(hub: Hub, registry: Registry) {
    this.#hub = hub;
    this.#registry = registry;
  }

  /** A client has logged in: it is told at once, also of none. */
  welcome(session: Session, identity: Uint8Array, now: Now): void {
    this.#holders.delete(session.clientId);
    if (!session.relays) return;
    const holder: Holder = { session, identity, tickets: new Map(), told: '' };
    this.#holders.set(session.clientId, holder);
    this.#tell(holder, now);
  }

  forget(session: Session): void {
    const { clientId } = session;
    if (this.#holders.get(clientId)?.session !== session) return;
    this.#holders.delete(clientId);
    this.#dirty.delete(clientId);
    this.#hub.cancel({ kind: 'relay-tickets', client: clientId });
  }

  /** What this client is told may have changed. */
  touch(clientId: string): void {
    if (this.#holders.has(clientId)) this.#dirty.add(clientId);
  }

  /** A relay came, went or changed: whoever sees it, or may. */
  touchAround(relay: Relay): void {
    if (relay.owner === undefined) {
      for (const clientId of this.#holders.keys()) this.#dirty.add(clientId);
      return;
    }
    this.touch(relay.owner);
    for (const network of this.#hub.directory.get(relay.owner)?.networks.keys() ?? [])
      this.touchNetwork(network);
    for (const [clientId, { tickets }] of this.#holders)
      if (tickets.has(relay.id)) this.#dirty.add(clientId);
  }

  touchNetwork(network: string): void {
    for (const { clientId } of this.#hub.directory.presentIn(network)) this.touch(clientId);
  }

  /** To be called when everything that belongs together has happened. */
  settle(now: Now): void {
    if (this.#dirty.size > 0 && !this.#hub.isScheduled({ kind: 'relay-lists' }))
      this.#hub.schedule({ kind: 'relay-lists' }, now, relayListDelayMs);
  }

  /** The duty is due: the next few lists. */
  due(now: Now): void {
    let left = relayListsPerTurn;
    for (const clientId of this.#dirty) {
      if (left-- === 0) break;
      this.#dirty.delete(clientId);
      const holder = this.#holders.get(clientId);
      if (holder !== undefined) this.#tell(holder, now);
    }
    if (this.#dirty.size > 0) this.#hub.schedule({ kind: 'relay-lists' }, now, relayListPauseMs);
  }

  #tell(holder: Holder, now: Now): void {
    const { clientId } = holder.session;
    const relays: RelayEntry[] = [];
    const visible = this.#visible(clientId);
    for (const relay of visible) {
      const held = this.#ticket(holder, relay, now);
      if (held === undefined) continue;
      const { id, kind, ws } = relay;
      const { ticket, key } = held;
      relays.push({ id, kind, udp: [...listedUdp(relay)], ws: [...ws], ticket, key });
    }
    this.#part(holder, visible, now);
    const told = JSON.stringify(
      relays.map(({ id, udp, ws }) => [id, udp, ws, holder.tickets.get(id)?.serial]),
    );
    if (told !== holder.told) {
      holder.told = told;
      this.#hub.send(holder.session.id, { t: 'relays', relays });
    }
    const next = Math.min(...[...holder.tickets.values()].map(({ renewAt }) => renewAt));
    if (next === Number.POSITIVE_INFINITY)
      this.#hub.cancel({ kind: 'relay-tickets', client: clientId });
    else {
      const delayMs = Math.max(0, next - now.monotonic);
      this.#hub.schedule({ kind: 'relay-tickets', client: clientId }, now, delayMs);
    }
  }

  #visible(clientId: string): Relay[] {
    const visible: Relay[] = [];
    for (const relay of this.#registry.all())
      if (isListed(relay) && this.#mayUse(clientId, relay)) visible.push(relay);
    return visible.sort(byRank).slice(0, maxRelays);
  }

  #mayUse(clientId: string, { owner }: Relay): boolean {
    return owner === undefined || owner === clientId || this.#hub.directory.meet(owner, clientId);
  }

  #ticket(holder: Holder, relay: Relay, now: Now): HeldTicket | undefined {
    const held = holder.tickets.get(relay.id);
    if (held !== undefined && held.renewAt > now.monotonic) return held;
    const { crypto, sign, config } = this.#hub.options;
    const { clientId } = holder.session;
    const limits = config.relayLimits ?? {
      bytesPerSecond: defaultRelayBytesPerSecond,
      packetsPerSecond: defaultRelayPacketsPerSecond,
    };
    const issued = issueTicket(
      crypto,
      sign,
      relay,
      { clientId, identity: holder.identity },
      {
        now,
        serial: this.#hub.ticketSerials.next(now),
        bytesPerSecond: Math.min(limits.bytesPerSecond, relay.capacity.bytesPerSecond),
        packetsPerSecond: limits.packetsPerSecond,
      },
    );
    if (issued === undefined) return undefined;
    // Spread over a tenth: everybody logs in at once after a restart.
    const [spread = 0] = crypto.random(1);
    const lifeMs = Math.round((relayTicketLifetimeMs / 2) * (1 - spread / 2560));
    const fresh = { ...issued, renewAt: after(now.monotonic, lifeMs) };
    holder.tickets.set(relay.id, fresh);
    return fresh;
  }

  /** Forgets tickets of relays that are no longer on the list; one whose owner is met no more must not serve this client. */
  #part(holder: Holder, visible: readonly Relay[], now: Now): void {
    const { clientId } = holder.session;
    for (const id of [...holder.tickets.keys()]) {
      if (visible.some((relay) => relay.id === id)) continue;
      holder.tickets.delete(id);
      const relay = this.#registry.get(id);
      if (relay !== undefined && !this.#mayUse(clientId, relay))
        this.onParted(clientId, relay, now);
    }
  }
}
