/** The server's durable state: opens it, brings its schema up to date, and commits work in groups. */
import { Kysely, Migrator } from 'kysely';
import { BuriError } from '#core/errors.ts';
import { CommitQueue } from './commit-queue.ts';
import { migrations } from './migrations.ts';
import type { Db, Schema } from './schema.ts';
import { sqliteDialect } from './sqlite.ts';

export class Store implements AsyncDisposable {
  readonly db: Db;
  readonly commits: CommitQueue;

  private constructor(db: Db) {
    this.db = db;
    this.commits = new CommitQueue(db);
  }

  /** @param path of the SQLite database, or ":memory:". Throws a BuriError that says what is wrong with the place. */
  static async open(path: string): Promise<Store> {
    const db: Db = new Kysely<Schema>({ dialect: sqliteDialect(path) });
    try {
      await migrate(db);
      return new Store(db);
    } catch (error) {
      await db.destroy();
      throw storeError(error, path);
    }
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
      throw storeError(error, 'the database');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.commits.idle();
    await this.db.destroy();
  }
}

async function migrate(db: Db): Promise<void> {
  const provider = migrations({ bytes: 'blob' });
  const { error } = await new Migrator({ db, provider }).migrateToLatest();
  if (error === undefined) return;
  if (error instanceof Error && error.message.includes('corrupted migrations'))
    throw new BuriError(
      'data-newer',
      'the database was written by a newer version of Buri; run that version, or restore a backup',
      { cause: error },
    );
  throw error;
}

/** SQLite result codes (sqlite.org/rescode.html) that an operator can do something about. */
export function storeError(error: unknown, path: string): Error {
  if (error instanceof BuriError) return error;
  const code = (error as { errcode?: number }).errcode;
  if (typeof code !== 'number') return error instanceof Error ? error : new Error(String(error));
  const detail = (error as Error).message;
  switch (code & 0xff) {
    case 13:
      return new BuriError('disk-full', `${path}: the disk is full; make room and start again`, {
        cause: error,
      });
    case 8:
    case 14:
    case 3:
    case 23:
      return new BuriError(
        'data-unwritable',
        `${path}: cannot be written (${detail}); check owner, permissions and mount`,
        { cause: error },
      );
    case 5:
    case 6:
      return new BuriError('data-in-use', `${path}: another process holds the database`, {
        cause: error,
      });
    case 11:
    case 26:
      return new BuriError(
        'data-corrupt',
        `${path}: not a sound database (${detail}); restore a backup, it was left untouched`,
        { cause: error },
      );
    default:
      return new BuriError(
        'data-failed',
        `${path}: the database failed (${detail}); the disk may be full or failing`,
        { cause: error },
      );
  }
}
