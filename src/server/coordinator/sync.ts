/** Synchronisation at login: for each network a delta where the log reaches back to what the client holds, else the view. */
import type { InferResult } from 'kysely';
import { idGroups } from '../store/id-groups.ts';
import { prepared } from '../store/prepared.ts';
import type { Db } from '../store/schema.ts';
import type { NetworkDelta, NetworkView, SeenMember, WhyRemoved } from './events.ts';
import { deltaSince, seenIn, viewFor } from './revisions.ts';

export type SyncItem =
  | { readonly kind: 'view'; readonly view: NetworkView }
  /** `members`: everybody, where this node may know less of them than the database; else empty. */
  | {
      readonly kind: 'delta';
      readonly delta: NetworkDelta;
      readonly active: boolean;
      readonly members: readonly SeenMember[];
    }
  | { readonly kind: 'removed'; readonly network: string; readonly why: WhyRemoved };

export interface Holding {
  readonly network: string;
  readonly revision: number;
}

const membershipsOf = (db: Db, clients: readonly string[]) =>
  db
    .selectFrom('memberships')
    .innerJoin('networks', 'networks.network_id', 'memberships.network_id')
    .select(['memberships.network_id as network', 'active', 'client_id', 'revision', 'owner'])
    .select('issued_at')
    .where('client_id', 'in', clients)
    .orderBy('memberships.network_id');

const requestsOf = (db: Db, clients: readonly string[]) =>
  db
    .selectFrom('join_requests')
    .innerJoin('networks', 'networks.network_id', 'join_requests.network_id')
    .select(['join_requests.network_id as network', 'client_id', 'revision', 'owner'])
    .where('client_id', 'in', clients)
    .orderBy('join_requests.network_id');

type MembershipOf = InferResult<ReturnType<typeof membershipsOf>>[number];
type RequestOf = InferResult<ReturnType<typeof requestsOf>>[number];

const membershipsOfOne = prepared((db: Db, client: string) => membershipsOf(db, [client]));
const requestsOfOne = prepared((db: Db, client: string) => requestsOf(db, [client]));

/** Every network that a client is in or waits for. */
export async function participationsOf(db: Db, client: string): Promise<Held[]> {
  const memberships = await membershipsOfOne(db, client);
  const requests = await requestsOfOne(db, client);
  return [...memberships.map(asMember), ...requests.map(asPending)];
}

/** The same of several clients. */
export async function participationsOfMany(
  db: Db,
  clients: readonly string[],
): Promise<Map<string, Held[]>> {
  const found = new Map<string, Held[]>();
  const add = (client: string, participating: Held) => {
    const list = found.get(client);
    if (list === undefined) found.set(client, [participating]);
    else list.push(participating);
  };
  for (const ids of idGroups(clients)) {
    for (const row of await membershipsOf(db, ids).execute()) add(row.client_id, asMember(row));
    for (const row of await requestsOf(db, ids).execute()) add(row.client_id, asPending(row));
  }
  return found;
}

const asMember = ({ network, revision, active, owner, issued_at }: MembershipOf): Held => ({
  ...{ network, revision, active: active === 1, state: 'member', owner },
  issuedAt: Number(issued_at),
});

const asPending = ({ network, revision, owner }: RequestOf): Held => ({
  ...{ network, revision, active: false, state: 'pending', owner, issuedAt: undefined },
});

export type ParticipatingByClient = ReadonlyMap<string, readonly Participating[]>;

export interface Participating {
  readonly network: string;
  /** Of the network, now. */
  readonly revision: number;
  readonly active: boolean;
  readonly state: 'member' | 'pending';
}

export interface Held extends Participating {
  readonly owner: string;
  /** When the statement of a member was issued. */
  readonly issuedAt: number | undefined;
}

/** What other nodes are told of it. */
export const participating = ({ network, revision, active, state }: Held): Participating => ({
  ...{ network, revision, active, state },
});

/**
 * @param networks what the client takes part in.
 * @param isAlone there are no other nodes: presence is in memory, and nothing has to be read for it.
 */
export async function synchronise(
  tx: Db,
  client: string,
  known: readonly Holding[],
  networks: readonly Held[],
  isAlone: boolean,
): Promise<SyncItem[]> {
  const held = new Map(known.map(({ network, revision }) => [network, revision]));
  const items: SyncItem[] = [];
  const current = new Set(networks.map(({ network }) => network));
  for (const network of held.keys())
    if (!current.has(network))
      items.push({ kind: 'removed', network, why: await whyRemoved(tx, network, client) });
  for (const { network, active, state, revision, owner } of networks) {
    const has = held.get(network);
    const delta =
      state !== 'member'
        ? undefined
        : has === revision
          ? { network, from: revision, to: revision, changes: [], owner }
          : await deltaFor(tx, network, has, client);
    if (delta === undefined) {
      items.push({ kind: 'view', view: await viewFor(tx, network, client, state, active) });
    } else {
      const members = isAlone ? [] : await seenIn(tx, network);
      items.push({ kind: 'delta', delta, active, members });
    }
  }
  return items;
}

/**
 * The delta since what is held; undefined when the view must be sent. Who held a revision from before it became a member
 * (it waited, or left and came back) knows no other member: the view is what it needs.
 */
async function deltaFor(tx: Db, network: string, held: number | undefined, client: string) {
  // Revision 0 is how a client asks for the view.
  if (held === undefined || held === 0) return undefined;
  const joined = await tx
    .selectFrom('network_changes')
    .select('revision')
    .where('network_id', '=', network)
    .where('revision', '>', held)
    .where('kind', '=', 'joined')
    .where('subject', '=', client)
    .executeTakeFirst();
  return joined === undefined ? await deltaSince(tx, network, held) : undefined;
}

export async function whyRemoved(tx: Db, network: string, client: string): Promise<WhyRemoved> {
  const row = await tx
    .selectFrom('networks')
    .select('network_id')
    .where('network_id', '=', network)
    .executeTakeFirst();
  if (row === undefined) return await whyDeleted(tx, network);
  const revoked = await tx
    .selectFrom('revocations')
    .select('reason')
    .where('network_id', '=', network)
    .where('client_id', '=', client)
    .executeTakeFirst();
  if (revoked === undefined) return { reason: 'rejected' };
  return { reason: revoked.reason === 'left' ? 'left' : 'evicted' };
}

export async function whyDeleted(tx: Db, network: string): Promise<WhyRemoved> {
  const retired = await tx
    .selectFrom('retired_networks')
    .select('document')
    .where('network_id', '=', network)
    .executeTakeFirst();
  const deletion = retired?.document;
  return { reason: 'deleted', ...(deletion ? { deletion } : {}) };
}
