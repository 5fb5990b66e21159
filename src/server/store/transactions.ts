/**
 * How work becomes a transaction. SQLite has one writer, so that a transaction is simply that. With PostgreSQL several nodes
 * write at once: transactions are serializable, so that a rule sees the database as if it were alone. Whoever loses a conflict
 * is run again, holding a lock that keeps all others out meanwhile: it cannot lose twice.
 *
 *   shared lock ──conflict──► exclusive lock ──► done
 *        └──connection lost──► again, once; while committing: asked whether it was committed
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { CommitMarks } from './commit-marks.ts';
import { isConflict, isConnectionLoss, isTaken, StoreUnavailable } from './failures.ts';
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

export const postgresTransactions = (db: Db, place: string): Transactions => {
  const marks = new CommitMarks(db);
  return {
    write: (work) => new PostgresWrite(db, place, marks).run(work),
    read: (work) =>
      db
        .transaction()
        .setIsolationLevel('repeatable read')
        .setAccessMode('read only')
        .execute(work),
  };
};

class PostgresWrite {
  readonly #db: Db;
  readonly #place: string;
  readonly #marks: CommitMarks;
  #exclusive = false;

  constructor(db: Db, place: string, marks: CommitMarks) {
    this.#db = db;
    this.#place = place;
    this.#marks = marks;
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
    try {
      result = await work(session, (error) => this.#isFatal(error));
    } catch (error) {
      await rollback(session);
      throw error;
    }
    const mark = this.#marks.create();
    try {
      await this.#marks.commit(session, mark);
    } catch (error) {
      // Who still answers has not committed. Not every error says so: a PostgreSQL whose disk is full tells why, and goes down.
      if ((await rollback(session)) || !(await this.#wasCommitted(mark, error))) throw error;
    }
    return result;
  }

  /** PostgreSQL knows, once it is back. */
  async #wasCommitted(mark: string, cause: unknown): Promise<boolean> {
    const until = performance.now() + doubtMs;
    for (;;) {
      try {
        return await this.#marks.isCommitted(mark);
      } catch {
        if (performance.now() > until) throw new InDoubt(this.#place, cause);
        await sleep(doubtPauseMs);
      }
    }
  }
}

/** False: the connection is broken, so that PostgreSQL does it itself. */
const rollback = (session: Db): Promise<boolean> =>
  sql`rollback`.execute(session).then(
    () => true,
    () => false,
  );

/** Nobody can say whether the work was done. It is not done again. */
class InDoubt extends StoreUnavailable {}
