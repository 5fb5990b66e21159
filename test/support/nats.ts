/** NATS servers of the test's own, joined to a cluster, each on ports of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './postgres.ts';

const program = 'nats-server';
const startTimeoutMs = 30_000;

export const natsSkip =
  spawnSync(program, ['--version']).error === undefined
    ? false
    : 'nats-server is not installed (as root: npm test)';

export class NatsProcesses implements AsyncDisposable {
  readonly ports: readonly number[];
  readonly #routes: readonly number[];
  readonly #children: (ChildProcess | undefined)[] = [];

  private constructor(ports: readonly number[], routes: readonly number[]) {
    this.ports = ports;
    this.#routes = routes;
  }

  static async start(count: number): Promise<NatsProcesses> {
    const ports: number[] = [];
    const routes: number[] = [];
    for (let i = 0; i < count; i++) {
      ports.push(await freePort());
      routes.push(await freePort());
    }
    const nats = new NatsProcesses(ports, routes);
    try {
      for (let i = 0; i < count; i++) await nats.up(i);
      return nats;
    } catch (error) {
      await nats[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The `--fabric` of a server. */
  get url(): string {
    return `nats://${this.ports.map((port) => `127.0.0.1:${port}`).join(',')}`;
  }

  async up(index: number): Promise<void> {
    const routes = this.#routes.filter((_, i) => i !== index);
    const child = spawn(
      program,
      [
        ...['-a', '127.0.0.1', '-p', `${this.ports[index]}`, '--cluster_name', 'test'],
        ...['--cluster', `nats://127.0.0.1:${this.#routes[index]}`],
        ...['--routes', routes.map((port) => `nats://127.0.0.1:${port}`).join(',')],
      ],
      { stdio: 'ignore' },
    );
    this.#children[index] = child;
    const until = performance.now() + startTimeoutMs;
    while (!(await answers(this.ports[index]!))) {
      if (child.exitCode !== null || performance.now() > until)
        throw new Error('nats-server did not start');
      await sleep(20);
    }
  }

  async stop(index: number): Promise<void> {
    const child = this.#children[index];
    this.#children[index] = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const index of this.#children.keys()) await this.stop(index);
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp(port, '127.0.0.1');
    socket.once('data', () => {
      resolve(true);
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
  });
}
