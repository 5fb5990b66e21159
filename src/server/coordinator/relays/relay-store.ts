/** What is kept of relays: who enrolled, what was listed, which tickets are void. */
import type { z } from 'zod';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import { type RelayRevocation, relayOffer } from '#wire/relay-control.ts';
import type { Db, RelayRow } from '../../store/schema.ts';
import type { Context } from '../context.ts';
import { maxStandaloneRelays, relayAfterlifeMs, relayTicketLifetimeMs } from '../limits.ts';
import { Refusal } from '../refusal.ts';
import { redeemToken } from '../tokens.ts';

/** Revocations that a relay is told when it comes: the newest. */
const maxRevocations = 16_384;
const maxListingBytes = 16_384;

const listing = relayOffer.omit({ relayKey: true });
export type Listing = z.infer<typeof listing>;

export const encodeListing = (value: Listing): Uint8Array => encodeCbor(listing.parse(value));

export function decodeListing(bytes: Uint8Array): Listing | undefined {
  const result = listing.safeParse(decodeCbor(bytes, maxListingBytes));
  return result.success ? result.data : undefined;
}

export interface RelayFacts {
  readonly id: string;
  readonly relayKey: Uint8Array;
  readonly listing: Listing;
  readonly software: string;
}

/** A standalone relay logs in; one that is not known needs a token. */
export async function enrolRelay(
  tx: Db,
  context: Context,
  facts: RelayFacts,
  token: string | undefined,
  prefix: string,
): Promise<void> {
  const known = await tx
    .selectFrom('relays')
    .select('kind')
    .where('relay_id', '=', facts.id)
    .executeTakeFirst();
  if (known?.kind === 'standalone') {
    await touch(tx, context, facts, null);
    return;
  }
  await redeemToken(tx, context, token, prefix, 'relay');
  const { count } = await tx
    .selectFrom('relays')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('kind', '=', 'standalone')
    .executeTakeFirstOrThrow();
  if (Number(count) >= maxStandaloneRelays) throw new Refusal('too-many-relays');
  await tx.deleteFrom('relays').where('relay_id', '=', facts.id).execute();
  await insert(tx, context, facts, 'standalone', null);
}

/** A member's relay: one a member. */
export async function saveVolunteer(
  tx: Db,
  context: Context,
  facts: RelayFacts,
  owner: string,
): Promise<void> {
  await tx
    .deleteFrom('relays')
    .where('kind', '=', 'volunteer')
    .where((eb) => eb.or([eb('owner', '=', owner), eb('relay_id', '=', facts.id)]))
    .execute();
  await insert(tx, context, facts, 'volunteer', owner);
}

async function insert(
  tx: Db,
  context: Context,
  { id, relayKey, listing, software }: RelayFacts,
  kind: RelayRow['kind'],
  owner: string | null,
): Promise<void> {
  await tx
    .insertInto('relays')
    .values({
      ...{ relay_id: id, kind, relay_key: relayKey, owner, software, connected: 1 },
      ...{ node: context.node, state: kind === 'standalone' ? 'listed' : 'checking' },
      unreachable: '[]',
      listing: encodeListing(listing),
      created_at: context.now.wall,
      last_seen_at: context.now.wall,
    })
    .execute();
}

async function touch(
  tx: Db,
  context: Context,
  { id, listing, software }: RelayFacts,
  owner: string | null,
): Promise<void> {
  await tx
    .updateTable('relays')
    .set({
      ...{ owner, software, connected: 1, last_seen_at: context.now.wall },
      node: context.node,
      listing: encodeListing(listing),
    })
    .where('relay_id', '=', id)
    .execute();
}

/** A volunteer that is none any more is forgotten, a standalone relay is remembered as gone; not when another node has it. */
export async function relayGone(tx: Db, nowMs: number, id: string, node: string): Promise<void> {
  await tx
    .deleteFrom('relays')
    .where('relay_id', '=', id)
    .where('kind', '=', 'volunteer')
    .where((eb) => eb.or([eb('node', '=', node), eb('node', 'is', null)]))
    .execute();
  await tx
    .updateTable('relays')
    .set({ connected: 0, last_seen_at: nowMs })
    .where('relay_id', '=', id)
    .where((eb) => eb.or([eb('node', '=', node), eb('node', 'is', null)]))
    .execute();
}

export const relayRows = (db: Db): Promise<RelayRow[]> =>
  db.selectFrom('relays').selectAll().orderBy('kind').orderBy('relay_id').execute();

/** @param relay empty: at every relay. */
export async function recordRevocation(
  tx: Db,
  { now }: Pick<Context, 'now'>,
  relay: string,
  { clientId, serial }: RelayRevocation,
): Promise<void> {
  await tx
    .insertInto('relay_revocations')
    .values({ client_id: clientId, relay_id: relay, serial, revoked_at: now.wall })
    .onConflict((conflict) =>
      conflict.columns(['client_id', 'relay_id']).doUpdateSet({ serial, revoked_at: now.wall }),
    )
    .execute();
}

/** What a relay must know when it comes; older tickets have ended by themselves. */
export async function revocationsFor(
  tx: Db,
  { now }: Pick<Context, 'now'>,
  relay: string,
): Promise<RelayRevocation[]> {
  const rows = await tx
    .selectFrom('relay_revocations')
    .select(['client_id', 'serial'])
    .where('relay_id', 'in', ['', relay])
    .where('revoked_at', '>', now.wall - relayTicketLifetimeMs - relayAfterlifeMs)
    .orderBy('revoked_at', 'desc')
    .limit(maxRevocations)
    .execute();
  return rows.map(({ client_id, serial }) => ({ clientId: client_id, serial: Number(serial) }));
}

/** Forgets what no ticket is left of. Returns the highest serial. */
export async function pruneRevocations(tx: Db, nowMs: number): Promise<number> {
  await tx
    .deleteFrom('relay_revocations')
    .where('revoked_at', '<=', nowMs - relayTicketLifetimeMs - relayAfterlifeMs)
    .execute();
  const row = await tx
    .selectFrom('relay_revocations')
    .select((eb) => eb.fn.max('serial').as('serial'))
    .executeTakeFirst();
  return Number(row?.serial ?? 0);
}
