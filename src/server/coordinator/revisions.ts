/** Revisions of networks and the log that deltas are made from (protocol §4, Revisions). */
import { maxRevocationsPerView, type NetworkFacts, type PendingRequest } from '#wire/control.ts';
import { prepared } from '../store/prepared.ts';
import type { ChangeKind, Db, NetworkRow } from '../store/schema.ts';
import type {
  NetworkDelta,
  NetworkView,
  SeenMember,
  StoredChange,
  StoredMember,
} from './events.ts';
import {
  maxDeltaChanges,
  maxLoggedRevisions,
  maxPendingPerNetwork,
  statementLifetimeMs,
} from './limits.ts';
import { Refusal } from './refusal.ts';

/** Raises the revision. Everything a transaction does to one network belongs to one revision. */
export async function nextRevision(tx: Db, network: string): Promise<number> {
  const row = await tx
    .updateTable('networks')
    .set((eb) => ({ revision: eb('revision', '+', 1) }))
    .where('network_id', '=', network)
    .returning('revision')
    .executeTakeFirst();
  if (row === undefined) throw new Refusal('network-not-found');
  await tx
    .deleteFrom('network_changes')
    .where('network_id', '=', network)
    .where('revision', '<=', row.revision - maxLoggedRevisions)
    .execute();
  return row.revision;
}

/** Says in the log what a revision was about. */
export async function record(
  tx: Db,
  network: string,
  revision: number,
  kind: ChangeKind,
  subject = '',
): Promise<void> {
  await tx
    .insertInto('network_changes')
    .values({ network_id: network, revision, kind, subject })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

export async function networkRow(tx: Db, network: string): Promise<NetworkRow> {
  const row = await tx
    .selectFrom('networks')
    .selectAll()
    .where('network_id', '=', network)
    .executeTakeFirst();
  if (row === undefined) throw new Refusal('network-not-found');
  return row;
}

export const factsOf = (row: NetworkRow): NetworkFacts => ({
  name: row.name,
  type: row.type as NetworkFacts['type'],
  owner: row.owner,
  locked: row.locked === 1,
  approval: row.approval as NetworkFacts['approval'],
  hasPassword: row.has_password === 1,
  epoch: row.epoch,
});

const seenQuery = (tx: Db, network: string) =>
  tx
    .selectFrom('memberships')
    .innerJoin('clients', 'clients.client_id', 'memberships.client_id')
    .select([
      'clients.client_id as clientId',
      'memberships.active as active',
      'clients.node as node',
      'clients.connected as connected',
      'clients.login_serial as serial',
    ])
    .where('memberships.network_id', '=', network);

/** Who is in it, and where they were seen. */
export const seenIn: (tx: Db, network: string) => Promise<SeenMember[]> = prepared(
  (db: Db, network: string) => seenQuery(db, network).orderBy('memberships.client_id'),
);

const memberQuery = (tx: Db, network: string) =>
  seenQuery(tx, network).select([
    'clients.nick as nick',
    'clients.certificate as certificate',
    'memberships.statement as statement',
  ]);

export const membersOf: (tx: Db, network: string) => Promise<StoredMember[]> = prepared(
  (db: Db, network: string) => memberQuery(db, network).orderBy('memberships.client_id'),
);

const memberRows = prepared((db: Db, network: string, client: string) =>
  memberQuery(db, network).where('memberships.client_id', '=', client),
);

export const memberOf = async (
  tx: Db,
  network: string,
  client: string,
): Promise<StoredMember | undefined> => (await memberRows(tx, network, client))[0];

export const pendingOf = (tx: Db, network: string): Promise<PendingRequest[]> =>
  tx
    .selectFrom('join_requests')
    .innerJoin('clients', 'clients.client_id', 'join_requests.client_id')
    .select(['clients.client_id as clientId', 'clients.nick as nick'])
    .where('join_requests.network_id', '=', network)
    .orderBy('join_requests.requested_at')
    .limit(maxPendingPerNetwork)
    .execute();

/** Those that may beat a statement in force, the newest first. The newest statement says how late it is at least. */
const revocationsOf = prepared((db: Db, network: string) =>
  db
    .selectFrom('revocations')
    .select('document')
    .where('network_id', '=', network)
    .where('issued_at', '>', (eb) =>
      eb
        .selectFrom('memberships')
        .select((of) => of(of.fn.max('issued_at'), '-', statementLifetimeMs).as('since'))
        .where('memberships.network_id', '=', network),
    )
    .orderBy('issued_at', 'desc')
    .limit(maxRevocationsPerView),
);

/** The whole of a network as one client may see it. */
export async function viewFor(
  tx: Db,
  network: string,
  client: string,
  state: 'member' | 'pending',
  active: boolean,
): Promise<NetworkView> {
  const row = await networkRow(tx, network);
  const member = state === 'member';
  return {
    network,
    revision: row.revision,
    state,
    active,
    facts: factsOf(row),
    members: member ? await membersOf(tx, network) : [],
    pending: member && row.owner === client ? await pendingOf(tx, network) : [],
    revocations: member ? (await revocationsOf(tx, network)).map(({ document }) => document) : [],
  };
}

/** What changed since a revision, or undefined when the log does not reach back, or a view says it shorter. */
export async function deltaSince(
  tx: Db,
  network: string,
  from: number,
): Promise<NetworkDelta | undefined> {
  const row = await networkRow(tx, network);
  if (from > row.revision || from < row.revision - maxLoggedRevisions) return undefined;
  const log = await tx
    .selectFrom('network_changes')
    .select(['revision', 'kind', 'subject'])
    .where('network_id', '=', network)
    .where('revision', '>', from)
    .orderBy('revision')
    .limit(maxDeltaChanges * 4)
    .execute();
  if (log.length === maxDeltaChanges * 4) return undefined;
  if (row.revision > from && log[0]?.revision !== from + 1) return undefined;
  const subjects = new Set<string>();
  let facts = false;
  let pending = false;
  for (const entry of log) {
    if (entry.kind === 'joined' || entry.kind === 'member' || entry.kind === 'gone')
      subjects.add(entry.subject);
    facts ||= entry.kind === 'facts';
    pending ||= entry.kind === 'pending' || entry.kind === 'facts';
  }
  if (subjects.size + 2 > maxDeltaChanges) return undefined;
  const changes: StoredChange[] = facts ? [{ op: 'facts', facts: factsOf(row) }] : [];
  for (const subject of subjects) {
    const change = await changeOf(tx, network, subject);
    if (change === undefined) return undefined;
    changes.push(change);
  }
  return {
    network,
    from,
    to: row.revision,
    changes,
    owner: row.owner,
    ...(pending ? { pending: await pendingOf(tx, network) } : {}),
  };
}

/** A subject of the log as it is now: a member, or revoked. */
async function changeOf(tx: Db, network: string, client: string) {
  const member = await memberOf(tx, network, client);
  if (member !== undefined) return { op: 'member', member } as const;
  const revoked = await tx
    .selectFrom('revocations')
    .select('document')
    .where('network_id', '=', network)
    .where('client_id', '=', client)
    .executeTakeFirst();
  if (revoked === undefined) return undefined;
  return { op: 'gone', clientId: client, revocation: revoked.document } as const;
}
