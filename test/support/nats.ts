/** NATS servers of the test's own, joined to a cluster, each on ports of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cable } from './cable.ts';
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
  /** From each to each other. */
  readonly #cables: { readonly from: number; readonly to: number; readonly cable: Cable }[] = [];

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
      for (let i = 0; i < count; i++)
        for (let j = 0; j < count; j++)
          if (i !== j) nats.#cables.push({ from: i, to: j, cable: await Cable.to(routes[j]!) });
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

  /** The `--fabric` of a server that knows only this one. */
  urlOf(index: number): string {
    return `nats://127.0.0.1:${this.ports[index]}`;
  }

  /** Between this one and all others nothing passes. */
  cutOff(index: number): void {
    for (const { from, to, cable } of this.#cables) if (from === index || to === index) cable.cut();
  }

  mend(index: number): void {
    for (const { from, to, cable } of this.#cables)
      if (from === index || to === index) cable.mend();
  }

  async up(index: number): Promise<void> {
    const routes = this.#cables
      .filter(({ from }) => from === index)
      .map(({ cable }) => `nats://127.0.0.1:${cable.port}`);
    const child = spawn(
      program,
      [
        ...['-a', '127.0.0.1', '-p', `${this.ports[index]}`, '--cluster_name', 'test'],
        ...['--cluster', `nats://127.0.0.1:${this.#routes[index]}`],
        ...['--routes', routes.join(',')],
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
    for (const { cable } of this.#cables) cable[Symbol.dispose]();
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
