/**
 * The laboratory: everything that a test makes on the machine (network namespaces, processes,
 * temporary directories), and its removal, whatever happens: at the end of the scope, after an
 * error, on a signal, and by a later run after kill -9.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execChecked } from './exec.ts';
import * as netns from './netns.ts';
import { LabProcess, type SpawnOptions } from './process.ts';
import { waitFor } from './wait.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const maxNamespaces = 1_000;
const open = new Set<Lab>();
let count = 0;

export class Lab implements AsyncDisposable {
  readonly #prefix = `${netns.ownPrefix}-${count++}`;
  readonly #namespaces: string[] = [];
  readonly #directories: string[] = [];
  readonly #processes = new Set<LabProcess>();
  #closed = false;

  private constructor() {}

  /** Opens a laboratory, after removing what dead processes left. Use with `await using`. */
  static async create(): Promise<Lab> {
    await Lab.sweep();
    if (open.size === 0) watchForTheEnd();
    const lab = new Lab();
    open.add(lab);
    return lab;
  }

  /**
   * Removes namespaces, processes and directories whose laboratory's process is gone. Returns the
   * names removed.
   */
  static async sweep(): Promise<string[]> {
    const abandoned = netns.namespaces().filter(netns.isAbandoned);
    for (const name of abandoned) removeNamespaceNow(name);
    const directories = readdirSync(tmpdir()).filter(netns.isAbandoned);
    for (const name of directories) rmSync(join(tmpdir(), name), { recursive: true, force: true });
    return [...abandoned, ...directories];
  }

  /** Makes a namespace with only its loopback, up; no link leads to the host. Returns its name. */
  async namespace(label: string): Promise<string> {
    this.#assertOpen();
    if (this.#namespaces.length >= maxNamespaces) throw new Error('too many namespaces in one lab');
    const name = `${this.#prefix}-${safe(label)}${this.#namespaces.length}`;
    // Noted before it exists: an end in between must remove it.
    this.#namespaces.push(name);
    await execChecked('ip', ['netns', 'add', name]);
    await netns.ip(name, 'link set lo up');
    return name;
  }

  /** Makes a directory, mode 0700. */
  temporaryDirectory(label: string): string {
    this.#assertOpen();
    const path = mkdtempSync(join(tmpdir(), `${this.#prefix}-${safe(label)}-`));
    this.#directories.push(path);
    return path;
  }

  /** Starts a program, in a namespace if one is named; it ends with the laboratory. */
  spawn(
    namespace: string | undefined,
    command: string,
    args: readonly string[],
    options: SpawnOptions = {},
  ): LabProcess {
    this.#assertOpen();
    const name = options.name ?? [command, ...args].join(' ');
    const child =
      namespace === undefined
        ? new LabProcess(command, args, { ...options, name })
        : new LabProcess('ip', netns.enter(namespace, command, args), { ...options, name });
    this.#processes.add(child);
    void child.ended.then(() => this.#closed || this.#processes.delete(child));
    return child;
  }

  /** Ends all processes (politely at first), then removes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const stops = await Promise.allSettled([...this.#processes].map((child) => child.stop()));
    this.removeNow();
    for (const stop of stops) if (stop.status === 'rejected') throw stop.reason;
    const left = () => netns.namespaces().filter((name) => this.#namespaces.includes(name));
    await waitFor('namespaces to be gone', () => left().length === 0, { timeoutMs: 5_000 });
  }

  /**
   * Removes everything at once and synchronously, killing what runs: the last resort of an ending
   * process.
   */
  removeNow(): void {
    this.#closed = true;
    for (const child of this.#processes) child.signal('SIGKILL');
    const existing = new Set(netns.namespaces());
    for (const name of this.#namespaces) if (existing.has(name)) removeNamespaceNow(name);
    for (const path of this.#directories) rmSync(path, { recursive: true, force: true });
    open.delete(this);
    if (open.size === 0) stopWatching();
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error('the laboratory is closed');
  }
}

/**
 * Kills what runs in a namespace, daemonised grandchildren included, and deletes it with its
 * devices.
 */
function removeNamespaceNow(name: string): void {
  // Twice: a process may have been starting another.
  for (let round = 0; round < 2; round++) {
    const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
    for (const pid of netns.parsePids(stdout ?? '')) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    }
  }
  spawnSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
  rmSync(netns.filesOf(name), { recursive: true, force: true });
}

function removeAllNow(): void {
  for (const lab of [...open]) lab.removeNow();
}

/**
 * Removes everything, then lets the signal do what it would have done, unless the program has other
 * plans for it.
 */
function onSignal(signal: NodeJS.Signals): void {
  removeAllNow();
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}

function watchForTheEnd(): void {
  process.on('exit', removeAllNow);
  for (const signal of signals) process.on(signal, onSignal);
}

function stopWatching(): void {
  process.off('exit', removeAllNow);
  for (const signal of signals) process.off(signal, onSignal);
}

function safe(label: string): string {
  return label.replace(/[^A-Za-z0-9]+/g, '_').slice(0, 40);
}
