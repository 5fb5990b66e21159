/** Invariants of what the machines hold, looked at after every step. */

import { maxPairs } from '#core/path/limits.ts';
import { maxLoggedRevisions } from '#server/coordinator/limits.ts';
import { maxNetworksPerClient } from '#wire/control.ts';
import { maxCandidates } from '#wire/signal.ts';
import type { World } from '../world.ts';
import { maxMappingsPerRouter } from './bounds.ts';
import type { Daemon } from './daemon.ts';
import { Violation } from './trace.ts';

/** Throws a Violation when something has outgrown its bound, or exists without a reason. */
export function checkHoldings(world: World): void {
  for (const daemon of world.daemons) checkMember(world, daemon);
  for (const site of world.sites)
    atMost(`mappings of ${site.name}`, site.home.nat.size, maxMappingsPerRouter);
  if (!world.server.isUp) return;
  atMost('clients online', world.server.coordinator.onlineClients, world.daemons.length);
}

function checkMember(world: World, { name, member, plane }: Daemon): void {
  if (member === undefined || plane === undefined) return;
  const { peers } = member.manager;
  atMost(`networks of ${name}`, member.networks.size, maxNetworksPerClient);
  atMost(`peers of ${name}`, peers.size, world.daemons.length - 1);
  atMost(`candidates of ${name}`, member.discovered.candidates.length, maxCandidates);
  if (plane.size !== peers.size) {
    throw new Violation(`${name} has ${peers.size} peers, its data plane ${plane.size}`);
  }
  for (const peer of peers.values()) {
    const { clientId } = peer.pair;
    if (!member.pairs.has(clientId)) {
      throw new Violation(`${name} has a peer ${clientId} with whom it may not talk`);
    }
    const { candidates } = member.manager.pathView(peer);
    atMost(`candidate pairs of ${name} with ${clientId}`, candidates.length, maxPairs);
  }
}

/** The log of changes is cut where views are cheaper. */
export async function checkLog(world: World): Promise<void> {
  const rows = await world.server.store.db
    .selectFrom('network_changes')
    .select((eb) => [
      'network_id',
      eb.fn.min<number>('revision').as('first'),
      eb.fn.max<number>('revision').as('last'),
    ])
    .groupBy('network_id')
    .execute();
  for (const { network_id, first, last } of rows) {
    atMost(
      `logged revisions of ${network_id}`,
      Number(last) - Number(first) + 1,
      maxLoggedRevisions,
    );
  }
}

function atMost(what: string, is: number, bound: number): void {
  if (is > bound) throw new Violation(`${what}: ${is}, at most ${bound} expected`);
}
