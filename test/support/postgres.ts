/** A PostgreSQL of the test's own: in a temporary directory, as a user without rights, on a port and socket of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const versions = '/usr/lib/postgresql';
const startTimeoutMs = 120_000;
/** PostgreSQL refuses to run as root. */
export const postgresOwner = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

/** Directory of its programs; undefined: not installed. */
export function postgresPrograms(): string | undefined {
  if (!existsSync(versions)) return undefined;
  const newest = readdirSync(versions).sort((a, b) => Number(b) - Number(a))[0];
  const bin = join(versions, newest ?? '', 'bin');
  return existsSync(join(bin, 'initdb')) ? bin : undefined;
}

export const postgresSkip =
  postgresPrograms() === undefined ? 'PostgreSQL is not installed (as root: npm test)' : false;

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface PostgresOptions {
  /** An empty directory of `postgresOwner`, for the write-ahead log; its files are small ones. */
  readonly log?: string;
}

export class PostgresProcess implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly #bin: string;
  #child: ChildProcess | undefined;
  #log = '';
  #databases = 0;

  private constructor(directory: string, port: number, bin: string) {
    this.directory = directory;
    this.port = port;
    this.#bin = bin;
  }

  static async start({ log }: PostgresOptions = {}): Promise<PostgresProcess> {
    const bin = postgresPrograms()!;
    const directory = mkdtempSync(join(tmpdir(), 'buri-pg-'));
    if (postgresOwner.uid !== undefined) chownSync(directory, postgresOwner.uid, postgresOwner.gid);
    chmodSync(directory, 0o755);
    const data = join(directory, 'data');
    const init = ['-D', data, '-U', 'buri', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
    if (log !== undefined) init.push('-X', log, '--wal-segsize=1');
    execFileSync(join(bin, 'initdb'), init, { ...postgresOwner, cwd: directory, stdio: 'pipe' });
    const postgres = new PostgresProcess(directory, await freePort(), bin);
    try {
      await postgres.up();
      return postgres;
    } catch (error) {
      await postgres[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts it, after `stop` too. */
  async up(): Promise<void> {
    const { directory, port } = this;
    // A process that is killed loses nothing without fsync: only a machine does.
    const settings = ['fsync=off', 'max_connections=60', 'shared_buffers=16MB'];
    const child = spawn(
      join(this.#bin, 'postgres'),
      [
        ...['-D', join(directory, 'data'), '-k', directory, '-h', '127.0.0.1', '-p', `${port}`],
        ...settings.flatMap((setting) => ['-c', setting]),
      ],
      { ...postgresOwner, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    child.stderr!.on('data', (text) => {
      this.#log = `${this.#log}${text}`.slice(-8_192);
    });
    this.#child = child;
    const until = performance.now() + startTimeoutMs;
    for (;;) {
      try {
        await this.#query('select 1', 'postgres');
        return;
      } catch {
        if (child.exitCode !== null || performance.now() > until)
          throw new Error(`PostgreSQL did not start:\n${this.#log}`);
        await sleep(50);
      }
    }
  }

  /** SIGINT: fast shutdown, connections are cut. SIGQUIT: as if it had crashed. */
  async stop(signal: 'SIGINT' | 'SIGQUIT' = 'SIGINT'): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null) return;
    child.kill(signal);
    await this.ended();
    this.#child = undefined;
  }

  /** Resolves when it has ended, also by itself. */
  async ended(): Promise<void> {
    if (this.#child?.exitCode === null) await once(this.#child, 'exit');
  }

  /** Keeps all that it holds, as a standby would that hears of nothing more. */
  async keep(): Promise<void> {
    await this.stop();
    this.#copy('data', 'standby');
    await this.up();
  }

  /** What was kept takes over as the primary: what was committed since is lost. */
  async failOver(): Promise<void> {
    await this.stop('SIGQUIT');
    rmSync(join(this.directory, 'data'), { recursive: true });
    this.#copy('standby', 'data');
    writeFileSync(join(this.directory, 'data', 'standby.signal'), '');
    await this.up();
    await this.#query('select pg_promote()', 'postgres');
  }

  #copy(from: string, to: string): void {
    execFileSync('cp', ['-a', from, to], { cwd: this.directory });
  }

  /** A new, empty database. */
  async database(tablespace = 'pg_default'): Promise<string> {
    const name = `buri_${++this.#databases}`;
    await this.#query(`create database ${name} tablespace ${tablespace}`, 'postgres');
    return this.url(name);
  }

  url(database: string): string {
    return `postgres://buri@127.0.0.1:${this.port}/${database}`;
  }

  /** One statement, by a connection of its own. */
  async query(url: string, text: string): Promise<Record<string, unknown>[]> {
    return await this.#query(text, url.slice(url.lastIndexOf('/') + 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGQUIT');
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #query(text: string, database: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({
      ...{ host: this.directory, port: this.port, user: 'buri', database },
      connectionTimeoutMillis: 2_000,
    });
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query(text)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  }
}
