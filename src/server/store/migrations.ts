/**
 * The schema, step by step. A step that has been released is never edited: a later one corrects it. Only what differs
 * between databases (the type of byte strings) comes from outside.
 */
import { type Kysely, type Migration, type MigrationProvider, sql } from 'kysely';

export interface ColumnTypes {
  /** `blob` in SQLite, `bytea` in PostgreSQL. */
  readonly bytes: 'blob' | 'bytea';
}

export function migrations(types: ColumnTypes): MigrationProvider {
  const steps: Record<string, Migration> = {
    '001-first': first(types),
    '002-relays': relays(types),
    '003-cluster': cluster(),
    '004-commit-marks': commitMarks(),
    '005-deletions': deletions(types),
  };
  return { getMigrations: async () => steps };
}

function first(types: ColumnTypes): Migration {
  const bytes = sql.raw(types.bytes);
  return {
    async up(db: Kysely<unknown>) {
      await clients(db, bytes);
      await networks(db, bytes);
      await memberships(db, bytes);
      await history(db, bytes);
    },
  };
}

function relays(types: ColumnTypes): Migration {
  const bytes = sql.raw(types.bytes);
  return {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('enrolment_tokens')
        .addColumn('kind', 'text', (c) => c.notNull().defaultTo('device'))
        .execute();
      await db.schema
        .createTable('relays')
        .addColumn('relay_id', 'text', (c) => c.primaryKey())
        .addColumn('kind', 'text', (c) => c.notNull())
        .addColumn('relay_key', bytes, (c) => c.notNull().unique())
        .addColumn('owner', 'text')
        .addColumn('listing', bytes, (c) => c.notNull())
        .addColumn('software', 'text', (c) => c.notNull())
        .addColumn('connected', 'integer', (c) => c.notNull())
        .addColumn('created_at', 'bigint', (c) => c.notNull())
        .addColumn('last_seen_at', 'bigint', (c) => c.notNull())
        .execute();
      await db.schema
        .createTable('relay_revocations')
        .addColumn('client_id', 'text', (c) => c.notNull())
        .addColumn('relay_id', 'text', (c) => c.notNull())
        .addColumn('serial', 'bigint', (c) => c.notNull())
        .addColumn('revoked_at', 'bigint', (c) => c.notNull())
        .addPrimaryKeyConstraint('relay_revocations_key', ['client_id', 'relay_id'])
        .execute();
    },
  };
}

/** Who is connected to which node, and which nodes there are. SQLite adds one column at a time. */
function cluster(): Migration {
  return {
    async up(db: Kysely<unknown>) {
      const add = (
        table: string,
        column: string,
        type: 'text' | 'bigint',
        value?: string | number,
      ) =>
        db.schema
          .alterTable(table)
          .addColumn(column, type, (c) => (value === undefined ? c : c.notNull().defaultTo(value)))
          .execute();
      await add('clients', 'node', 'text');
      await add('clients', 'login_serial', 'bigint', 0);
      await add('clients', 'instance', 'text', '');
      await db.schema.createIndex('clients_by_node').on('clients').column('node').execute();
      await add('relays', 'node', 'text');
      await add('relays', 'state', 'text', 'listed');
      await add('relays', 'unreachable', 'text', '[]');
      await db.schema
        .createTable('nodes')
        .addColumn('node_id', 'text', (c) => c.primaryKey())
        .addColumn('boot', 'text', (c) => c.notNull())
        .addColumn('beat', 'bigint', (c) => c.notNull())
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('facts', 'text', (c) => c.notNull())
        .addColumn('started_at', 'bigint', (c) => c.notNull())
        .execute();
    },
  };
}

/** SQLite's stays empty. */
function commitMarks(): Migration {
  return {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('commit_marks')
        .addColumn('mark', 'text', (c) => c.primaryKey())
        .addColumn('marked_at', 'bigint', (c) => c.notNull())
        .execute();
    },
  };
}

/** The signed word that a network was deleted. */
function deletions(types: ColumnTypes): Migration {
  return {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('retired_networks')
        .addColumn('document', sql.raw(types.bytes))
        .execute();
    },
  };
}

type Bytes = ReturnType<typeof sql.raw>;

