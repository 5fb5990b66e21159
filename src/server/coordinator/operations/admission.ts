/** How devices come into networks: create, admission, join, set-pass (protocol §5). */
import type { Operation } from '#wire/control.ts';
import { maxNetworksPerClient } from '#wire/control.ts';
import type { Db, NetworkRow } from '../../store/schema.ts';
import type { Context } from '../context.ts';
import { maxMembersPerNetwork, maxPendingPerNetwork } from '../limits.ts';
import { nameKey, newNetworkId } from '../names.ts';
import { Refusal } from '../refusal.ts';
import {
  factsOf,
  memberOf,
  networkRow,
  nextRevision,
  pendingOf,
  record,
  viewFor,
} from '../revisions.ts';
import { issueMembership } from '../statements.ts';
import {
  clientRow,
  hasRequest,
  membershipOf,
  type Outcome,
  ownedNetwork,
  type Requester,
} from './outcome.ts';

type OperationOf<Op extends Operation['op']> = Extract<Operation, { op: Op }>;

const verifierSaltBytes = 16;

export async function create(
  tx: Db,
  context: Context,
  requester: Requester,
  operation: OperationOf<'create'>,
): Promise<Outcome> {
  const waitMs = context.once('creation', () =>
    context.guard.creations.tryTake(requester.clientId, context.now.monotonic),
  );
  if (waitMs > 0) throw new Refusal('rate-limited', { retryAfterMs: waitMs });
  await checkNetworkCount(tx, requester);
  const name_key = nameKey(operation.name);
  if (name_key === '') throw new Refusal('invalid-name');
  const taken = await byName(tx, operation.name);
  if (taken !== undefined) throw new Refusal('name-taken');
  const client = await clientRow(tx, requester.clientId);
  const network_id = await newNetworkId(tx, context.crypto);
  await tx
    .insertInto('networks')
    .values({
      network_id,
      name: operation.name,
      name_key,
      type: operation.type,
      owner: requester.clientId,
      revision: 0,
      epoch: 0,
      locked: 0,
      approval: 'auto',
      plan: null,
      created_at: context.now.wall,
      ...admissionColumns(context, operation.admission),
    })
    .execute();
  const revision = await nextRevision(tx, network_id);
  await record(tx, network_id, revision, 'facts');
  await record(tx, network_id, revision, 'joined', requester.clientId);
  await issueMembership(tx, context, { network_id, type: operation.type }, client, revision);
  const view = await viewFor(tx, network_id, requester.clientId, 'member', true);
  return {
    result: { network: network_id, state: 'member' },
    events: [{ kind: 'entered', client: requester.clientId, view }],
  };
}

/**
 * Salt and parameters, for anybody who knows the name. The wrapped secret only for those who have proved the password
 * once already (members, and those who wait): so a device whose answer to `join` was lost gets it again.
 */
export async function admission(
  tx: Db,
  requester: Requester,
  operation: OperationOf<'admission'>,
): Promise<Outcome> {
  const row = await byName(tx, operation.name);
  if (row === undefined) throw new Refusal('network-not-found');
  const { clientId } = requester;
  const member = (await membershipOf(tx, row.network_id, clientId)) !== undefined;
  const waits = !member && (await hasRequest(tx, row.network_id, clientId));
  return {
    result: {
      network: row.network_id,
      ...(member ? { state: 'member' } : waits ? { state: 'pending' } : {}),
      ...(member || waits ? { wrappedSecret: row.wrapped_secret } : {}),
      admission: {
        salt: row.salt,
        argon2: {
          memoryKib: row.argon2_memory_kib,
          passes: row.argon2_passes,
          parallelism: row.argon2_parallelism,
        },
        hasPassword: row.has_password === 1,
      },
    },
    events: [],
  };
}

export async function join(
  tx: Db,
  context: Context,
  requester: Requester,
  operation: OperationOf<'join'>,
): Promise<Outcome> {
  const row = await byName(tx, operation.name);
  if (row === undefined) throw new Refusal('network-not-found');
  const network = row.network_id;
  const { clientId } = requester;
  if ((await membershipOf(tx, network, clientId)) !== undefined)
    throw new Refusal('already-member');
  if (await hasRequest(tx, network, clientId)) throw new Refusal('approval-pending');
  if (row.locked === 1) throw new Refusal('network-locked');
  checkVerifier(context, requester, row, operation.verifier);
  await checkNetworkCount(tx, requester);
  if (row.approval === 'manual') return await request(tx, context, requester, row);
  return await admit(tx, context, clientId, row, row.wrapped_secret);
}

/** Makes a client a member: it gets the view, the others a delta. */
export async function admit(
  tx: Db,
  context: Context,
  clientId: string,
  row: NetworkRow,
  wrappedSecret?: Uint8Array,
): Promise<Outcome> {
  const network = row.network_id;
  await checkMemberCount(tx, network);
  const client = await clientRow(tx, clientId);
  const revision = await nextRevision(tx, network);
  await record(tx, network, revision, 'joined', clientId);
  await tx
    .deleteFrom('revocations')
    .where('network_id', '=', network)
    .where('client_id', '=', clientId)
    .execute();
  await issueMembership(tx, context, row, client, revision);
  const member = await memberOf(tx, network, clientId);
  const view = await viewFor(tx, network, clientId, 'member', true);
  return {
    result: { network, state: 'member', ...(wrappedSecret ? { wrappedSecret } : {}) },
    events: [
      { kind: 'entered', client: clientId, view },
      {
        kind: 'delta',
        except: clientId,
        delta: {
          network,
          from: revision - 1,
          to: revision,
          changes: member === undefined ? [] : [{ op: 'member', member }],
          owner: row.owner,
        },
      },
    ],
  };
}

