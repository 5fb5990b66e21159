/**
 * The server's directory: `cluster.key`, `node.key`, `relay.key` (mode 0600, never in the database), `buri.db`, `lock`, `admin.sock`.
 * A standalone relay's: `relay.key`, `nodes`, `lock`.
 * The lock is an exclusive one of SQLite, which the kernel drops with the process however it ends.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Crypto } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import { Secret } from '#crypto/secret.ts';
import { keepToOwner } from './private-file.ts';

export const keyNames = ['cluster.key', 'node.key', 'relay.key'] as const;
export type KeyName = (typeof keyNames)[number];

export class DataDirectory implements Disposable {
  readonly path: string;
  readonly #lock: DatabaseSync;

  private constructor(path: string, lock: DatabaseSync) {
    this.path = path;
    this.#lock = lock;
  }

  /** Creates it where it is missing and locks it. BuriError: data-unwritable, disk-full, data-in-use. */
  static open(directory: string): DataDirectory {
    const path = resolve(directory);
    try {
      makeDirectory(path);
      const probe = join(path, 'write-check');
      writeDurably(probe, 'x'.repeat(4096));
      unlinkSync(probe);
      keepToOwner(join(path, 'lock'));
    } catch (error) {
      throw fileError(path, error);
    }
    let lock: DatabaseSync | undefined;
    try {
      lock = new DatabaseSync(join(path, 'lock'), { timeout: 0 });
      lock.exec('pragma journal_mode = memory; begin exclusive');
      return new DataDirectory(path, lock);
    } catch (error) {
      lock?.close();
      throw lockError(path, error);
    }
  }

  get databasePath(): string {
    return join(this.path, 'buri.db');
  }

  get adminSocketPath(): string {
    return join(this.path, 'admin.sock');
  }

  /**
   * The key in a file, made at the first start. A damaged file is an error, never a new key: clients pin the cluster key.
   * BuriError: key-damaged, data-unwritable, disk-full.
   */
  key(name: KeyName, crypto: Crypto): Secret {
    const path = join(this.path, name);
    if (!existsSync(path))
      this.writeKey(name, Buffer.from(crypto.random(32)).toString('base64url'));
    try {
      const key = parseKey(path, readFileSync(path, 'utf8'));
      chmodSync(path, 0o600);
      return key;
    } catch (error) {
      throw error instanceof BuriError ? error : fileError(path, error);
    }
  }

  /** BuriError: data-unwritable, disk-full. */
  writeKey(name: KeyName, key: string): void {
    const path = join(this.path, name);
    try {
      writeDurably(path, `${key}\n`);
    } catch (error) {
      throw fileError(path, error);
    }
  }

  hasKey(name: KeyName): boolean {
    return existsSync(join(this.path, name));
  }

  /** The server's nodes as they were told to a relay last. Without any it begins where its URL says. */
  nodeList(): Uint8Array | undefined {
    try {
      return readFileSync(this.#nodesPath);
    } catch {
      return undefined;
    }
  }

  /** BuriError: data-unwritable, disk-full. */
  writeNodeList(nodeList: Uint8Array): void {
    try {
      writeDurably(this.#nodesPath, nodeList);
    } catch (error) {
      throw fileError(this.#nodesPath, error);
    }
  }

  get #nodesPath(): string {
    return join(this.path, 'nodes');
  }

  [Symbol.dispose](): void {
    this.#lock.close();
  }
}

/** The key in a file as it is written there; undefined when there is none. BuriError: key-damaged. */
export function readKeyText(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, 'utf8').trim();
  parseKey(path, text).erase();
  return text;
}

/** A key that the operator has put there. BuriError: key-missing, key-damaged. */
export function readKeyFile(path: string): Secret {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new BuriError(
      'key-missing',
      `cannot read --cluster-key ${path} (${(error as Error).message}); copy cluster.key of the first node there`,
      { cause: error },
    );
  }
  return parseKey(path, text);
}

/** BuriError: key-damaged. */
export function parseKey(path: string, text: string): Secret {
  const key = text.trim();
  if (!/^[A-Za-z0-9_-]{43}$/.test(key))
    throw new BuriError(
      'key-damaged',
      `${path} does not hold a key; restore it from a backup (a new one would be another server)`,
    );
  return new Secret(new Uint8Array(Buffer.from(key, 'base64url')));
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // Node says ENOENT of a read-only file system; one step tells the reason.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') mkdirSync(path, { mode: 0o700 });
    throw error;
  }
}

/** Whole or not at all, also when the machine loses power in the middle. */
function writeDurably(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.new`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeFileSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    const directory = openSync(join(path, '..'), 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  } catch (error) {
    try {
      unlinkSync(temporary);
    } catch {}
    throw error;
  }
}

function fileError(path: string, error: unknown): BuriError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new BuriError('disk-full', `${path}: no space left; make room and start again`, {
      cause: error,
    });
  const reasons: Record<string, string> = {
    EACCES: 'no permission',
    EPERM: 'no permission',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of the path is no directory',
    EEXIST: 'it is no directory',
    EISDIR: 'it is a directory',
  };
  const reason = reasons[code ?? ''] ?? code ?? message;
  return new BuriError(
    'data-unwritable',
    `cannot use ${path} (${reason}); run as a user who may, or choose another --data`,
    { cause: error },
  );
}

/** SQLite result codes. */
const busy = 5;
const full = 13;

function lockError(path: string, error: unknown): BuriError {
  const { errcode = 0, message } = error as { errcode?: number; message: string };
  switch (errcode & 0xff) {
    case busy:
      return new BuriError(
        'data-in-use',
        `another server is using ${path}; stop it, or give each its own --data`,
      );
    case full:
      return new BuriError('disk-full', `${path}: no space left; make room and start again`);
    default:
      return new BuriError('data-unwritable', `cannot lock ${path} (${message})`, { cause: error });
  }
}
