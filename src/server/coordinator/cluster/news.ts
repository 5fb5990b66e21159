/**
 * Members whom clients are about to be told of, and of whom the database knows more than this node has heard: read in the
 * transaction that finds the members, believed before they are told. So a client that logs in, or joins, where nobody took
 * part before, or while the fabric is away, is not told first that the others are offline.
 */
import type { Db } from '../../store/schema.ts';
import type { Directory } from '../directory.ts';
import type { CoordinatorEvent, NetworkDelta, SeenMember } from '../events.ts';
import { type ParticipatingByClient, participationsOfMany, type SyncItem } from '../sync.ts';
import { type Sighting, sightingsOf } from './node-store.ts';

export interface Told {
  readonly network: string;
  readonly members: readonly SeenMember[];
}

export interface News {
  /** Clients that have logged in somewhere since this node heard of them. */
  readonly sightings: readonly Sighting[];
  readonly networks: ParticipatingByClient;
  readonly told: readonly Told[];
}

export function toldByEvents(events: readonly CoordinatorEvent[]): Told[] {
  return events.flatMap((event) => {
    if (event.kind === 'entered') return [event.view];
    return event.kind === 'delta' ? [toldByDelta(event.delta)] : [];
  });
}

export function toldBySync(items: readonly SyncItem[]): Told[] {
  return items.flatMap((item) => {
    if (item.kind === 'view') return [item.view];
    return item.kind === 'delta' ? [{ network: item.delta.network, members: item.members }] : [];
  });
}

function toldByDelta({ network, changes }: NetworkDelta): Told {
  const members = changes.flatMap((change) => (change.op === 'member' ? [change.member] : []));
  return { network, members };
}

/** @param node this one, which knows best of its own clients. */
export async function newsOf(
  tx: Db,
  directory: Directory,
  node: string,
  told: readonly Told[],
): Promise<News> {
  const strangers = new Set<string>();
  for (const { members } of told)
    for (const { clientId, connected, serial, node: seenAt } of members)
      if (connected > 0 && seenAt !== node && (directory.get(clientId)?.serial ?? -1) < serial)
        strangers.add(clientId);
  if (strangers.size === 0) return { sightings: [], networks: new Map(), told };
  const ids = [...strangers];
  return {
    sightings: await sightingsOf(tx, ids),
    networks: await participationsOfMany(tx, ids),
    told,
  };
}

/** Members that this node knows from elsewhere, and not in this network. */
export function* unknownThere(
  directory: Directory,
  node: string,
  told: readonly Told[],
): Iterable<{ readonly clientId: string; readonly network: string; readonly active: boolean }> {
  for (const { network, members } of told)
    for (const { clientId, active } of members) {
      const present = directory.get(clientId);
      if (present === undefined || present.node === node) continue;
      if (present.networks.get(network)?.state === 'member') continue;
      yield { clientId, network, active: active === 1 };
    }
}
