/**
 * Kysely on node:sqlite: one connection, one writer. A commit is written to the write-ahead log; that the disk has it is waited for
 * apart from it, on another thread (as synchronous=FULL would do within the commit), and only when what was written has to outlive
 * a failure of power.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { keepToOwner } from '../private-file.ts';

/** How long a writer waits for another process (an operator's command) to finish. */
const busyTimeoutMs = 5_000;
/** Prepared statements kept; the queries of the server are fewer. */
const maxCachedStatements = 512;

/** @param readOnly the file is there, and stays as it is. */
export const sqliteDialect = (path: string, readOnly = false): Dialect => ({
  createAdapter: () => new SqliteAdapter(),
  createDriver: () => new NodeSqliteDriver(path, readOnly),
  createIntrospector: (db) => new SqliteIntrospector(db),
  createQueryCompiler: () => new SqliteQueryCompiler(),
});

/** The write-ahead log beside a database: what has been committed is in it. */
export class WriteAheadLog implements AsyncDisposable {
  readonly #path: string | undefined;
  #file: Promise<FileHandle> | undefined;
  #broken: unknown;

  /** @param database path; ":memory:" has no log, and survives nothing. */
  constructor(database: string) {
    this.#path = database === ':memory:' ? undefined : `${database}-wal`;
  }

  /**
   * Resolves when the disk has all that was committed before. Once that has failed it is not known any more what the disk has, and
   * nothing is acknowledged until the server is started anew (a second try can succeed although pages of the first are lost).
   */
  async synchronise(): Promise<void> {
    if (this.#path === undefined) return;
    if (this.#broken !== undefined) throw this.#broken;
    try {
      this.#file ??= open(this.#path);
      await (await this.#file).datasync();
    } catch (error) {
      this.#broken = error;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.#file)?.close();
  }
}

class NodeSqliteDriver implements Driver {
  readonly #path: string;
  readonly #readOnly: boolean;
  #connection: NodeSqliteConnection | undefined;
  #free: Promise<void> = Promise.resolve();
  #release: (() => void) | undefined;

  constructor(path: string, readOnly: boolean) {
    this.#path = path;
    this.#readOnly = readOnly;
  }

  async init(): Promise<void> {
    const readOnly = this.#readOnly;
    if (this.#path !== ':memory:' && !readOnly) keepToOwner(this.#path);
    const database = new DatabaseSync(this.#path, {
      enableForeignKeyConstraints: true,
      timeout: busyTimeoutMs,
      readOnly,
    });
    if (!readOnly) database.exec('pragma journal_mode = wal; pragma synchronous = normal');
    this.#connection = new NodeSqliteConnection(database);
  }

  /** SQLite has one connection here: whoever asks waits for the one before. */
  async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.#free;
    let release = () => {};
    this.#free = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    this.#release = release;
    if (this.#connection === undefined) throw new Error('the database is closed');
    return this.#connection;
  }

  async releaseConnection(): Promise<void> {
    this.#release?.();
  }

  /** `immediate` takes the write lock now: a transaction that read first could not be upgraded later. */
  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('commit'));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // After some errors (a full disk) SQLite has rolled back by itself.
    if (this.#connection?.inTransaction === true)
      await connection.executeQuery(CompiledQuery.raw('rollback'));
  }

  async destroy(): Promise<void> {
    this.#connection?.close();
    this.#connection = undefined;
  }
}

class NodeSqliteConnection implements DatabaseConnection {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, { statement: StatementSync; reads: boolean }>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  get inTransaction(): boolean {
    return this.#database.isTransaction;
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    const { statement, reads } = this.#prepare(query.sql);
    const parameters = query.parameters as readonly (string | number | Uint8Array | null)[];
    if (reads) return { rows: statement.all(...parameters) as Row[] };
    const { changes, lastInsertRowid } = statement.run(...parameters);
    return {
      rows: [],
      numAffectedRows: BigInt(changes),
      insertId: BigInt(lastInsertRowid),
    };
  }

  // biome-ignore lint/correctness/useYield: nothing here is streamed
  async *streamQuery<Row>(): AsyncIterableIterator<QueryResult<Row>> {
    throw new Error('results are not streamed');
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  #prepare(text: string) {
    const cached = this.#statements.get(text);
    if (cached !== undefined) return cached;
    if (this.#statements.size >= maxCachedStatements) this.#statements.clear();
    const statement = this.#database.prepare(text);
    const entry = { statement, reads: statement.columns().length > 0 };
    this.#statements.set(text, entry);
    return entry;
  }
}
