import { mkdir, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BuriError } from '#core/errors.ts';

/** What is read at most of any file of ours: beyond it the file is not ours. */
const maxFileBytes = 256 * 1024 * 1024;

/** Makes the directory with mode 0700 where it is missing. BuriError: state-unwritable. */
export async function makePrivateDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unwritable(directory, error);
  }
}

/** The text of a file, or undefined when there is none. BuriError: state-unreadable. */
export async function readText(path: string): Promise<string | undefined> {
  return (await readBytes(path))?.toString('utf8');
}

/** A file, or undefined when there is none. BuriError: state-unreadable. */
export async function readBytes(path: string): Promise<Buffer | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      if (size > maxFileBytes) throw new Error(`it has ${size} bytes`);
      return await file.readFile();
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new BuriError(
      'state-unreadable',
      `cannot read ${path} (${reasonOf(error)}); check its owner and permissions`,
      { cause: error },
    );
  }
}

/**
 * Replaces a file whole or not at all, also when the machine loses power in the middle; mode 0600.
 * BuriError: state-unwritable, disk-full.
 */
export async function writeAtomically(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const directory = await open(dirname(path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw unwritable(path, error);
  }
}

/** Moves a file that cannot be used out of the way and returns its new name. It is never overwritten. */
export async function setAside(path: string, why: string, at: Date): Promise<string> {
  const stamp = at.toISOString().replace(/[:.]/g, '-');
  const aside = `${path}.${why}-${stamp}`;
  try {
    await rename(path, aside);
  } catch (error) {
    throw unwritable(path, error);
  }
  return aside;
}

/** Finds out at start, not at the first change, that nothing can be kept here. */
export async function checkWritable(directory: string): Promise<void> {
  const probe = join(directory, 'write-check');
  await writeAtomically(probe, 'x'.repeat(4096));
  await unlink(probe).catch((error) => {
    throw unwritable(probe, error);
  });
}

function unwritable(path: string, error: unknown): BuriError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new BuriError('disk-full', `no space left to write ${path}; free some disk space`, {
      cause: error,
    });
  }
  return new BuriError(
    'state-unwritable',
    `cannot write ${path} (${reasonOf(error)}); run as a user who may, or choose another --state`,
    { cause: error },
  );
}

function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return 'no permission';
    case 'EROFS':
      return 'the file system is read-only';
    case 'ENOTDIR':
      return 'a part of the path is no directory';
    case 'EEXIST':
      return 'it is no directory';
    case 'EISDIR':
      return 'it is a directory';
    default:
      return code ?? message;
  }
}
