/** What an operator sees of relays, and may do about them. */
import { BuriError } from '#core/errors.ts';
import type { RelayKind } from '#wire/relay-control.ts';
import type { OperatorOutcome } from '../coordinator/coordinator.ts';
import { listedUdp, type Relay } from '../coordinator/relays/registry.ts';
import { decodeListing } from '../coordinator/relays/relay-store.ts';
import type { Db, RelayRow } from '../store/schema.ts';

export interface RelayListEntry {
  readonly id: string;
  readonly kind: RelayKind;
  /** `listed`: clients are told of it; `offline`: it enrolled and is not there. */
  readonly state: 'listed' | 'unconfirmed' | 'checking' | 'unreachable' | 'offline';
  /** Client id of the member that volunteers. */
  readonly owner: string | null;
  readonly udp: readonly string[];
  readonly ws: readonly string[];
  /** Addresses that did not answer the server when it last asked. */
  readonly unreachable: readonly string[];
  readonly allocations: number | null;
  readonly software: string;
  readonly lastSeenAt: number | null;
}

export function listRelays(rows: readonly RelayRow[], known: Iterable<Relay>): RelayListEntry[] {
  const there = [...known];
  const byId = new Map(rows.map((row) => [row.relay_id, row]));
  const entries = there.map((relay): RelayListEntry => {
    const { id, kind, ws, unreachable, software, capacity } = relay;
    return {
      ...{ id, kind, ws, unreachable, software, udp: listedUdp(relay) },
      state: relay.presence === 'unconfirmed' ? 'unconfirmed' : relay.state,
      owner: relay.owner ?? null,
      allocations: capacity.allocations,
      lastSeenAt: byId.get(id)?.last_seen_at ?? null,
    };
  });
  for (const row of rows) {
    if (there.some(({ id }) => id === row.relay_id)) continue;
    const listing = decodeListing(row.listing);
    entries.push({
      ...{ id: row.relay_id, kind: row.kind, state: 'offline', owner: row.owner },
      ...{ udp: listing?.udp ?? [], ws: listing?.ws ?? [], unreachable: [] },
      ...{ allocations: listing?.capacity.allocations ?? null, software: row.software },
      lastSeenAt: row.last_seen_at,
    });
  }
  return entries;
}

/** A standalone relay or a volunteer is forgotten. BuriError: relay-not-found. */
export async function removeRelay(tx: Db, id: string): Promise<OperatorOutcome<undefined>> {
  const row = await tx
    .deleteFrom('relays')
    .where('relay_id', '=', id)
    .returning('relay_id')
    .executeTakeFirst();
  if (row === undefined)
    throw new BuriError('relay-not-found', `no relay ${id} here; 'buri server relays' lists them`);
  return { value: undefined, events: [], expelRelays: [id] };
}
