/**
 * Backups and moves of a server's data. A backup is one SQLite file, whatever database the server uses: its tables as they
 * are, and `backup_keys` with the keys of the directory. Who has the file has the server.
 */
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { sql } from 'kysely';
import { BuriError } from '#core/errors.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { renumber } from '../coordinator/renumber.ts';
import { DataDirectory, type KeyName, keyNames, parseKey, readKeyText } from '../data-directory.ts';
import { keepToOwner } from '../private-file.ts';
import { now, storeLocation } from '../state.ts';
import { copyStore, type TableSum } from '../store/copy.ts';
import { isPostgresUrl } from '../store/postgres-url.ts';
import { Store } from '../store/store.ts';

export interface Copied {
  readonly tables: readonly TableSum[];
}

/** Beside a running server too: what it commits meanwhile is not in it. BuriError: backup-exists, no-server, … */
export async function backup(
  data: string,
  store: string | undefined,
  file: string,
): Promise<Copied> {
  const directory = resolve(data);
  const path = resolve(file);
  if (existsSync(path))
    throw new BuriError('backup-exists', `${path} exists already; choose another file`);
  if (!existsSync(join(directory, 'cluster.key')))
    throw new BuriError('no-server', `no server has run in ${directory} yet: no cluster.key there`);
  try {
    keepToOwner(path);
    await using from = await Store.openToRead(storeLocation(store, join(directory, 'buri.db')));
    await using to = await Store.open(path);
    const tables = await copyStore(from, to);
    await sql`create table backup_keys (name text primary key, key text not null)`.execute(to.db);
    for (const name of keyNames) {
      const key = readKeyText(join(directory, name));
      if (key !== undefined)
        await sql`insert into backup_keys values (${name}, ${key})`.execute(to.db);
    }
    // One file: without what SQLite keeps beside it.
    await sql`pragma wal_checkpoint(truncate)`.execute(to.db);
    return { tables };
  } catch (error) {
    removeDatabase(path);
    throw error;
  }
}

/**
 * Into a new directory and an empty database. The file itself stays as it is, and may be of an older version: a copy of it is read.
 * What was given out since it was made is numbered over. BuriError: backup-missing, backup-unsound, target-not-empty, data-in-use…
 */
export async function restore(
  file: string,
  data: string,
  store: string | undefined,
): Promise<Copied> {
  const path = resolve(file);
  if (!existsSync(path)) throw new BuriError('backup-missing', `there is no ${path}`);
  using directory = DataDirectory.open(data);
  if (directory.hasKey('cluster.key'))
    throw new BuriError(
      'target-not-empty',
      `${directory.path} holds the keys of a server already; give a new --data`,
    );
  await using from = await openCopy(path, join(directory.path, 'restoring.db'));
  const keys = await keysOf(from.store, path);
  const clusterKey = parseKey(path, keys.get('cluster.key')!);
  await using to = await Store.open(storeLocation(store, directory.databasePath));
  const tables = await copyStore(from.store, to);
  const sign = (message: Uint8Array) => nodeCrypto.ed25519Sign(clusterKey.bytes(), message);
  await to.commits.run((tx) => renumber(tx, { now: now(), sign }));
  for (const [name, key] of keys) directory.writeKey(name, key);
  return { tables };
}

/** From one database into another; the server must not run. BuriError: data-in-use, target-not-empty, copy-differs… */
export async function migrate(from: string, to: string): Promise<Copied> {
  const source = storeLocation(from, '');
  using _lock = isPostgresUrl(source) ? undefined : lockOf(source);
  await using store = await Store.openToRead(source);
  await using target = await Store.open(storeLocation(to, ''));
  return { tables: await copyStore(store, target) };
}

/** BuriError: backup-unsound, data-newer… */
async function openCopy(path: string, copy: string) {
  await using stack = new AsyncDisposableStack();
  stack.defer(() => removeDatabase(copy));
  try {
    copyFileSync(path, copy);
    const store = stack.use(await Store.open(copy));
    const owned = stack.move();
    return { store, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  } catch (error) {
    throw (error as { code?: string }).code === 'data-corrupt' ? unsound(path) : error;
  }
}

function removeDatabase(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
}

/** The directory of a SQLite database is locked meanwhile, where it is a server's. */
function lockOf(path: string): DataDirectory | undefined {
  if (!existsSync(path)) throw new BuriError('no-server', `there is no ${path}`);
  const directory = dirname(path);
  return existsSync(join(directory, 'lock')) ? DataDirectory.open(directory) : undefined;
}

async function keysOf(store: Store, path: string): Promise<Map<KeyName, string>> {
  try {
    const { rows } = await sql<{ name: string; key: string }>`
      select name, key from backup_keys`.execute(store.db);
    const keys = new Map<KeyName, string>();
    for (const name of keyNames) {
      const row = rows.find((candidate) => candidate.name === name);
      if (row !== undefined) keys.set(name, row.key);
    }
    if (!keys.has('cluster.key')) throw unsound(path);
    return keys;
  } catch {
    throw unsound(path);
  }
}

const unsound = (path: string) =>
  new BuriError('backup-unsound', `${path} is no backup of a Buri server`);