async function request(
  tx: Db,
  context: Context,
  requester: Requester,
  row: NetworkRow,
): Promise<Outcome> {
  const network = row.network_id;
  const waiting = await pendingOf(tx, network);
  if (waiting.length >= maxPendingPerNetwork) throw new Refusal('approval-queue-full');
  await tx
    .insertInto('join_requests')
    .values({
      network_id: network,
      client_id: requester.clientId,
      requested_at: context.now.wall,
    })
    .execute();
  const delta = await pendingDelta(tx, row);
  const view = await viewFor(tx, network, requester.clientId, 'pending', false);
  return {
    result: { network, state: 'pending', wrappedSecret: row.wrapped_secret },
    events: [
      { kind: 'delta', delta },
      { kind: 'entered', client: requester.clientId, view },
    ],
  };
}

/** The list of those who wait has changed: a revision of its own. */
export async function pendingDelta(tx: Db, row: Pick<NetworkRow, 'network_id' | 'owner'>) {
  const network = row.network_id;
  const revision = await nextRevision(tx, network);
  await record(tx, network, revision, 'pending');
  return {
    network,
    from: revision - 1,
    to: revision,
    changes: [],
    pending: await pendingOf(tx, network),
    owner: row.owner,
  };
}

export async function setPassword(
  tx: Db,
  context: Context,
  requester: Requester,
  operation: OperationOf<'set-pass'>,
): Promise<Outcome> {
  const row = await ownedNetwork(tx, operation.network, requester);
  await tx
    .updateTable('networks')
    .set(admissionColumns(context, operation.admission))
    .where('network_id', '=', row.network_id)
    .execute();
  return { result: { network: row.network_id }, events: [await factsChanged(tx, row.network_id)] };
}

/** The facts of a network have changed: raises the revision and tells the members. */
export async function factsChanged(tx: Db, network: string) {
  const revision = await nextRevision(tx, network);
  await record(tx, network, revision, 'facts');
  const row = await networkRow(tx, network);
  return {
    kind: 'delta',
    delta: {
      network,
      from: revision - 1,
      to: revision,
      changes: [{ op: 'facts', facts: factsOf(row) }],
      pending: await pendingOf(tx, network),
      owner: row.owner,
    },
  } as const;
}

function admissionColumns(context: Context, given: OperationOf<'create'>['admission']) {
  const verifier_salt = context.crypto.random(verifierSaltBytes);
  return {
    salt: given.salt,
    argon2_memory_kib: given.argon2.memoryKib,
    argon2_passes: given.argon2.passes,
    argon2_parallelism: given.argon2.parallelism,
    verifier_salt,
    verifier_hash: context.crypto.sha256(verifier_salt, given.verifier),
    wrapped_secret: given.wrappedSecret,
    has_password: given.hasPassword ? (1 as const) : (0 as const),
  };
}

/** Wrong guesses cost, right ones are free; the limits are looked at first, so that a limited guess learns nothing. */
function checkVerifier(
  context: Context,
  requester: Requester,
  row: NetworkRow,
  verifier: Uint8Array,
): void {
  const { passwords, passwordsPerPrefix } = context.guard;
  const nowMs = context.now.monotonic;
  const prefixKey = `${row.network_id} ${requester.prefix}`;
  const waitMs = context.once('guess-allowed', () =>
    Math.max(
      passwords.waitMs(requester.clientId, nowMs),
      passwordsPerPrefix.waitMs(prefixKey, nowMs),
    ),
  );
  if (waitMs > 0) throw new Refusal('rate-limited', { retryAfterMs: waitMs });
  const offered = context.crypto.sha256(row.verifier_salt, verifier);
  if (context.crypto.equal(offered, row.verifier_hash)) return;
  context.once('guess', () => {
    passwords.take(requester.clientId, nowMs);
    passwordsPerPrefix.take(prefixKey, nowMs);
  });
  throw new Refusal('invalid-password');
}

const byName = (tx: Db, name: string): Promise<NetworkRow | undefined> =>
  tx.selectFrom('networks').selectAll().where('name_key', '=', nameKey(name)).executeTakeFirst();

async function checkNetworkCount(tx: Db, requester: Requester): Promise<void> {
  const counts = await tx
    .selectFrom('memberships')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('client_id', '=', requester.clientId)
    .unionAll(
      tx
        .selectFrom('join_requests')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .where('client_id', '=', requester.clientId),
    )
    .execute();
  const total = counts.reduce((sum, row) => sum + Number(row.count), 0);
  if (total >= maxNetworksPerClient) throw new Refusal('too-many-networks');
}

async function checkMemberCount(tx: Db, network: string): Promise<void> {
  const row = await tx
    .selectFrom('memberships')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('network_id', '=', network)
    .executeTakeFirstOrThrow();
  if (Number(row.count) >= maxMembersPerNetwork) throw new Refusal('network-full');
}
