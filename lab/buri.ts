/** The real programs on the laboratory's hosts, by the command-line contract alone. */
import { join } from 'node:path';
import { localApi, localError, type Verb, type VerbResponse } from '#wire/local-api.ts';
import { describeFailure, repositoryRoot } from './exec.ts';
import type { Host } from './host.ts';
import type { LabProcess } from './process.ts';

export const buriProgram = join(repositoryRoot, 'bin', 'buri');

/** `server` and `daemon` print one line with this word when they serve. */
const readyLine = /\bready\b/;
const readyTimeoutMs = 120_000;
/** Verbs may wait for the server, and run Argon2id first, with other tests on the same cores. */
const verbTimeoutMs = 120_000;

export interface ProgramOptions {
  /** Kept from an earlier start; by default a fresh directory of the laboratory. */
  readonly directory?: string;
  /** More arguments. */
  readonly args?: readonly string[];
  readonly env?: Record<string, string | undefined>;
}

export interface ServerOptions extends ProgramOptions {
  /** What clients log in to; by default the host's IPv4 address. */
  readonly publicHost?: string;
  readonly enrol?: 'token' | 'open' | 'closed';
}

export class BuriServer implements AsyncDisposable {
  readonly host: Host;
  readonly process: LabProcess;
  readonly directory: string;

  private constructor(host: Host, process: LabProcess, directory: string) {
    this.host = host;
    this.process = process;
    this.directory = directory;
  }

  /** Starts a server with every role, and returns when it is ready. */
  static async start(host: Host, options: ServerOptions = {}): Promise<BuriServer> {
    const directory = options.directory ?? host.lab.temporaryDirectory(`${host.name}-server`);
    const args = ['--data', directory, '--public', options.publicHost ?? host.ipv4];
    if (options.enrol !== undefined) args.push('--enrol', options.enrol);
    const process = await startProgram(host, 'server', args, options);
    return new BuriServer(host, process, directory);
  }

  /** The URL to log in to. */
  async url(): Promise<string> {
    return (await this.operate(['url'])).trim();
  }

  async createToken(args: readonly string[] = []): Promise<string> {
    return (await this.operate(['token', 'create', ...args])).trim();
  }

  /**
   * Runs an operator's verb (`clients`, `networks`, `remove CLIENT-ID` …) and returns what it
   * prints.
   */
  operate(words: readonly string[]): Promise<string> {
    return this.host.check(buriProgram, ['server', ...words, '--data', this.directory]);
  }

  stop(signal?: NodeJS.Signals): Promise<number> {
    return this.process.stop(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

export interface DaemonOptions extends ProgramOptions {
  readonly device?: string;
  readonly mode?: 'tun' | 'tap';
  readonly port?: number;
}

export class BuriDaemon implements AsyncDisposable {
  readonly host: Host;
  readonly process: LabProcess;
  readonly directory: string;

  private constructor(host: Host, process: LabProcess, directory: string) {
    this.host = host;
    this.process = process;
    this.directory = directory;
  }

  /** Starts a daemon, and returns when it is ready to take verbs. */
  static async start(host: Host, options: DaemonOptions = {}): Promise<BuriDaemon> {
    const directory = options.directory ?? host.lab.temporaryDirectory(`${host.name}-client`);
    const args = ['--state', directory, '--socket', socketIn(directory)];
    for (const name of ['device', 'mode', 'port'] as const) {
      if (options[name] !== undefined) args.push(`--${name}`, `${options[name]}`);
    }
    const process = await startProgram(host, 'daemon', args, options);
    return new BuriDaemon(host, process, directory);
  }

  get socket(): string {
    return socketIn(this.directory);
  }

  /**
   * Runs a verb with `--json` and returns its checked answer.
   * @param words its arguments and options, as on the command line
   * @param input its standard input, for a PASSWORD of `-`
   * @throws VerbError with the code of a refusal; Error when the answer is not as the API says
   */
  async verb<V extends Verb>(
    verb: V,
    words: readonly string[] = [],
    input = '',
  ): Promise<VerbResponse<V>> {
    const args = [verb, ...words, '--socket', this.socket, '--json'];
    const result = await this.host.run(buriProgram, args, { input, timeoutMs: verbTimeoutMs });
    const answer = parsed(result.stdout);
    if (result.code !== 0) {
      const refusal = localError.safeParse(answer);
      const command = ['buri', ...args];
      if (!refusal.success)
        throw new Error(`${describeFailure(command, result)}\n${this.process.tail}`);
      throw new VerbError(verb, refusal.data.error);
    }
    return localApi[verb].response.parse(answer) as VerbResponse<V>;
  }

  stop(signal?: NodeJS.Signals): Promise<number> {
    return this.process.stop(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** The daemon refused, or could not do, what a verb asked. */
export class VerbError extends Error {
  readonly code: string;

  constructor(verb: Verb, { code, message }: { readonly code: string; readonly message: string }) {
    super(`${verb}: ${message} (${code})`);
    this.name = 'VerbError';
    this.code = code;
  }
}

async function startProgram(
  host: Host,
  role: 'server' | 'daemon',
  args: readonly string[],
  options: ProgramOptions,
): Promise<LabProcess> {
  const process = host.spawn(buriProgram, [role, ...args, ...(options.args ?? [])], {
    name: `buri ${role} on ${host.name}`,
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  await process.line(readyLine, { timeoutMs: readyTimeoutMs });
  return process;
}

function socketIn(directory: string): string {
  return join(directory, 'buri.sock');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
