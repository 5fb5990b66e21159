/** Signed statements (protocol §3): who is a member, who no longer is, which networks are no more. A serial is the network's revision. */
import { signDocument } from '#wire/signed.ts';
import type { ClientRow, Db, NetworkRow } from '../store/schema.ts';
import type { Context } from './context.ts';
import { statementBackdateMs, statementLifetimeMs } from './limits.ts';
import { formatIpv4, formatIpv6 } from './pool.ts';

export type Subject = Pick<ClientRow, 'client_id' | 'identity' | 'address4'>;

/** Memberships with all that {@link issueMembership} needs, and the network's owner and revision. */
export const issuable = (tx: Db) =>
  tx
    .selectFrom('memberships')
    .innerJoin('clients', 'clients.client_id', 'memberships.client_id')
    .innerJoin('networks', 'networks.network_id', 'memberships.network_id')
    .select(['networks.network_id', 'networks.type', 'networks.owner', 'networks.revision'])
    .select(['clients.client_id', 'clients.identity', 'clients.address4']);

/** Issues, or renews, the statement that a client is a member, and stores it. */
export async function issueMembership(
  tx: Db,
  context: Pick<Context, 'now' | 'sign'>,
  network: Pick<NetworkRow, 'network_id' | 'type'>,
  subject: Subject,
  revision: number,
): Promise<Uint8Array> {
  const nowMs = context.now.wall;
  const role = 'member';
  const statement = signDocument(
    'membership',
    {
      network: network.network_id,
      networkType: network.type,
      identity: subject.identity,
      clientId: subject.client_id,
      ipv4: formatIpv4(subject.address4),
      ipv6: formatIpv6(subject.address4),
      role,
      serial: revision,
      notBefore: Math.max(0, nowMs - statementBackdateMs),
      notAfter: nowMs + statementLifetimeMs,
      signer: 'cluster',
    },
    context.sign,
  );
  const issued = { statement, serial: revision, signer: 'cluster', issued_at: nowMs };
  await tx
    .insertInto('memberships')
    .values({
      network_id: network.network_id,
      client_id: subject.client_id,
      role,
      active: 1,
      joined_at: nowMs,
      ...issued,
    })
    .onConflict((conflict) => conflict.columns(['network_id', 'client_id']).doUpdateSet(issued))
    .execute();
  return statement;
}

/** Ends a membership; the revocation beats every statement up to this revision, wherever it is kept. */
export async function revokeMembership(
  tx: Db,
  context: Context,
  network: string,
  subject: Subject,
  revision: number,
  reason: 'left' | 'evicted',
): Promise<Uint8Array> {
  const issuedAt = context.now.wall;
  const document = signDocument(
    'revocation',
    {
      network,
      identity: subject.identity,
      clientId: subject.client_id,
      serial: revision,
      issuedAt,
      signer: 'cluster',
    },
    context.sign,
  );
  await tx
    .deleteFrom('memberships')
    .where('network_id', '=', network)
    .where('client_id', '=', subject.client_id)
    .execute();
  const revoked = { serial: revision, reason, document, signer: 'cluster', issued_at: issuedAt };
  await tx
    .insertInto('revocations')
    .values({ network_id: network, client_id: subject.client_id, ...revoked })
    .onConflict((conflict) => conflict.columns(['network_id', 'client_id']).doUpdateSet(revoked))
    .execute();
  return document;
}

/** Retires a network's id; the deletion beats every statement up to this revision, wherever it is kept. */
export async function retireNetwork(
  tx: Db,
  context: Context,
  network: string,
  revision: number,
): Promise<Uint8Array> {
  const nowMs = context.now.wall;
  const document = signDocument(
    'deletion',
    { network, serial: revision, issuedAt: nowMs, signer: 'cluster' },
    context.sign,
  );
  await tx
    .insertInto('retired_networks')
    .values({ network_id: network, retired_at: nowMs, document })
    .execute();
  return document;
}
