/** A cluster of real server processes over a real PostgreSQL and real NATS, and clients with the daemon's own control code. */
import assert from 'node:assert/strict';
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlLink } from '#client/control-link.ts';
import type { Store } from '#server/store/store.ts';
import type { Operation } from '#wire/control.ts';
import { Cable } from './cable.ts';
import { clusterLink } from './cluster-link.ts';
import { admissionFor, DeviceKeys, loginMessage, verifierFor } from './control-client.ts';
import { NatsProcesses } from './nats.ts';
import { freePort, PostgresProcess } from './postgres.ts';
import { ServerProcess, temporaryDirectory } from './server-process.ts';
import { assertView, ViewModel } from './view-model.ts';

export interface ClusterWorldOptions {
  readonly args?: readonly string[];
  /** Each node has a NATS server of its own, and a cable to PostgreSQL: both can be cut off from it. */
  readonly isApart?: boolean;
}

export class ClusterWorld implements AsyncDisposable {
  readonly postgres: PostgresProcess;
  readonly nats: NatsProcesses;
  readonly store: string;
  readonly nodes: ServerProcess[] = [];
  readonly clients: LinkClient[] = [];
  readonly #ports: number[] = [];
  readonly #data: string[] = [];
  readonly #args: readonly string[];
  /** Of each node to PostgreSQL; none unless they are apart. */
  readonly #cables: Cable[] = [];

  private constructor(
    postgres: PostgresProcess,
    nats: NatsProcesses,
    store: string,
    args: readonly string[],
  ) {
    this.postgres = postgres;
    this.nats = nats;
    this.store = store;
    this.#args = args;
  }

