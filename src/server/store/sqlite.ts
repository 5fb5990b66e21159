/**
 * Kysely on node:sqlite: one connection, one writer. Durable before acknowledged: WAL with synchronous=FULL, so that a
 * commit that returned has been synchronised to the disk.
 */
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

export function sqliteDialect(path: string): Dialect {
  return {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new NodeSqliteDriver(path),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

class NodeSqliteDriver implements Driver {
  readonly #path: string;
  #connection: NodeSqliteConnection | undefined;
  #free: Promise<void> = Promise.resolve();
  #release: (() => void) | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async init(): Promise<void> {
    if (this.#path !== ':memory:') keepToOwner(this.#path);
    const database = new DatabaseSync(this.#path, {
      enableForeignKeyConstraints: true,
      timeout: busyTimeoutMs,
    });
    database.exec('pragma journal_mode = wal; pragma synchronous = full');
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
