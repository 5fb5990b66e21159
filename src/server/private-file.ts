import { chmodSync, closeSync, openSync } from 'node:fs';

/**
 * Makes a file that SQLite is to open readable and writable for its owner alone; what SQLite puts beside it takes over
 * its mode. An existing one is not opened here: closing it would give up every lock that this process has on it. What stands in the way
 * SQLite meets as well, and says it.
 */
export function keepToOwner(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return;
    try {
      chmodSync(path, 0o600);
    } catch {
      // Somebody else's: that is theirs to decide.
    }
  }
}
