/**
 * Kysely on pg, for a PostgreSQL of several hosts: the one that lets us write is used, and when it is lost the others are
 * tried in turn. A connection that failed is never used again.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import {
  type Dialect,
  type PostgresCursor,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  type PostgresQueryResult,
} from 'kysely';
import pg, { type PoolClient } from 'pg';
import { assert, BuriError } from '#core/errors.ts';
import { isAnswer } from './failures.ts';
import type { PostgresHost, PostgresUrl } from './postgres-url.ts';

/** One writer at a time and a few readers. */
const maxConnections = 6;
const connectTimeoutMs = 4_000;
/** PostgreSQL gives a statement up, then we do: a machine that has gone is not waited for. */
const statementTimeoutMs = 15_000;
const queryTimeoutMs = 20_000;
/**
 * A node that is lost without a word holds its locks for so long, in the middle of a transaction or beside one (locks of
 * the session). What is idle in the pool is closed before.
 */
const idleMs = 10_000;
const idleInPoolMs = 5_000;
/** The same for a machine that is gone, also while it is being answered, of any version of PostgreSQL. */
const keepAlive = { idleSeconds: 3, intervalSeconds: 2, count: 2, unansweredMs: 8_000 };

const int8 = 20;
const bytea = 17;
const parseBytea = pg.types.getTypeParser(bytea, 'text') as (text: string) => Buffer;

/** Numbers as numbers (they are below 2^53: times, revisions, addresses), bytes as plain byte arrays, as SQLite has them. */
const types = {
  getTypeParser(oid: number, format?: 'text' | 'binary') {
    if (oid === int8 && format !== 'binary') return Number;
    if (oid === bytea && format !== 'binary')
      return (text: string) => new Uint8Array(parseBytea(text));
    return pg.types.getTypeParser(oid, format as 'text');
  },
};

/** `failed` is told of connections that break while nobody uses them. */
export function postgresDialect(url: PostgresUrl, failed: (error: Error) => void): Dialect {
  return new PostgresDialect({ pool: new FailoverPool(url, failed) });
}

class FailoverPool implements PostgresPool {
  readonly #pools: readonly pg.Pool[];
  #current = 0;

  constructor(url: PostgresUrl, failed: (error: Error) => void) {
    this.#pools = url.hosts.map((host) => {
      const pool = new pg.Pool({ ...clientConfig(url, host), max: maxConnections, verify });
      pool.on('error', failed);
      return pool;
    });
  }

  async connect(): Promise<PostgresPoolClient> {
    let failure: unknown;
    for (let i = 0; i < this.#pools.length; i++) {
      const index = (this.#current + i) % this.#pools.length;
      try {
        const client = await this.#pools[index]!.connect();
        this.#current = index;
        return new GuardedClient(client);
      } catch (error) {
        // Why the first one could not be had says more than that the others are standbys.
        failure ??= error;
      }
    }
    throw failure;
  }

  async end(): Promise<void> {
    await Promise.all(this.#pools.map((pool) => pool.end()));
  }
}

/** Gives a connection back to the pool only when everything that failed on it was an answer of PostgreSQL. */
class GuardedClient implements PostgresPoolClient {
  readonly #client: PoolClient;
  #broken: Error | undefined;
  readonly #onError = (error: Error) => {
    this.#broken = error;
  };

  constructor(client: PoolClient) {
    this.#client = client;
    client.on('error', this.#onError);
  }

  query<R>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<R>>;
  query<R>(cursor: PostgresCursor<R>): PostgresCursor<R>;
  query<R>(
    text: string | PostgresCursor<R>,
    parameters: readonly unknown[] = [],
  ): Promise<PostgresQueryResult<R>> | PostgresCursor<R> {
    assert(typeof text === 'string', 'results are not streamed');
    return this.#run<R>(text, parameters);
  }

  async #run<R>(text: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<R>> {
    // Else each further statement would wait for the answer to the one that never came.
    if (this.#broken !== undefined) throw this.#broken;
    try {
      const result = await this.#client.query(text, parameters as unknown[]);
      return result as unknown as PostgresQueryResult<R>;
    } catch (error) {
      if (!isAnswer(error)) this.#broken = error as Error;
      throw error;
    }
  }

  release(): void {
    this.#client.removeListener('error', this.#onError);
    this.#client.release(this.#broken);
  }
}

/** What a session is told, so that PostgreSQL ends it when its client is lost. A pooler lets them through, unlike options of the start. */
const sessionSettings = [
  `set_config('tcp_keepalives_idle', '${keepAlive.idleSeconds}', false)`,
  `set_config('tcp_keepalives_interval', '${keepAlive.intervalSeconds}', false)`,
  `set_config('tcp_keepalives_count', '${keepAlive.count}', false)`,
  `set_config('tcp_user_timeout', '${keepAlive.unansweredMs}', false)`,
  // From PostgreSQL 14 on.
  "case when current_setting('server_version_num')::int >= 140000" +
    ` then set_config('idle_session_timeout', '${idleMs}', false) end`,
].join();

/** A standby is no use, nor is a connection on which commits are acknowledged before they are safe. */
function verify(client: PoolClient, done: (error?: Error) => void): void {
  client
    .query(
      "select pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as standby," +
        " case when current_setting('synchronous_commit') = 'off'" +
        ` then set_config('synchronous_commit', 'on', false) end, ${sessionSettings}`,
    )
    .then(({ rows }) => {
      const standby = Object.assign(new Error('it is a standby, not the primary'), {
        code: '25006',
      });
      done(rows[0]?.standby === true ? standby : undefined);
    }, done);
}

function clientConfig(url: PostgresUrl, { host, port }: PostgresHost) {
  return {
    ...{ host, port, user: url.user, database: url.database, types },
    ...(url.password === undefined ? {} : { password: url.password }),
    ssl: sslOf(url, host),
    application_name: 'buri',
    keepAlive: true,
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: queryTimeoutMs,
    idle_in_transaction_session_timeout: idleMs,
    idleTimeoutMillis: idleInPoolMs,
  };
}

/** BuriError: store-invalid, when the certificate file cannot be read. */
function sslOf(url: PostgresUrl, host: string) {
  const isHere = host.startsWith('/') || ['localhost', '127.0.0.1', '::1'].includes(host);
  const mode = url.sslMode ?? (isHere ? 'disable' : 'verify-full');
  if (mode === 'disable') return false;
  if (mode === 'require') return { rejectUnauthorized: false };
  const name = isIP(host) === 0 ? { servername: host } : {};
  if (url.sslRootCertificate === undefined) return { rejectUnauthorized: true, ...name };
  try {
    return { rejectUnauthorized: true, ca: readFileSync(url.sslRootCertificate, 'utf8'), ...name };
  } catch (error) {
    throw new BuriError(
      'store-invalid',
      `cannot read sslrootcert ${url.sslRootCertificate} (${(error as Error).message})`,
      { cause: error },
    );
  }
}
