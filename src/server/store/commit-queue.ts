/**
 * Group commit. Work is done in order, each piece in a savepoint of its own, and as many pieces as are waiting share one
 * transaction: one synchronisation of the disk acknowledges them all. Nothing is acknowledged before the commit.
 */
import { setImmediate } from 'node:timers/promises';
import { CompiledQuery } from 'kysely';
import type { Db } from './schema.ts';
import type { Transactions } from './transactions.ts';

/** Pieces of one transaction: bounds what one failed commit takes with it, and how long others wait. */
const maxGroup = 128;
/** Pieces waiting. Callers are bounded themselves (one session has one request in work); this is the last line. */
export const maxQueuedWork = 16_384;

interface Piece {
  readonly work: (tx: Db) => Promise<unknown>;
  readonly mustLast: (result: unknown) => boolean;
  readonly committed: (result: unknown) => void;
  readonly failed: (error: unknown) => void;
}

type Outcome =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: unknown };

const begin = CompiledQuery.raw('savepoint piece');
const undo = CompiledQuery.raw('rollback to savepoint piece');
const end = CompiledQuery.raw('release savepoint piece');

export class CommitQueue {
  readonly #transactions: Transactions;
  readonly #waiting: Piece[] = [];
  #running: Promise<void> | undefined;
  /** Resolves when the piece that was submitted last is done; those before it are by then. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(transactions: Transactions) {
    this.#transactions = transactions;
  }

  /** Pieces that wait: a measure of how far the database is behind. */
  get length(): number {
    return this.#waiting.length;
  }

  /**
   * Runs `work` in a transaction, several times when other nodes get in its way: what it does beside the database must bear
   * that. `committed` is called once, synchronously after the commit, in the order of submission and
   * before anybody's promise resolves: what it changes in memory is never ahead of or out of step with the database.
   * When `work` throws, its own changes are undone, and only they.
   * @param mustLast false for what may be forgotten when the power fails (who is connected, say): of SQLite's disk it is not waited for.
   */
  run<T>(
    work: (tx: Db) => Promise<T>,
    committed: (result: T) => void = () => {},
    mustLast: (result: T) => boolean = () => true,
  ): Promise<T> {
    if (this.#waiting.length >= maxQueuedWork)
      return Promise.reject(new Error('more work is waiting for the database than it can do'));
    const done = Promise.withResolvers<T>();
    this.#waiting.push({
      work,
      mustLast: (result) => mustLast(result as T),
      committed: (result) => {
        committed(result as T);
        done.resolve(result as T);
      },
      failed: done.reject,
    });
    this.#last = done.promise.catch(() => {});
    this.#running ??= this.#drain();
    return done.promise;
  }

  /** Resolves when everything submitted so far has been done, whatever comes after it. */
  async idle(): Promise<void> {
    await this.#last;
  }

  async #drain(): Promise<void> {
    // Whoever else has something to read in this turn of the loop joins the group.
    await setImmediate();
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, maxGroup);
      let outcomes: Outcome[];
      try {
        outcomes = await this.#transactions.write(
          (tx, isFatal) => runAll(tx, group, isFatal),
          (all) => all.some((one, i) => one.ok && group[i]!.mustLast(one.result)),
        );
      } catch (error) {
        for (const piece of group) piece.failed(error);
        continue;
      }
      for (const [i, piece] of group.entries()) settle(piece, outcomes[i]!);
    }
    this.#running = undefined;
  }
}

function settle(piece: Piece, outcome: Outcome): void {
  if (!outcome.ok) {
    piece.failed(outcome.error);
    return;
  }
  try {
    piece.committed(outcome.result);
  } catch (error) {
    piece.failed(error);
  }
}

async function runAll(
  tx: Db,
  group: readonly Piece[],
  isFatal: (error: unknown) => boolean,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const piece of group) {
    await tx.executeQuery(begin);
    try {
      outcomes.push({ ok: true, result: await piece.work(tx) });
    } catch (error) {
      if (isFatal(error)) throw error;
      // When the database itself failed, its transaction is gone and this throws: then the whole group failed.
      await tx.executeQuery(undo);
      outcomes.push({ ok: false, error });
    }
    await tx.executeQuery(end);
  }
  return outcomes;
}
