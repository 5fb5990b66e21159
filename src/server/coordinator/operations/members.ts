/** Who is in a network and what it is like: leave, delete, evict, approve, reject, transfer, set-access, set-nick. */
import type { Operation } from '#wire/control.ts';
import type { Db, NetworkRow } from '../../store/schema.ts';
import type { Context } from '../context.ts';
import type { CoordinatorEvent } from '../events.ts';
import { Refusal } from '../refusal.ts';
import { memberOf, networkRow, nextRevision, record } from '../revisions.ts';
import { retireNetwork, revokeMembership } from '../statements.ts';
import { admit, factsChanged, pendingDelta } from './admission.ts';
import {
  clientRow,
  hasRequest,
  membershipOf,
  nothing,
  type Outcome,
  ownedNetwork,
  type Requester,
  removeRequest,
} from './outcome.ts';

type OperationOf<Op extends Operation['op']> = Extract<Operation, { op: Op }>;

/** A member leaves; one who waits withdraws the request; an owner may only when nobody else is a member. */
export async function leave(
  tx: Db,
  context: Context,
  requester: Requester,
  network: string,
): Promise<Outcome> {
  const row = await networkRow(tx, network);
  const { clientId } = requester;
  if (await hasRequest(tx, network, clientId)) {
    await removeRequest(tx, network, clientId);
    const delta = await pendingDelta(tx, row);
    return {
      result: { network },
      events: [
        { kind: 'removed', client: clientId, network, why: { reason: 'left' } },
        { kind: 'delta', delta },
      ],
    };
  }
  if ((await membershipOf(tx, network, clientId)) === undefined) throw new Refusal('not-member');
  if (row.owner !== clientId) {
    const events = await endMembership(tx, context, row, clientId, 'left');
    return { result: { network }, events };
  }
  if ((await memberIds(tx, network)).length > 1) throw new Refusal('you-are-owner');
  return { result: { network }, events: await erase(tx, context, network) };
}

export async function remove(
  tx: Db,
  context: Context,
  requester: Requester,
  network: string,
): Promise<Outcome> {
  await ownedNetwork(tx, network, requester);
  return { result: { network }, events: await erase(tx, context, network) };
}

/** Deletes a network; everybody in it, or waiting, is told. */
export async function erase(
  tx: Db,
  context: Context,
  network: string,
): Promise<CoordinatorEvent[]> {
  const requests = await tx
    .selectFrom('join_requests')
    .select('client_id')
    .where('network_id', '=', network)
    .execute();
  const concerned = [...(await memberIds(tx, network)), ...requests.map((row) => row.client_id)];
  const deletion = await retireNetwork(tx, context, network, await nextRevision(tx, network));
  for (const table of ['memberships', 'join_requests', 'network_changes', 'revocations'] as const)
    await tx.deleteFrom(table).where('network_id', '=', network).execute();
  await tx.deleteFrom('networks').where('network_id', '=', network).execute();
  const why = { reason: 'deleted', deletion } as const;
  return concerned.map((client) => ({ kind: 'removed', client, network, why }));
}

export async function evict(
  tx: Db,
  context: Context,
  requester: Requester,
  operation: OperationOf<'evict'>,
): Promise<Outcome> {
  const row = await ownedNetwork(tx, operation.network, requester);
  if (operation.clientId === row.owner) throw new Refusal('you-are-owner');
  if ((await membershipOf(tx, row.network_id, operation.clientId)) === undefined) {
    const waits = await hasRequest(tx, row.network_id, operation.clientId);
    throw new Refusal(waits ? 'awaiting-approval' : 'not-member');
  }
  const events = await endMembership(tx, context, row, operation.clientId, 'evicted');
  return { result: { network: row.network_id }, events };
}

/** Revokes; the client is told that it is out, the others get the revocation. */
export async function endMembership(
  tx: Db,
  context: Context,
  row: Pick<NetworkRow, 'network_id' | 'owner'>,
  clientId: string,
  reason: 'left' | 'evicted',
): Promise<CoordinatorEvent[]> {
  const network = row.network_id;
  const client = await clientRow(tx, clientId);
  const revision = await nextRevision(tx, network);
  await record(tx, network, revision, 'gone', clientId);
  const revocation = await revokeMembership(tx, context, network, client, revision, reason);
  return [
    { kind: 'removed', client: clientId, network, why: { reason } },
    {
      kind: 'delta',
      delta: {
        network,
        from: revision - 1,
        to: revision,
        changes: [{ op: 'gone', clientId, revocation }],
        owner: row.owner,
      },
    },
  ];
}

export async function approve(
  tx: Db,
  context: Context,
  requester: Requester,
  operation: OperationOf<'approve'>,
): Promise<Outcome> {
  const { row, clientId } = await requested(tx, requester, operation);
  await removeRequest(tx, row.network_id, clientId);
  const admitted = await admit(tx, context, clientId, row);
  const pending = await pendingDelta(tx, row);
  return {
    result: { network: row.network_id },
    events: [...admitted.events, { kind: 'delta', delta: pending }],
  };
}

export async function reject(
  tx: Db,
  requester: Requester,
  operation: OperationOf<'reject'>,
): Promise<Outcome> {
  const { row, clientId } = await requested(tx, requester, operation);
  await removeRequest(tx, row.network_id, clientId);
  const delta = await pendingDelta(tx, row);
  return {
    result: { network: row.network_id },
    events: [
      { kind: 'removed', client: clientId, network: row.network_id, why: { reason: 'rejected' } },
      { kind: 'delta', delta },
    ],
  };
}

