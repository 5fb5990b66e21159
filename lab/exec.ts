/** Short commands, bounded in time and output. */
import { type ChildProcessWithoutNullStreams, type StdioOptions, spawn } from 'node:child_process';
import { openSync, readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const repositoryRoot = fileURLToPath(new URL('..', import.meta.url));
/** The Node that the lock file pins. */
export const pinnedNode = join(repositoryRoot, 'node_modules', '.bin', 'node');

/**
 * Of each output at most this much is kept; then the pipe is closed, which ends an ordinary
 * program.
 */
const maxOutputBytes = 64 * 1024 * 1024;

export interface ExecOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly env?: Record<string, string | undefined>;
  readonly cwd?: string;
}

export interface ExecResult {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 + n when signal n ended it, as a shell counts. */
  readonly code: number;
}

/**
 * The environment of everything that the laboratory starts: system programs are found; settings of
 * the user's own Buri and of the test runner do not reach it.
 */
export function environment(extra: Record<string, string | undefined> = {}): NodeJS.ProcessEnv {
  const ours = (name: string) => /^(BURI_|NODE_(OPTIONS|TEST_CONTEXT|CHANNEL_FD)$)/.test(name);
  const rest = Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours(name)));
  const path = [join(repositoryRoot, 'node_modules', '.bin'), rest.PATH, '/usr/sbin', '/sbin'];
  const cache = join(repositoryRoot, 'build', 'compile-cache');
  return {
    ...rest,
    PATH: path.filter(Boolean).join(delimiter),
    LC_ALL: 'C',
    NODE_COMPILE_CACHE: rest.NODE_COMPILE_CACHE ?? cache,
    ...extra,
  };
}

/**
 * Standard streams for a child, and /dev/null in place of every other descriptor that it would
 * inherit. Node closes the low ones itself; a higher one may be somebody's lock, which a program
 * left running would hold.
 */
export function stdioOf(...streams: ('pipe' | 'ignore')[]): StdioOptions {
  const stdio: ('pipe' | 'ignore' | number)[] = [...streams];
  for (const fd of inheritable()) {
    while (stdio.length < fd) stdio.push('ignore');
    nullDevice ??= openSync('/dev/null', 'r+');
    stdio[fd] = nullDevice;
  }
  return stdio;
}

let nullDevice: number | undefined;
const closeOnExec = 0o2000000;

/** Descriptors above the standard ones that are not closed by exec, in order. */
function inheritable(): number[] {
  const fds = readdirSync('/proc/self/fdinfo')
    .map(Number)
    .sort((a, b) => a - b);
  return fds.filter((fd) => fd > 2 && (flagsOf(fd) & closeOnExec) === 0);
}

function flagsOf(fd: number): number {
  try {
    const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
    return Number.parseInt(flags ?? '0', 8);
  } catch {
    // Closed meanwhile: it was the descriptor of the listing itself.
    return closeOnExec;
  }
}

/**
 * Runs a command to its end. Its code is returned, not thrown; a program that cannot start, or
 * overstays, throws.
 */
export function exec(
  command: string,
  args: readonly string[],
  { input = '', timeoutMs = 30_000, env, cwd }: ExecOptions = {},
): Promise<ExecResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ExecResult>();
  const child = spawn(command, args, {
    stdio: stdioOf('pipe', 'pipe', 'pipe'),
    env: environment(env),
    ...(cwd === undefined ? {} : { cwd }),
  }) as ChildProcessWithoutNullStreams;
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
    // A grandchild may hold the pipes open for ever.
    child.stdout.destroy();
    child.stderr.destroy();
  }, timeoutMs);
  // A program may end before it has read its input: that is its business.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  child.on('error', (error) => {
    clearTimeout(timer);
    reject(new Error(`cannot start ${command}: ${error.message}`, { cause: error }));
  });
  child.on('close', (code, signal) => {
    clearTimeout(timer);
    if (late) {
      const said = `${stdout()}${stderr()}`.slice(-2_000);
      reject(new Error(`${[command, ...args].join(' ')}: killed after ${timeoutMs} ms\n${said}`));
    } else resolve({ stdout: stdout(), stderr: stderr(), code: exitCode(code, signal) });
  });
  return promise;
}

/**
 * As {@link exec}, but a code other than 0 throws with what the command said. Returns its standard
 * output.
 */
export async function execChecked(
  command: string,
  args: readonly string[],
  options: ExecOptions = {},
): Promise<string> {
  const result = await exec(command, args, options);
  if (result.code !== 0) throw new Error(describeFailure([command, ...args], result, options));
  return result.stdout;
}

export function describeFailure(
  command: readonly string[],
  { stdout, stderr, code }: ExecResult,
  { input }: ExecOptions = {},
): string {
  const parts = [`${command.join(' ')}: exit code ${code}`, stderr.slice(-4_000)];
  if (stdout !== '') parts.push(`stdout: ${stdout.slice(-4_000)}`);
  if (input) parts.push(`input: ${input.slice(0, 4_000)}`);
  return parts.map((part) => part.trim()).join('\n');
}

export function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  if (code !== null) return code;
  return 128 + (signal === null ? 0 : constants.signals[signal]);
}

function collect(stream: NodeJS.ReadableStream & { destroy(error?: Error): unknown }) {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxOutputBytes) stream.destroy();
    else chunks.push(chunk);
  });
  stream.on('error', () => {});
  return () => Buffer.concat(chunks).toString();
}