  static async start(
    count = 3,
    { args = [], isApart = false }: ClusterWorldOptions = {},
  ): Promise<ClusterWorld> {
    await using stack = new AsyncDisposableStack();
    const postgres = stack.use(await PostgresProcess.start());
    const nats = stack.use(await NatsProcesses.start(count));
    const world = new ClusterWorld(postgres, nats, await postgres.database(), args);
    stack.use(world);
    for (let i = 0; i < count; i++) {
      world.#data.push(temporaryDirectory('node'));
      world.#ports.push(await freePort());
      if (isApart) world.#cables.push(await Cable.to(postgres.port));
      if (i > 0)
        copyFileSync(join(world.#data[0]!, 'cluster.key'), join(world.#data[i]!, 'cluster.key'));
      await world.up(i);
    }
    // Beats of the database tell every node of every other.
    await sleep(3_200);
    stack.move();
    return world;
  }

  get isApart(): boolean {
    return this.#cables.length > 0;
  }

  /** Between the node and PostgreSQL nothing passes, until `mend`. */
  cutStore(index: number): void {
    this.#cables[index]!.cut();
  }

  mendStore(index: number): void {
    this.#cables[index]!.mend();
  }

  async up(index: number, args: readonly string[] = []): Promise<void> {
    const cable = this.#cables[index];
    const [store, fabric] =
      cable === undefined
        ? [this.store, this.nats.url]
        : [
            this.store.replace(`:${this.postgres.port}/`, `:${cable.port}/`),
            this.nats.urlOf(index),
          ];
    this.nodes[index] = await ServerProcess.start({
      data: this.#data[index]!,
      args: [
        ...['--listen', `127.0.0.1:${this.#ports[index]}`, '--store', store],
        ...['--fabric', fabric, '--enrol', 'open', '--roles', 'control'],
        ...this.#args,
        ...args,
      ],
    });
  }

  url(index: number): string {
    const [, key] = this.nodes[0]!.url.split('#');
    return `buri://127.0.0.1:${this.#ports[index]}#${key}`;
  }

  /** A client that logs in at this node first, and wherever the cluster says afterwards. */
  async client(name: string, node: number): Promise<LinkClient> {
    const client = new LinkClient(name, this.url(node));
    this.clients.push(client);
    await client.online();
    return client;
  }

  /** So many clients, by turns at each node, of whom the first make a network each. Returns these by name. */
  async populate(clients: number, networks: number): Promise<Map<string, string>> {
    for (let i = 0; i < clients; i++) await this.client(`client ${i}`, i % this.nodes.length);
    const made = new Map<string, string>();
    for (let i = 0; i < networks; i++)
      made.set(`net ${i}`, await this.clients[i]!.create(`net ${i}`));
    return made;
  }

  /** How many clients are connected to a node. */
  on(index: number): LinkClient[] {
    return this.clients.filter((client) => client.port === this.#ports[index]);
  }

  /** Everybody online, and every view what the database says. */
  async converged(store: Store, timeoutMs: number): Promise<void> {
    const until = performance.now() + timeoutMs;
    const online = new Set(this.clients.map(({ clientId }) => clientId));
    for (;;) {
      try {
        for (const client of this.clients) {
          assert.ok(client.isOnline, `${client.name} is online`);
          await assertView(store.db, client.clientId, client.model, online);
        }
        return;
      } catch (error) {
        if (performance.now() > until) throw error;
        await sleep(100);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.clients.map((client) => client.stop()));
    await Promise.all(this.nodes.map((node) => node.stop('SIGKILL')));
    for (const data of this.#data) rmSync(data, { recursive: true, force: true });
    for (const cable of this.#cables) cable[Symbol.dispose]();
    await this.nats[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }
}

/** A client of a cluster, and what it believes. */
export class LinkClient {
  readonly name: string;
  readonly keys: DeviceKeys;
  readonly model = new ViewModel();
  readonly link: ControlLink;
  /** Milliseconds without a connection, each time. */
  readonly outages: number[] = [];
  clientId = '';
  port = 0;
  #lostAt: number | undefined;
  #asked = '';
  #nick: string;

  constructor(name: string, url: string) {
    this.name = name;
    this.#nick = name;
    this.keys = new DeviceKeys(name);
    this.link = clusterLink({
      ...{ keys: this.keys, url },
      login: () =>
        loginMessage({ keys: this.keys, login: { known: this.#known(), nick: this.#nick } }),
      onAttempt: ({ text }) => {
        this.#asked = text;
      },
      onConnected: ({ clientId }) => this.#connected(clientId),
      onMessage: (message) => {
        const stale = this.model.apply(message);
        if (stale !== undefined) this.link.send({ t: 'resync', network: stale });
      },
      onLost: () => {
        this.#lostAt ??= performance.now();
        this.port = 0;
      },
    });
    this.link.start();
  }

  get isOnline(): boolean {
    return this.link.state.kind === 'connected';
  }

  async online(timeoutMs = 20_000): Promise<void> {
    const until = performance.now() + timeoutMs;
    while (!this.isOnline) {
      if (performance.now() > until)
        throw new Error(`${this.name} is not online: ${JSON.stringify(this.link.state)}`);
      await sleep(10);
    }
  }

  /** `ok`; the code of a refusal; `unknown` when the answer was lost with the connection. */
  async request(operation: Operation): Promise<string> {
    // A daemon says its nick at each login.
    if (operation.op === 'set-nick') this.#nick = operation.nick;
    try {
      const result = await this.link.request(operation);
      return result.network ?? 'ok';
    } catch (error) {
      const { code } = error as { code?: string };
      return code === undefined || transport.has(code) ? 'unknown' : code;
    }
  }

  create(name: string): Promise<string> {
    return this.request({ op: 'create', name, type: 'mesh', admission: admissionFor('') });
  }

  join(name: string): Promise<string> {
    return this.request({ op: 'join', name, verifier: verifierFor('') });
  }

  async stop(): Promise<void> {
    await this.link.stop();
  }

  #known() {
    return [...this.model.networks].map(([network, { revision }]) => ({ network, revision }));
  }

  #connected(clientId: string): void {
    this.clientId = clientId;
    this.port = Number(/:([0-9]+)$/.exec(this.#asked)?.[1]);
    if (this.#lostAt !== undefined) this.outages.push(performance.now() - this.#lostAt);
    this.#lostAt = undefined;
  }
}

const transport = new Set(['connection-lost', 'not-connected', 'server-timeout']);