async function requested(
  tx: Db,
  requester: Requester,
  { network, clientId }: OperationOf<'approve' | 'reject'>,
) {
  const row = await ownedNetwork(tx, network, requester);
  if (await hasRequest(tx, network, clientId)) return { row, clientId };
  const member = await membershipOf(tx, network, clientId);
  throw new Refusal(member === undefined ? 'no-request' : 'already-member');
}

export async function transfer(
  tx: Db,
  requester: Requester,
  operation: OperationOf<'transfer'>,
): Promise<Outcome> {
  const row = await ownedNetwork(tx, operation.network, requester);
  const network = row.network_id;
  if (operation.clientId === row.owner) return { ...nothing, result: { network } };
  if ((await membershipOf(tx, network, operation.clientId)) === undefined) {
    const waits = await hasRequest(tx, network, operation.clientId);
    throw new Refusal(waits ? 'awaiting-approval' : 'not-member');
  }
  return { result: { network }, events: [await passTo(tx, network, operation.clientId)] };
}

export async function passTo(tx: Db, network: string, owner: string): Promise<CoordinatorEvent> {
  await tx.updateTable('networks').set({ owner }).where('network_id', '=', network).execute();
  return await factsChanged(tx, network);
}

export async function setAccess(
  tx: Db,
  requester: Requester,
  operation: OperationOf<'set-access'>,
): Promise<Outcome> {
  const row = await ownedNetwork(tx, operation.network, requester);
  const network = row.network_id;
  const locked = operation.locked === undefined ? row.locked : operation.locked ? 1 : 0;
  const approval = operation.approval ?? row.approval;
  if (locked === row.locked && approval === row.approval)
    return { result: { network }, events: [] };
  await tx
    .updateTable('networks')
    .set({ locked, approval })
    .where('network_id', '=', network)
    .execute();
  return { result: { network }, events: [await factsChanged(tx, network)] };
}

/** Whether the member takes part now. Durable, so a revision; the others see it as presence. */
export async function setActive(
  tx: Db,
  requester: Requester,
  network: string,
  active: boolean,
): Promise<Outcome> {
  const row = await networkRow(tx, network);
  const { clientId } = requester;
  const membership = await membershipOf(tx, network, clientId);
  if (membership === undefined) {
    const waits = await hasRequest(tx, network, clientId);
    throw new Refusal(waits ? 'approval-pending' : 'not-member');
  }
  if ((membership.active === 1) === active) return { result: { network }, events: [] };
  await tx
    .updateTable('memberships')
    .set({ active: active ? 1 : 0 })
    .where('network_id', '=', network)
    .where('client_id', '=', clientId)
    .execute();
  const revision = await nextRevision(tx, network);
  await record(tx, network, revision, 'activity', clientId);
  const delta = {
    network,
    from: revision - 1,
    to: revision,
    changes: [],
    owner: row.owner,
    activity: { client: clientId, active },
  };
  return { result: { network }, events: [{ kind: 'delta', delta }] };
}

export async function setNick(tx: Db, requester: Requester, nick: string): Promise<Outcome> {
  const client = await clientRow(tx, requester.clientId);
  if (client.nick === nick) return nothing;
  await tx
    .updateTable('clients')
    .set({ nick })
    .where('client_id', '=', requester.clientId)
    .execute();
  return { result: {}, events: await clientChanged(tx, requester.clientId) };
}

/** A client's entry has changed (nick, certificate): a revision in each of its networks. */
export async function clientChanged(
  tx: Db,
  clientId: string,
  except?: string,
): Promise<CoordinatorEvent[]> {
  const networks = await tx
    .selectFrom('memberships')
    .innerJoin('networks', 'networks.network_id', 'memberships.network_id')
    .select(['networks.network_id as network', 'networks.owner as owner'])
    .where('memberships.client_id', '=', clientId)
    .execute();
  const events: CoordinatorEvent[] = [];
  for (const { network, owner } of networks) {
    const revision = await nextRevision(tx, network);
    await record(tx, network, revision, 'member', clientId);
    const member = await memberOf(tx, network, clientId);
    const changes = member === undefined ? [] : [{ op: 'member', member } as const];
    events.push({
      kind: 'delta',
      delta: { network, from: revision - 1, to: revision, changes, owner },
      ...(except === undefined ? {} : { except }),
    });
  }
  return [...events, ...(await waitingChanged(tx, clientId))];
}

/** Owners see the nick of those who wait, too. */
async function waitingChanged(tx: Db, clientId: string): Promise<CoordinatorEvent[]> {
  const networks = await tx
    .selectFrom('join_requests')
    .innerJoin('networks', 'networks.network_id', 'join_requests.network_id')
    .select(['networks.network_id as network_id', 'networks.owner as owner'])
    .where('join_requests.client_id', '=', clientId)
    .execute();
  const events: CoordinatorEvent[] = [];
  for (const row of networks) events.push({ kind: 'delta', delta: await pendingDelta(tx, row) });
  return events;
}

async function memberIds(tx: Db, network: string): Promise<string[]> {
  const rows = await tx
    .selectFrom('memberships')
    .select('client_id')
    .where('network_id', '=', network)
    .execute();
  return rows.map((row) => row.client_id);
}
