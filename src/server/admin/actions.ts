/** What an operator may do, in a transaction: enrolment tokens, clients, networks. */
import { BuriError } from '#core/errors.ts';
import type { Context } from '../coordinator/context.ts';
import type { CoordinatorEvent } from '../coordinator/events.ts';
import { pendingDelta } from '../coordinator/operations/admission.ts';
import { endMembership, erase, passTo } from '../coordinator/operations/members.ts';
import { formatIpv4, formatIpv6 } from '../coordinator/pool.ts';
import { recordRevocation } from '../coordinator/relays/relay-store.ts';
import type { Db, TokenRow } from '../store/schema.ts';

export type TokenState = 'valid' | 'expired' | 'used-up' | 'revoked';

export interface TokenEntry {
  readonly id: string;
  readonly state: TokenState;
  /** Whom it enrols. */
  readonly kind: TokenRow['kind'];
  readonly uses: number;
  /** Null: any number. */
  readonly maxUses: number | null;
  readonly createdAt: number;
  readonly expiresAt: number | null;
}

export function tokenEntry(row: TokenRow, nowMs: number): TokenEntry {
  const state =
    row.revoked_at !== null
      ? 'revoked'
      : row.expires_at !== null && row.expires_at <= nowMs
        ? 'expired'
        : row.max_uses !== null && row.uses >= row.max_uses
          ? 'used-up'
          : 'valid';
  return {
    id: row.token_id,
    state,
    kind: row.kind,
    uses: row.uses,
    maxUses: row.max_uses,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  };
}

export interface ClientEntry {
  readonly clientId: string;
  readonly nick: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly presence: 'online' | 'unconfirmed' | 'offline';
  readonly networks: number;
  readonly software: string;
  readonly createdAt: number;
  readonly lastSeenAt: number;
}

export async function listClients(
  db: Db,
  presenceOf: (clientId: string) => ClientEntry['presence'],
): Promise<ClientEntry[]> {
  const rows = await db
    .selectFrom('clients')
    .leftJoin('memberships', 'memberships.client_id', 'clients.client_id')
    .select((eb) => [
      'clients.client_id as clientId',
      'clients.nick as nick',
      'clients.address4 as address4',
      'clients.software as software',
      'clients.created_at as createdAt',
      'clients.last_seen_at as lastSeenAt',
      eb.fn.count('memberships.network_id').as('networks'),
    ])
    .groupBy('clients.client_id')
    .orderBy('clients.created_at')
    .execute();
  return rows.map(({ address4, networks, ...row }) => ({
    ...row,
    networks: Number(networks),
    ipv4: formatIpv4(address4),
    ipv6: formatIpv6(address4),
    presence: presenceOf(row.clientId),
  }));
}

export interface NetworkListEntry {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly owner: string;
  readonly ownerNick: string;
  readonly members: number;
  readonly pending: number;
  readonly locked: boolean;
  readonly approval: string;
  readonly password: boolean;
  readonly createdAt: number;
}

export async function listNetworks(db: Db): Promise<NetworkListEntry[]> {
  const rows = await db
    .selectFrom('networks')
    .innerJoin('clients', 'clients.client_id', 'networks.owner')
    .select((eb) => [
      'networks.network_id as id',
      'networks.name as name',
      'networks.type as type',
      'networks.owner as owner',
      'clients.nick as ownerNick',
      'networks.locked as locked',
      'networks.approval as approval',
      'networks.has_password as password',
      'networks.created_at as createdAt',
      eb
        .selectFrom('memberships')
        .whereRef('memberships.network_id', '=', 'networks.network_id')
        .select((inner) => inner.fn.countAll().as('count'))
        .as('members'),
      eb
        .selectFrom('join_requests')
        .whereRef('join_requests.network_id', '=', 'networks.network_id')
        .select((inner) => inner.fn.countAll().as('count'))
        .as('pending'),
    ])
    .orderBy('networks.name_key')
    .execute();
  return rows.map((row) => ({
    ...row,
    members: Number(row.members ?? 0),
    pending: Number(row.pending ?? 0),
    locked: row.locked === 1,
    password: row.password === 1,
  }));
}

/**
 * Removes a device for good: out of every network (with revocations), its requests withdrawn. A network that it owns
 * passes to the member who has been in it longest; one without other members is deleted. BuriError: client-not-found.
 */
export async function removeClient(
  tx: Db,
  context: Context,
  clientId: string,
): Promise<{ value: { nick: string }; events: CoordinatorEvent[]; expel: string[] }> {
  const client = await tx
    .selectFrom('clients')
    .select('nick')
    .where('client_id', '=', clientId)
    .executeTakeFirst();
  if (client === undefined)
    throw new BuriError(
      'client-not-found',
      `no device ${clientId} here; 'buri server clients' lists them`,
    );
  const events: CoordinatorEvent[] = [];
  const owned = await tx
    .selectFrom('networks')
    .select('network_id')
    .where('owner', '=', clientId)
    .execute();
  for (const { network_id } of owned) {
    const heir = await tx
      .selectFrom('memberships')
      .select('client_id')
      .where('network_id', '=', network_id)
      .where('client_id', '!=', clientId)
      .orderBy('joined_at')
      .orderBy('client_id')
      .executeTakeFirst();
    if (heir === undefined) events.push(...(await erase(tx, context, network_id)));
    else events.push(await passTo(tx, network_id, heir.client_id));
  }
  const memberships = await networksOf(tx, 'memberships', clientId);
  for (const row of memberships)
    events.push(...(await endMembership(tx, context, row, clientId, 'evicted')));
  const requests = await networksOf(tx, 'join_requests', clientId);
  await tx.deleteFrom('join_requests').where('client_id', '=', clientId).execute();
  for (const row of requests) events.push({ kind: 'delta', delta: await pendingDelta(tx, row) });
  const serial = context.ticketSerials.next(context.now);
  await recordRevocation(tx, context, '', { clientId, serial });
  events.push({ kind: 'tickets-revoked', client: clientId, serial });
  await tx.deleteFrom('clients').where('client_id', '=', clientId).execute();
  return { value: { nick: client.nick }, events, expel: [clientId] };
}

const networksOf = (tx: Db, table: 'memberships' | 'join_requests', clientId: string) =>
  tx
    .selectFrom('networks')
    .select(['networks.network_id as network_id', 'networks.owner as owner'])
    .where('networks.network_id', 'in', (eb) =>
      eb.selectFrom(table).select('network_id').where('client_id', '=', clientId),
    )
    .execute();
