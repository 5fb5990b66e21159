/** A disk of a few megabytes that can be filled: a tmpfs, mounted until it is disposed of. Needs root. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { admissionFor, type ControlClient } from './control-client.ts';

/** A client may create so many at once. */
const mostCreated = 90;

export class SmallDisk implements Disposable {
  readonly path: string;
  readonly #ballast: string;

  /** @param options further ones of tmpfs(5). */
  constructor(sizeMib: number, ...options: readonly string[]) {
    this.path = mkdtempSync(join(tmpdir(), 'buri-disk-'));
    this.#ballast = join(this.path, 'ballast');
    const all = [`size=${sizeMib}m`, ...options].join();
    execFileSync('mount', ['-t', 'tmpfs', '-o', all, 'buri-test', this.path]);
  }

  /** To its last byte. */
  fill(): void {
    for (let size = 1_048_576; size >= 512; size /= 2)
      for (;;) {
        try {
          writeFileSync(this.#ballast, Buffer.alloc(size), { flag: 'a' });
        } catch {
          break;
        }
      }
  }

  /** What `fill` took is there again. */
  makeRoom(): void {
    rmSync(this.#ballast);
  }

  /** Lazily: whoever has a file open there keeps it from nobody. */
  [Symbol.dispose](): void {
    execFileSync('umount', ['--lazy', this.path]);
    rmdirSync(this.path);
  }
}

/** A network with a name that is new; undefined: the server says that it cannot write. */
export async function tryCreate(client: ControlClient): Promise<string | undefined> {
  const operation = { op: 'create', name: randomUUID(), type: 'mesh' } as const;
  const result = await client.request({ ...operation, admission: admissionFor('') });
  if (result.ok) return result.network;
  assert.equal(result.error.code, 'server-storage');
  return undefined;
}

/** The networks that could be created before the disk was full. */
export async function createUntilRefused(client: ControlClient): Promise<string[]> {
  const made: string[] = [];
  for (;;) {
    const network = await tryCreate(client);
    if (network === undefined) return made;
    made.push(network);
    assert.ok(made.length < mostCreated, 'the disk does not fill up');
  }
}
