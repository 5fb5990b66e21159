/** Network namespaces: commands inside them, and whose they are. */
import { readdirSync, readFileSync } from 'node:fs';
import { type ExecOptions, exec, execChecked } from './exec.ts';

/**
 * Namespaces and temporary directories are named `buri-PID-START-N-LABEL`: the process that made
 * them, when that process was started (a number can be given twice), a count, and a label for
 * people. So left-overs of dead processes can be told from the property of live ones.
 */
const ownedName = /^buri-(\d+)-([0-9a-z]+)-\d+-/;
const namespaceDirectory = '/run/netns';

export const ownPrefix = `buri-${process.pid}-${startOf(process.pid) ?? 0}`;

/** True for a name that the laboratory gave and whose process is gone. */
export function isAbandoned(name: string): boolean {
  const match = ownedName.exec(name);
  return match !== null && startOf(Number(match[1])) !== match[2];
}

export function namespaces(): string[] {
  try {
    return readdirSync(namespaceDirectory);
  } catch {
    return [];
  }
}

/**
 * `ip` commands inside a namespace, one a line, in one process. Interfaces are made where they
 * belong, never on the host.
 */
export async function ip(namespace: string, ...lines: string[]): Promise<void> {
  await execChecked('ip', ['-n', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

export async function nft(namespace: string, ruleset: string): Promise<void> {
  await runIn(namespace, 'nft', ['-f', '-'], { input: ruleset });
}

export async function sysctl(
  namespace: string,
  settings: Record<string, number | string>,
): Promise<void> {
  const assignments = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
  await runIn(namespace, 'sysctl', ['-q', '-w', ...assignments]);
}

/** Runs a command in a namespace and returns its standard output; throws when it fails. */
export function runIn(
  namespace: string,
  command: string,
  args: readonly string[],
  options?: ExecOptions,
): Promise<string> {
  return execChecked('ip', enter(namespace, command, args), options);
}

/** Files that programs see under `/etc` there (`ip-netns(8)`). */
export const filesOf = (namespace: string) => `/etc/netns/${namespace}`;

/**
 * Arguments for `ip` that run a command in a namespace. `ip` becomes the command: the process id is
 * the command's.
 */
export function enter(namespace: string, command: string, args: readonly string[]): string[] {
  return ['netns', 'exec', namespace, command, ...args];
}

/** The processes in a namespace, by `ip netns pids`. */
export async function processesIn(namespace: string): Promise<number[]> {
  const { stdout } = await exec('ip', ['netns', 'pids', namespace]);
  return parsePids(stdout);
}

export function parsePids(text: string): number[] {
  return text
    .split(/\s+/)
    .map(Number)
    .filter((pid) => pid > 1 && pid !== process.pid);
}

/** False for a process that is gone or only waits to be noticed by its parent. */
export function isRunning(pid: number): boolean {
  return startOf(pid) !== undefined;
}

/**
 * Start of a process in clock ticks since boot, in base 36; undefined when there is none, or only
 * its corpse.
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 2 is the program's name in parentheses and may contain anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return Number(fields[19]).toString(36);
  } catch {
    return undefined;
  }
}
