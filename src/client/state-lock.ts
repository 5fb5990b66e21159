import { chmodSync, closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { BuriError } from '#core/errors.ts';

/**
 * Keeps a second daemon off a state directory. The lock is SQLite's exclusive one, because Node has no file locks of its
 * own and the kernel drops this one with the process, however it ends; no process that we start inherits it.
 */
export class StateLock implements Disposable {
  readonly #database: DatabaseSync;

  /** BuriError: state-in-use, state-unwritable. */
  constructor(directory: string) {
    const path = join(directory, 'lock');
    let database: DatabaseSync | undefined;
    try {
      keepToOwner(path);
      database = new DatabaseSync(path, { timeout: 0 });
      database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    } catch (error) {
      database?.close();
      throw lockError(directory, error);
    }
    this.#database = database;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

/**
 * Whoever can open the file can lock it, and so keep the daemon from starting. An existing one is not opened here: closing
 * it would give up the lock of another store of this process.
 */
function keepToOwner(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    chmodSync(path, 0o600);
  }
}

/** SQLITE_BUSY. */
const busy = 5;

function lockError(directory: string, error: unknown): BuriError {
  const { errcode, message } = error as { errcode?: number; message: string };
  return errcode === busy
    ? new BuriError(
        'state-in-use',
        `another daemon is using ${directory}; give each its own --state, or stop the other one`,
      )
    : new BuriError('state-unwritable', `cannot lock ${directory} (${message})`, { cause: error });
}
