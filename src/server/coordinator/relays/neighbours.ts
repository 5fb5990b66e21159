/** Relays of other nodes: listed here as the database has them, asked and heard there. */
import type { RelayRow } from '../../store/schema.ts';
import { decodeNodeFacts } from '../cluster/node-facts.ts';
import type { Peer } from '../cluster/peers.ts';
import type { Board } from './board.ts';
import type { Relay } from './registry.ts';
import { decodeListing } from './relay-store.ts';

export class Neighbours {
  readonly #board: Board;
  /** A relay that was this node's has gone on to another one. */
  readonly #release: (relay: Relay) => void;

  constructor(board: Board, release: (relay: Relay) => void) {
    this.#board = board;
    this.#release = release;
  }

  /** @param rows those that are connected somewhere. */
  compare(rows: readonly RelayRow[], peers: readonly Peer[]): void {
    const { hub, registry } = this.#board;
    const there = new Map<string, Relay>();
    for (const row of rows) {
      const relay = row.node === hub.options.node ? undefined : fromRow(row);
      if (relay !== undefined) there.set(relay.id, relay);
    }
    for (const peer of peers) {
      const relay = fromNode(peer);
      if (relay !== undefined) there.set(relay.id, relay);
    }
    for (const relay of [...registry.all()])
      if (relay.remote !== undefined && !there.has(relay.id)) this.#board.drop(relay);
    for (const relay of there.values()) this.#list(relay);
  }

  /** A node is gone, with the relays that it had. */
  gone(node: string): void {
    for (const relay of [...this.#board.registry.all()])
      if (relay.remote === node) this.#board.drop(relay);
  }

  #list(relay: Relay): void {
    const known = this.#board.registry.get(relay.id);
    if (known !== undefined) {
      if (known.remote !== undefined && shown(known) === shown(relay)) return;
      if (known.remote === undefined) this.#release(known);
      this.#board.drop(known);
    }
    this.#board.registry.add(relay);
    this.#board.lists.touchAround(relay);
  }
}

const shown = ({ remote, kind, owner, udp, ws, state, unreachable, capacity }: Relay) =>
  JSON.stringify([remote, kind, owner, udp, ws, state, unreachable, capacity]);

const elsewhere = {
  source: undefined,
  session: undefined,
  presence: 'online',
  failures: 0,
  generation: 0,
  revoke: undefined,
} as const;

function fromRow(row: RelayRow): Relay | undefined {
  const listing = decodeListing(row.listing);
  if (listing === undefined || row.node === null) return undefined;
  const { relay_id: id, kind, relay_key: relayKey, software, state, node: remote } = row;
  return {
    ...elsewhere,
    ...{ id, kind, relayKey, software, state, remote, owner: row.owner ?? undefined },
    ...{ udp: listing.udp, ws: listing.ws, capacity: listing.capacity },
    unreachable: addresses(row.unreachable),
  };
}

function fromNode({ id, facts, state }: Peer): Relay | undefined {
  const relay = state === 'serving' ? decodeNodeFacts(facts)?.relay : undefined;
  if (relay === undefined) return undefined;
  const { udp, ws, capacity } = relay;
  return {
    ...elsewhere,
    ...{ id, kind: 'server', software: '', state: 'listed', remote: id, owner: undefined },
    ...{
      udp,
      ws,
      capacity,
      relayKey: new Uint8Array(Buffer.from(relay.relayKey, 'hex')),
      unreachable: [],
    },
  };
}

function addresses(text: string): string[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
  } catch {
    return [];
  }
}
