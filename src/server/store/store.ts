/** The server's durable state: opens it, brings its schema up to date, and commits work in groups. */
import { DEFAULT_MIGRATION_TABLE, Kysely, Migrator, sql } from 'kysely';
import { BuriError } from '#core/errors.ts';
import { CommitQueue } from './commit-queue.ts';
import { postgresError, StoreUnavailable, sqliteError } from './failures.ts';
import { migrations } from './migrations.ts';
import { postgresDialect } from './postgres.ts';
import { isPostgresUrl, parsePostgresUrl } from './postgres-url.ts';
import type { Db, Schema } from './schema.ts';
import { sqliteDialect, WriteAheadLog } from './sqlite.ts';
import { postgresTransactions, sqliteTransactions, type Transactions } from './transactions.ts';

export interface StoreOptions {
  /** Told of what breaks while nobody waits for it. */
  readonly failed?: (error: unknown) => void;
}

export class Store implements AsyncDisposable {
  readonly kind: 'sqlite' | 'postgres';
  readonly db: Db;
  readonly commits: CommitQueue;
  /** For people: no password. */
  readonly place: string;
  readonly #transactions: Transactions;
  readonly #log: WriteAheadLog | undefined;

  private constructor(kind: Store['kind'], db: Db, place: string) {
    this.kind = kind;
    this.db = db;
    this.place = place;
    this.#log = kind === 'sqlite' ? new WriteAheadLog(place) : undefined;
    this.#transactions =
      this.#log === undefined ? postgresTransactions(db, place) : sqliteTransactions(db, this.#log);
    this.commits = new CommitQueue(this.#transactions);
  }

  /**
   * @param location path of a SQLite database, ":memory:", or a postgres:// URL. Throws a BuriError that says what is wrong
   * with the place; `store-unavailable` is one that may pass.
   */
  static async open(location: string, options: StoreOptions = {}): Promise<Store> {
    return await Store.#prepared(Store.#at(location, options, false), migrate);
  }

  /**
   * To read what is there: nothing is made or changed, also when a server of another version uses it.
   * BuriError: data-older, data-newer, no-server, …
   */
  static async openToRead(location: string): Promise<Store> {
    return await Store.#prepared(Store.#at(location, {}, true), assertCurrent);
  }

  static #at(location: string, { failed = () => {} }: StoreOptions, readOnly: boolean): Store {
    if (!isPostgresUrl(location)) {
      const dialect = sqliteDialect(location, readOnly);
      return new Store('sqlite', new Kysely<Schema>({ dialect }), location);
    }
    const url = parsePostgresUrl(location);
    const dialect = postgresDialect(url, failed);
    return new Store('postgres', new Kysely<Schema>({ dialect }), url.text);
  }

  static async #prepared(store: Store, prepare: (store: Store) => Promise<void>): Promise<Store> {
    try {
      await prepare(store);
      return store;
    } catch (error) {
      await store.db.destroy();
      throw store.failure(error);
    }
  }

  /** Several statements that see one state of the database, beside what is being committed. */
  read<T>(work: (tx: Db) => Promise<T>): Promise<T> {
    return this.#transactions.read(work);
  }

  /** Which of PostgreSQL's timelines this is: another one after each fail-over. Undefined where there are none. */
  async timeline(): Promise<string | undefined> {
    if (this.kind === 'sqlite') return undefined;
    const { rows } = await sql<{ timeline: string }>`
      select left(pg_walfile_name(pg_current_wal_lsn()), 8) as timeline`.execute(this.db);
    return rows[0]?.timeline;
  }

  /** Whether one small write can be committed now: a disk that is full should be told at start, not at the first login. */
  async probe(): Promise<void> {
    try {
      await this.db
        .insertInto('settings')
        .values({ key: 'write-probe', value: '' })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: '' }))
        .execute();
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** What a failure of this database means, for an operator. */
  failure(error: unknown): Error {
    return this.kind === 'sqlite'
      ? sqliteError(error, this.place)
      : postgresError(error, this.place);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.commits.idle();
    await this.#log?.[Symbol.asyncDispose]();
    await this.db.destroy();
  }
}

/** Opens a store that may not be there yet: tries until it is. `waiting` is told why, each time. */
export async function openPatiently(
  location: string,
  options: StoreOptions & {
    readonly signal: AbortSignal;
    readonly waiting: (error: StoreUnavailable) => void;
  },
): Promise<Store> {
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(mostPauseMs, 2 * pauseMs)) {
    try {
      return await Store.open(location, options);
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || options.signal.aborted) throw error;
      options.waiting(error);
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          options.signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, pauseMs);
        options.signal.addEventListener('abort', done);
      });
      if (options.signal.aborted) throw error;
    }
  }
}

const firstPauseMs = 500;
const mostPauseMs = 5_000;

const stepsOf = (kind: Store['kind']) =>
  migrations({ bytes: kind === 'sqlite' ? 'blob' : 'bytea' });

async function migrate({ db, kind }: Store): Promise<void> {
  const { error } = await new Migrator({ db, provider: stepsOf(kind) }).migrateToLatest();
  if (error === undefined) return;
  if (error instanceof Error && error.message.includes('corrupted migrations')) throw newer(error);
  throw error;
}

async function assertCurrent({ db, kind, place }: Store): Promise<void> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true });
  if (!tables.some(({ name }) => name === DEFAULT_MIGRATION_TABLE))
    throw new BuriError('no-server', `${place} holds no data of a server`);
  const { rows } = await sql<{ name: string }>`
    select name from ${sql.table(DEFAULT_MIGRATION_TABLE)}`.execute(db);
  const steps = Object.keys(await stepsOf(kind).getMigrations());
  if (rows.some(({ name }) => !steps.includes(name))) throw newer();
  if (rows.length < steps.length)
    throw new BuriError(
      'data-older',
      `${place} was written by an older version of Buri; use that version, or start the server of this one first`,
    );
}

const newer = (cause?: unknown) =>
  new BuriError(
    'data-newer',
    'the database was written by a newer version of Buri; run that version, or restore a backup',
    { cause },
  );
