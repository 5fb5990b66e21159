/**
 * Whether a commit was done whose answer was lost. In PostgreSQL every transaction that writes leaves a mark of its own, which is
 * there exactly when all else of it is. (Its number would not do: in a crash PostgreSQL forgets numbers, and gives them to others.)
 *
 * Who asks for a mark writes it. That waits while its transaction is under way; and once it is written, that transaction cannot be
 * committed any more, even if the message that says so is still on its way: it finds its mark taken.
 *
 * Marks are only written, never read, by serializable transactions: for them nobody loses a conflict.
 */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Db } from './schema.ts';

/** Nobody asks after a mark that is older: a commit is waited for, then asked after, for less than a minute. */
const keptMs = 120_000;
const pruneIntervalMs = 60_000;

/** By the clock of the database: those of nodes may differ. */
const nowMs = sql<number>`(extract(epoch from clock_timestamp()) * 1000)::bigint`;

export class CommitMarks {
  readonly #db: Db;
  #prunedAt = Number.NEGATIVE_INFINITY;

  constructor(db: Db) {
    this.#db = db;
  }

  create(): string {
    return randomUUID();
  }

  /** Commits the transaction of `session`. Without parameters both statements are one message. */
  async commit(session: Db, mark: string): Promise<void> {
    await sql`
      insert into commit_marks (mark, marked_at) select ${sql.lit(mark)}, ${nowMs}
        where pg_current_xact_id_if_assigned() is not null;
      commit`.execute(session);
    if (performance.now() - this.#prunedAt < pruneIntervalMs) return;
    this.#prunedAt = performance.now();
    // Beside what goes on; when it fails (two nodes may do it at once) the next one does it.
    void this.#prune().catch(() => {});
  }

  /** Whether the transaction with this mark was committed; false: it never will be. */
  async isCommitted(mark: string): Promise<boolean> {
    const { numAffectedRows } = await sql`
      insert into commit_marks (mark, marked_at) values (${mark}, ${nowMs})
        on conflict do nothing`.execute(this.#db);
    return numAffectedRows === 0n;
  }

  async #prune(): Promise<void> {
    await sql`delete from commit_marks where marked_at < ${nowMs} - ${keptMs}`.execute(this.#db);
  }
}
