import type { OperationResult } from '#wire/control.ts';
import type { ClientRow, Db, MembershipRow, NetworkRow } from '../../store/schema.ts';
import type { CoordinatorEvent } from '../events.ts';
import { Refusal } from '../refusal.ts';
import { networkRow } from '../revisions.ts';

export type Granted = Omit<Extract<OperationResult, { ok: true }>, 'ok'>;

/** What an operation came to, once its transaction has been committed. */
export interface Outcome {
  readonly result: Granted;
  readonly events: readonly CoordinatorEvent[];
}

export const nothing: Outcome = { result: {}, events: [] };

/** Who asks, and from behind which address prefix. */
export interface Requester {
  readonly clientId: string;
  readonly prefix: string;
}

export const membershipOf = (
  tx: Db,
  network: string,
  client: string,
): Promise<MembershipRow | undefined> =>
  tx
    .selectFrom('memberships')
    .selectAll()
    .where('network_id', '=', network)
    .where('client_id', '=', client)
    .executeTakeFirst();

export async function hasRequest(tx: Db, network: string, client: string): Promise<boolean> {
  const row = await tx
    .selectFrom('join_requests')
    .select('client_id')
    .where('network_id', '=', network)
    .where('client_id', '=', client)
    .executeTakeFirst();
  return row !== undefined;
}

export const removeRequest = (tx: Db, network: string, client: string) =>
  tx
    .deleteFrom('join_requests')
    .where('network_id', '=', network)
    .where('client_id', '=', client)
    .execute();

export async function clientRow(tx: Db, client: string): Promise<ClientRow> {
  const row = await tx
    .selectFrom('clients')
    .selectAll()
    .where('client_id', '=', client)
    .executeTakeFirst();
  if (row === undefined) throw new Refusal('not-member');
  return row;
}

/** The network, when the requester owns it. Strangers are told less than members. */
export async function ownedNetwork(
  tx: Db,
  network: string,
  requester: Requester,
): Promise<NetworkRow> {
  const row = await networkRow(tx, network);
  if (row.owner === requester.clientId) return row;
  const member = await membershipOf(tx, network, requester.clientId);
  throw new Refusal(member === undefined ? 'not-member' : 'not-owner');
}
