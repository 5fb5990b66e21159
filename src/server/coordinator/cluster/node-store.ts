/** What nodes keep in the database for each other: that they live, and who is connected to whom. */
import { idGroups } from '../../store/id-groups.ts';
import { prepared } from '../../store/prepared.ts';
import type { ClientRow, Db, NodeRow } from '../../store/schema.ts';

/** Nodes that ended so long ago are forgotten. */
const forgetNodesMs = 7 * 86_400_000;

/** The node begins, or lives on; `beat` counts up. */
export async function beatNode(tx: Db, node: Omit<NodeRow, 'beat'>): Promise<void> {
  const { node_id, ...rest } = node;
  await tx
    .insertInto('nodes')
    .values({ ...node, beat: 1 })
    .onConflict((conflict) =>
      conflict.column('node_id').doUpdateSet((eb) => ({ ...rest, beat: eb('nodes.beat', '+', 1) })),
    )
    .execute();
}

export async function forgetNodes(tx: Db, nowMs: number): Promise<void> {
  await tx
    .deleteFrom('nodes')
    .where('started_at', '<', nowMs - forgetNodesMs)
    .where('state', '=', 'ended')
    .execute();
}

export const nodeRows = (db: Db): Promise<NodeRow[]> =>
  db.selectFrom('nodes').selectAll().orderBy('node_id').execute();

/** Where a client is, as the store says. */
export interface Sighting {
  readonly clientId: string;
  readonly node: string | null;
  readonly connected: ClientRow['connected'];
  readonly serial: number;
  readonly identity: Uint8Array;
  readonly instance: string;
}

const sightings = (db: Db) =>
  db
    .selectFrom('clients')
    .select([
      'client_id as clientId',
      'node',
      'connected',
      'login_serial as serial',
      'identity',
      'instance',
    ]);

/** Everybody who is connected, or was a moment ago; of some nodes or of all. */
export const connectedTo = (db: Db, nodes: readonly string[] | undefined): Promise<Sighting[]> => {
  const query = sightings(db).where('connected', '>', 0);
  return (nodes === undefined ? query : query.where('node', 'in', nodes)).execute();
};

/** Everybody who has come, been lost or left since then, whom nodes whose clocks are right have written. */
export const changedSince = (db: Db, wallMs: number): Promise<Sighting[]> =>
  sightings(db).where('last_seen_at', '>=', wallMs).execute();

export async function sightingsOf(db: Db, clients: readonly string[]): Promise<Sighting[]> {
  const found: Sighting[] = [];
  for (const ids of idGroups(clients))
    found.push(...(await sightings(db).where('client_id', 'in', ids).execute()));
  return found;
}

/** Says how the connection that began with this login is; a later login, wherever, is left alone. */
export async function writeConnected(
  tx: Db,
  client: { readonly clientId: string; readonly serial: number },
  connected: ClientRow['connected'],
  nowMs: number,
): Promise<void> {
  await updateConnected(tx, client.clientId, client.serial, connected, nowMs);
}

const updateConnected = prepared(
  (db: Db, client: string, serial: number, connected: ClientRow['connected'], nowMs: number) =>
    db
      .updateTable('clients')
      .set({ connected, last_seen_at: nowMs })
      .where('client_id', '=', client)
      .where('login_serial', '=', serial),
);

/** A node is gone, and those of its clients who were not back in time with it. */
export async function clearNode(tx: Db, node: string, nowMs: number): Promise<void> {
  await tx
    .updateTable('clients')
    .set({ connected: 0, last_seen_at: nowMs })
    .where('node', '=', node)
    .where('connected', '>', 0)
    .execute();
  await tx
    .updateTable('relays')
    .set({ connected: 0, last_seen_at: nowMs })
    .where('node', '=', node)
    .where('connected', '=', 1)
    .execute();
}

/** A node starts: whoever was connected to it before is not. */
export async function unconfirmAll(tx: Db, node: string, nowMs: number): Promise<void> {
  await tx
    .updateTable('clients')
    .set({ connected: 2, node, last_seen_at: nowMs })
    .where((eb) => eb.or([eb('node', '=', node), eb('node', 'is', null)]))
    .where('connected', '=', 1)
    .execute();
}