async function clients(db: Kysely<unknown>, bytes: Bytes): Promise<void> {
  await db.schema
    .createTable('settings')
    .addColumn('key', 'text', (c) => c.primaryKey())
    .addColumn('value', 'text', (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('clients')
    .addColumn('client_id', 'text', (c) => c.primaryKey())
    .addColumn('identity', bytes, (c) => c.notNull().unique())
    .addColumn('address4', 'bigint', (c) => c.notNull().unique())
    .addColumn('nick', 'text', (c) => c.notNull())
    .addColumn('certificate', bytes, (c) => c.notNull())
    .addColumn('certificate_serial', 'bigint', (c) => c.notNull())
    .addColumn('software', 'text', (c) => c.notNull())
    .addColumn('protocol_version', 'integer', (c) => c.notNull())
    .addColumn('connected', 'integer', (c) => c.notNull())
    .addColumn('plan', 'text')
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('last_seen_at', 'bigint', (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('enrolment_tokens')
    .addColumn('token_id', 'text', (c) => c.primaryKey())
    .addColumn('hash', bytes, (c) => c.notNull().unique())
    .addColumn('max_uses', 'integer')
    .addColumn('uses', 'integer', (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('expires_at', 'bigint')
    .addColumn('revoked_at', 'bigint')
    .execute();
}

async function networks(db: Kysely<unknown>, bytes: Bytes): Promise<void> {
  await db.schema
    .createTable('networks')
    .addColumn('network_id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('name_key', 'text', (c) => c.notNull().unique())
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('owner', 'text', (c) => c.notNull().references('clients.client_id'))
    .addColumn('revision', 'bigint', (c) => c.notNull())
    .addColumn('epoch', 'bigint', (c) => c.notNull())
    .addColumn('salt', bytes, (c) => c.notNull())
    .addColumn('argon2_memory_kib', 'integer', (c) => c.notNull())
    .addColumn('argon2_passes', 'integer', (c) => c.notNull())
    .addColumn('argon2_parallelism', 'integer', (c) => c.notNull())
    .addColumn('verifier_salt', bytes, (c) => c.notNull())
    .addColumn('verifier_hash', bytes, (c) => c.notNull())
    .addColumn('wrapped_secret', bytes, (c) => c.notNull())
    .addColumn('has_password', 'integer', (c) => c.notNull())
    .addColumn('locked', 'integer', (c) => c.notNull())
    .addColumn('approval', 'text', (c) => c.notNull())
    .addColumn('plan', 'text')
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('networks_by_owner').on('networks').column('owner').execute();
  await db.schema
    .createTable('retired_networks')
    .addColumn('network_id', 'text', (c) => c.primaryKey())
    .addColumn('retired_at', 'bigint', (c) => c.notNull())
    .execute();
}

async function memberships(db: Kysely<unknown>, bytes: Bytes): Promise<void> {
  await db.schema
    .createTable('memberships')
    .addColumn('network_id', 'text', (c) => c.notNull().references('networks.network_id'))
    .addColumn('client_id', 'text', (c) => c.notNull().references('clients.client_id'))
    .addColumn('role', 'text', (c) => c.notNull())
    .addColumn('active', 'integer', (c) => c.notNull())
    .addColumn('statement', bytes, (c) => c.notNull())
    .addColumn('serial', 'bigint', (c) => c.notNull())
    .addColumn('signer', 'text', (c) => c.notNull())
    .addColumn('issued_at', 'bigint', (c) => c.notNull())
    .addColumn('joined_at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('memberships_key', ['network_id', 'client_id'])
    .execute();
  await db.schema
    .createIndex('memberships_by_client')
    .on('memberships')
    .column('client_id')
    .execute();
  await db.schema
    .createTable('join_requests')
    .addColumn('network_id', 'text', (c) => c.notNull().references('networks.network_id'))
    .addColumn('client_id', 'text', (c) => c.notNull().references('clients.client_id'))
    .addColumn('requested_at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('join_requests_key', ['network_id', 'client_id'])
    .execute();
  await db.schema
    .createIndex('join_requests_by_client')
    .on('join_requests')
    .column('client_id')
    .execute();
}

async function history(db: Kysely<unknown>, bytes: Bytes): Promise<void> {
  await db.schema
    .createTable('network_changes')
    .addColumn('network_id', 'text', (c) => c.notNull().references('networks.network_id'))
    .addColumn('revision', 'bigint', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('subject', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('network_changes_key', ['network_id', 'revision', 'kind', 'subject'])
    .execute();
  await db.schema
    .createTable('revocations')
    .addColumn('network_id', 'text', (c) => c.notNull().references('networks.network_id'))
    .addColumn('client_id', 'text', (c) => c.notNull())
    .addColumn('serial', 'bigint', (c) => c.notNull())
    .addColumn('reason', 'text', (c) => c.notNull())
    .addColumn('document', bytes, (c) => c.notNull())
    .addColumn('signer', 'text', (c) => c.notNull())
    .addColumn('issued_at', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('revocations_key', ['network_id', 'client_id'])
    .execute();
}
