/** `buri server` as a process of its own, on loopback and free ports. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const program = new URL('../../bin/buri', import.meta.url).pathname;
const readyTimeoutMs = 60_000;

export interface ServerProcessOptions {
  readonly data?: string;
  readonly args?: readonly string[];
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const temporaryDirectory = (name: string): string =>
  mkdtempSync(join(tmpdir(), `buri-${name}-`));

export class ServerProcess implements AsyncDisposable {
  readonly data: string;
  readonly lines: string[] = [];
  readonly child: ChildProcess;
  /** The `--store` of a server with this directory; undefined: none is given. The same tests hold for all. */
  static store: ((data: string) => Promise<string>) | undefined;
  readonly #owned: boolean;
  readonly #store: string | undefined;
  readonly #ended: Promise<number | null>;
  url = '';
  stunPorts: number[] = [];

  private constructor(
    options: ServerProcessOptions & { readonly data: string },
    owned: boolean,
    store: string | undefined,
  ) {
    this.data = options.data;
    this.#owned = owned;
    this.#store = store;
    const args = ['server', '--data', this.data, '--public', '127.0.0.1'];
    if (options.args?.includes('--listen') !== true) args.push('--listen', '127.0.0.1:0');
    args.push('--stun', '127.0.0.1:0,127.0.0.1:0', '--relay', '127.0.0.1:0');
    this.child = spawn(program, [...args, ...(options.args ?? [])], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#ended = new Promise((resolve) => this.child.once('exit', (code) => resolve(code)));
  }

  /** Starts one and waits for its `ready`. The error of one that ends before carries its output. */
  static async start(options: ServerProcessOptions = {}): Promise<ServerProcess> {
    const data = options.data ?? temporaryDirectory('server');
    const store = await ServerProcess.store?.(data);
    const args = [...(store === undefined ? [] : ['--store', store]), ...(options.args ?? [])];
    const server = new ServerProcess({ data, args }, options.data === undefined, store);
    const ready = Promise.withResolvers<void>();
    createInterface({ input: server.child.stderr! }).on('line', (line) => {
      server.lines.push(line);
      if (!line.includes('"ready"')) return;
      const facts = JSON.parse(line) as { url: string; stun: number[] };
      server.url = facts.url;
      server.stunPorts = facts.stun;
      ready.resolve();
    });
    const patience = setTimeout(
      () => ready.reject(new Error(`not ready:\n${server.lines.join('\n')}`)),
      readyTimeoutMs,
    );
    void server.#ended.then((code) => {
      ready.reject(new Error(`ended with ${code}:\n${server.lines.join('\n')}`));
    });
    try {
      await ready.promise;
      return server;
    } catch (error) {
      await server.stop('SIGKILL');
      throw error;
    } finally {
      clearTimeout(patience);
    }
  }

  /** An operator's verb, with `--data` and `--json`. */
  async operate(...words: readonly string[]): Promise<Record<string, unknown>> {
    const store = this.#store === undefined ? [] : ['--store', this.#store];
    const result = await buri('server', ...words, '--data', this.data, ...store, '--json');
    if (result.code !== 0) throw new Error(`${words.join(' ')}: ${result.stdout}${result.stderr}`);
    return JSON.parse(result.stdout) as Record<string, unknown>;
  }

  async token(): Promise<string> {
    return (await this.operate('token', 'create', '--uses', 'any')).token as string;
  }

  /** Resident memory in bytes. */
  async memoryBytes(): Promise<number> {
    const { readFile } = await import('node:fs/promises');
    const status = await readFile(`/proc/${this.#nodePid()}/status`, 'utf8');
    return Number(/VmRSS:\s+([0-9]+) kB/.exec(status)?.[1]) * 1024;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    return await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    if (this.#owned) rmSync(this.data, { recursive: true, force: true });
  }

  /** `bin/buri` execs Node: the child is the server itself. */
  #nodePid(): number {
    return this.child.pid!;
  }
}

/** Runs the program to its end. */
export function buri(...words: readonly string[]): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(program, words, { timeout: 30_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ code, stdout, stderr });
    });
  });
}
