/**
 * How work becomes a transaction. SQLite has one writer, so that a transaction is simply that. With PostgreSQL several nodes
 * write at once: transactions are serializable, so that a rule sees the database as if it were alone. Whoever loses a conflict
 * is run again, holding a lock that keeps all others out meanwhile: it cannot lose twice.
 *
 *   shared lock ──conflict──► exclusive lock ──► done
 *        └──connection lost──► again, once; while committing: asked whether it was committed
 */
import { sql } from 'kysely';
import {
  isConflict,
  isConnectionLoss,
  isForgotten,
  isTaken,
  StoreUnavailable,
} from './failures.ts';
import type { Db } from './schema.ts';
import type { WriteAheadLog } from './sqlite.ts';

export interface Transactions {
  /**
   * Everything that `work` writes, or nothing. `work` may be run several times.
   * @param mustLast whether its result may be acknowledged only when not even a failure of power can undo it.
   */
  readonly write: <T>(work: Work<T>, mustLast: (result: T) => boolean) => Promise<T>;
  /** One state of the database. */
  readonly read: <T>(work: (tx: Db) => Promise<T>) => Promise<T>;
}

/** `isFatal`: a piece of work that failed so fails all: its transaction is over, or is to be run again. */
export type Work<T> = (tx: Db, isFatal: (error: unknown) => boolean) => Promise<T>;

/** Session locks that all nodes of one database share: "buri" in ASCII. */
const lockKey = 0x6275_7269;
const maxAttempts = 4;
/** A commit whose connection broke is asked after for this long. */
const doubtMs = 10_000;
const doubtPauseMs = 200;

export const sqliteTransactions = (db: Db, log: WriteAheadLog): Transactions => ({
  write: async (work, mustLast) => {
    const result = await db.transaction().execute((tx) => work(tx, () => false));
    if (mustLast(result)) await log.synchronise();
    return result;
  },
  read: (work) =>
    db.connection().execute(async (session) => {
      // Deferred: in WAL mode whoever only reads keeps nobody from writing.
      await sql`begin`.execute(session);
      try {
        return await work(session);
      } finally {
        await sql`commit`.execute(session);
      }
    }),
});

export const postgresTransactions = (db: Db, place: string): Transactions => ({
  write: (work) => new PostgresWrite(db, place).run(work),
  read: (work) =>
    db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work),
});

class PostgresWrite {
  readonly #db: Db;
  readonly #place: string;
  #exclusive = false;

  constructor(db: Db, place: string) {
    this.#db = db;
    this.#place = place;
  }

  async run<T>(work: Work<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#db.connection().execute((session) => this.#locked(session, work));
      } catch (error) {
        if (error instanceof InDoubt) throw error;
        const again = isConflict(error) || (isConnectionLoss(error) && attempt === 1);
        if (again && attempt < maxAttempts) {
          this.#exclusive ||= isConflict(error);
          continue;
        }
        throw isConnectionLoss(error) ? new StoreUnavailable(this.#place, error) : error;
      }
    }
  }

  /** A name or number that is taken is another node's doing, unless there is none. */
  #isFatal(error: unknown): boolean {
    if (isConnectionLoss(error)) return true;
    return isConflict(error) && !(this.#exclusive && isTaken(error));
  }

  /** The lock comes before the transaction, since its first statement decides which state of the database it sees. */
  async #locked<T>(session: Db, work: Work<T>): Promise<T> {
    const suffix = sql.raw(this.#exclusive ? '' : '_shared');
    await sql`select pg_advisory_lock${suffix}(${sql.lit(lockKey)})`.execute(session);
    try {
      return await this.#transact(session, work);
    } finally {
      // Of a broken connection PostgreSQL drops it itself.
      await sql`select pg_advisory_unlock${suffix}(${sql.lit(lockKey)})`
        .execute(session)
        .catch(() => {});
    }
  }

  async #transact<T>(session: Db, work: Work<T>): Promise<T> {
    await sql`begin isolation level serializable`.execute(session);
    let result: T;
    let transaction: string | null;
    try {
      result = await work(session, (error) => this.#isFatal(error));
      const { rows } = await sql<{ id: string | null }>`
        select pg_current_xact_id_if_assigned()::text as id`.execute(session);
      transaction = rows[0]?.id ?? null;
    } catch (error) {
      await sql`rollback`.execute(session).catch(() => {});
      throw error;
    }
    try {
      await sql`commit`.execute(session);
    } catch (error) {
      if (!isConnectionLoss(error)) {
        await sql`rollback`.execute(session).catch(() => {});
        throw error;
      }
      if (transaction !== null && !(await this.#wasCommitted(transaction, error))) throw error;
    }
    return result;
  }

  /** The connection broke between our commit and its answer. PostgreSQL knows, once it is back. */
  async #wasCommitted(transaction: string, cause: unknown): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < doubtMs; waitedMs += doubtPauseMs) {
      await new Promise((resolve) => setTimeout(resolve, doubtPauseMs));
      try {
        const { rows } = await sql<{ status: string | null }>`
          select pg_xact_status(${transaction}::xid8) as status`.execute(this.#db);
        const status = rows[0]?.status;
        if (status === 'committed') return true;
        if (status === 'aborted') return false;
      } catch (error) {
        if (isForgotten(error)) return false;
        if (!isConnectionLoss(error)) throw error;
      }
    }
    throw new InDoubt(this.#place, cause);
  }
}

/** Nobody can say whether the work was done. It is not done again. */
class InDoubt extends StoreUnavailable {}
