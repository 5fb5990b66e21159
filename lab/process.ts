/**
 * A program that runs beside the test: killed by its process id, its output kept in a bounded ring.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { environment, exitCode, stdioOf } from './exec.ts';
import { type WaitOptions, waitFor, withinMs } from './wait.ts';

const maxLines = 2_000;
const maxLineChars = 4_000;
const linesInFailure = 40;

export interface SpawnOptions {
  /** For failure messages. */
  readonly name?: string;
  readonly env?: Record<string, string | undefined>;
  readonly cwd?: string;
  /** Called for every line; the ring keeps it as well. */
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Opens a pipe to standard input, readable from {@link LabProcess.stdin}. */
  readonly stdin?: boolean;
}

export class LabProcess implements AsyncDisposable {
  readonly name: string;
  /** Settles when the program has ended, with its exit code (128 + n for signal n). */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  #lineCount = 0;
  #openStreams = 2;
  #code: number | undefined;

  /** Rejects nothing: a program that cannot start ends with code 127 and says why in its output. */
  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.name = options.name ?? [command, ...args].join(' ');
    // Its own process group: Ctrl-C in the terminal reaches the laboratory only, which then ends it
    // in order.
    this.#child = spawn(command, args, {
      stdio: stdioOf(options.stdin === true ? 'pipe' : 'ignore', 'pipe', 'pipe'),
      env: environment(options.env),
      detached: true,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    this.#child.stdin?.on('error', () => {});
    const { promise, resolve } = Promise.withResolvers<number>();
    this.ended = promise;
    this.#child.on('error', (error) => {
      this.#keep(`cannot start: ${error.message}`);
      this.#end(127, resolve);
    });
    // 'exit', not 'close': a grandchild may hold the pipes open.
    this.#child.on('exit', (code, signal) => this.#end(exitCode(code, signal), resolve));
    for (const stream of ['stdout', 'stderr'] as const) {
      const lines = createInterface({ input: this.#child[stream] as Readable });
      lines.on('close', () => this.#openStreams--);
      lines.on('line', (line) => {
        this.#keep(line);
        options.onLine?.(line, stream);
      });
    }
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get stdin() {
    return this.#child.stdin;
  }

  /** Undefined while it runs. */
  get code(): number | undefined {
    return this.#code;
  }

  get running(): boolean {
    return this.#code === undefined;
  }

  /** The newest lines of both outputs, oldest first. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  /** What it said last, for a failure message. */
  get tail(): string {
    const state = this.running ? `running, pid ${this.pid}` : `ended with code ${this.#code}`;
    const left = this.#lineCount - linesInFailure;
    const more = left > 0 ? [`… ${left} lines before`] : [];
    const lines = [...more, ...this.#lines.slice(-linesInFailure)];
    return [`── ${this.name} (${state}):`, ...lines.map((line) => `   ${line}`)].join('\n');
  }

  /**
   * Waits for a line of either output, past ones included while the ring has them; fails when the
   * program ends first.
   */
  async line(pattern: RegExp, options: WaitOptions = {}): Promise<string> {
    let seen = 0;
    const search = () => {
      const fresh = Math.min(this.#lineCount - seen, this.#lines.length);
      seen = this.#lineCount;
      const found = this.#lines
        .slice(this.#lines.length - fresh)
        .find((line) => pattern.test(line));
      return found === undefined ? undefined : { found };
    };
    const result = await waitFor(
      `${this.name} to print ${pattern}`,
      // What it said before its end may still be in the pipe when the end is known.
      () => search() ?? (!this.running && this.#openStreams === 0 && 'ended'),
      { intervalMs: 20, ...options },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.tail}`);
    });
    if (typeof result !== 'string') return result.found;
    throw new Error(`${this.name} ended before it printed ${pattern}\n${this.tail}`);
  }

  signal(name: NodeJS.Signals): void {
    // Never after its end: the number may belong to somebody else by then.
    if (this.running && this.pid !== undefined) this.#child.kill(name);
  }

  /** Asks it to end, and makes it end when it has not within the bound. Returns its exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 5_000): Promise<number> {
    this.signal(signal);
    try {
      return await withinMs(`${this.name} to end`, graceMs, this.ended);
    } catch {
      this.signal('SIGKILL');
      return withinMs(`${this.name} to be killed`, 5_000, this.ended);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #keep(line: string): void {
    this.#lines.push(line.slice(0, maxLineChars));
    this.#lineCount++;
    if (this.#lines.length > maxLines) this.#lines.shift();
  }

  #end(code: number, resolve: (code: number) => void): void {
    this.#code = code;
    resolve(code);
  }
}
