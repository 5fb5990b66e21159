/**
 * How many clients does a server carry, and what do they wait for? A real `buri server` on one core, with priority there, and clients with
 * the daemon's control code in several processes on whatever is left of all cores, from many addresses, in networks of 16. A client's side of a login costs
 * more than the server's, so on two cores they are what limits a storm. For each number of clients:
 *
 *   - what its memory grows by, and what it does when nobody does anything;
 *   - 1 % of the clients leave each second, and as many come back: how long until the neighbours have been told, and what one costs;
 *   - clients are renamed, as many in a second whatever their number: the same;
 *   - the server is killed and started anew: how long until each client is back, and how many logins a CPU-second brings.
 *
 *   node bench/control.ts [--clients 1000,4000,16000] [--seconds 30] [--processes 4] [--json FILE]
 *   node bench/control.ts --nodes 2 --clients 32000      over PostgreSQL and NATS of its own; no storm
 */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { NatsProcesses } from '../test/support/nats.ts';
import { freePort, PostgresProcess } from '../test/support/postgres.ts';
import { ServerProcess, temporaryDirectory } from '../test/support/server-process.ts';
import { machine, percentile, table } from './figures.ts';
import type { LoadResult } from './load-clients.ts';
import { LoadProcess } from './load-process.ts';
import { processTicks } from './measure.ts';
import { pinned } from './pinned.ts';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '1000,4000,16000' },
    nodes: { type: 'string', default: '1' },
    processes: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '30' },
    /** Clients that are renamed in a second. */
    rate: { type: 'string', default: '10' },
    json: { type: 'string' },
  },
});
const nodeCount = Number(values.nodes);
const seconds = Number(values.seconds);
const processCount = Number(values.processes);
const networkSize = 16;
const enrolAtOnce = 32;
const settleMs = 20_000;
const serverCore = 0;
const serverPriority = -10;
const stormTimeoutMs = 300_000;

interface Row {
  readonly clients: number;
  readonly rssBefore: number;
  readonly rss: number;
  /** Share of a core while nobody does anything. */
  readonly idleCpu: number;
  readonly churnCpu: number;
  readonly goneMs: Quantiles;
  readonly backMs: Quantiles;
  readonly changedMs: Quantiles;
  readonly missing: number;
  /** Milliseconds of the server's CPU for one client that leaves and comes back, and for one that is renamed. */
  readonly perChurnMs: number;
  readonly perRenameMs: number;
  readonly storm?: {
    readonly seconds: Quantiles;
    readonly loginsPerCpuSecond: number;
    readonly failures: Readonly<Record<string, number>>;
    readonly lost: number;
  };
}

interface Quantiles {
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
  readonly count: number;
}

function quantiles(numbers: readonly number[]): Quantiles {
  if (numbers.length === 0) return { p50: Number.NaN, p99: Number.NaN, most: Number.NaN, count: 0 };
  return {
    p50: percentile(numbers, 0.5),
    p99: percentile(numbers, 0.99),
    most: percentile(numbers, 1),
    count: numbers.length,
  };
}

/** The nodes of a server, one of them as a rule. */
class Servers implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly #data: readonly string[];
  readonly #ports: readonly number[];
  readonly #shared: readonly string[];
  readonly #nodes: ServerProcess[] = [];

  private constructor(
    stack: AsyncDisposableStack,
    data: readonly string[],
    ports: readonly number[],
    shared: readonly string[],
  ) {
    this.#stack = stack;
    this.#data = data;
    this.#ports = ports;
    this.#shared = shared;
  }

  static async start(): Promise<Servers> {
    await using stack = new AsyncDisposableStack();
    const shared: string[] = [];
    if (nodeCount > 1) {
      const postgres = stack.use(await PostgresProcess.start());
      const nats = stack.use(await NatsProcesses.start(1));
      shared.push('--store', await postgres.database(), '--fabric', nats.url);
    }
    const data: string[] = [];
    const ports: number[] = [];
    for (let i = 0; i < nodeCount; i++) {
      data.push(temporaryDirectory('bench-control'));
      ports.push(await freePort());
    }
    stack.defer(() => {
      for (const directory of data) rmSync(directory, { recursive: true, force: true });
    });
    const servers = new Servers(stack.move(), data, ports, shared);
    for (let i = 0; i < nodeCount; i++) await servers.up(i);
    return servers;
  }

  async up(i: number): Promise<void> {
    if (i > 0)
      copyFileSync(join(this.#data[0]!, 'cluster.key'), join(this.#data[i]!, 'cluster.key'));
    const server = await ServerProcess.start({
      data: this.#data[i]!,
      args: [
        ...['--listen', `127.0.0.1:${this.#ports[i]}`, '--enrol', 'open', '--roles', 'control'],
        ...this.#shared,
      ],
    });
    pinned(server.child.pid!, nodeCount === 1 ? serverCore : undefined);
    setPriority(server.child.pid!, serverPriority);
    this.#nodes[i] = server;
  }

  get urls(): string[] {
    const [, key] = this.#nodes[0]!.url.split('#');
    return this.#ports.map((port) => `buri://127.0.0.1:${port}#${key}`);
  }

  async kill(i: number): Promise<void> {
    await this.#nodes[i]!.stop('SIGKILL');
  }

  /** CPU time so far, milliseconds. */
  cpuMs(): number {
    return 10 * processTicks(this.#nodes.map(({ child }) => child.pid!));
  }

  rss(): number {
    let sum = 0;
    for (const { child } of this.#nodes) {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      sum += Number(/VmRSS:\s+([0-9]+) kB/.exec(status)?.[1]) * 1024;
    }
    return sum;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop('SIGKILL')));
    await this.#stack[Symbol.asyncDispose]();
  }
}

class Load implements Disposable {
  readonly #processes: LoadProcess[];

  constructor() {
    this.#processes = Array.from({ length: processCount }, () => new LoadProcess());
  }

  async enrol(clients: number, urls: readonly string[]): Promise<LoadResult> {
    const count = clients / processCount;
    return await this.#all((i) => ({
      do: 'enrol',
      plan: { urls, first: i * count, count, networkSize, block: 500 * i },
      atOnce: Math.ceil(enrolAtOnce / processCount),
    }));
  }

  /** Leaving and coming back are two changes. */
  churn = (perSecond: number) =>
    this.#all(() => ({ do: 'churn', perSecond: perSecond / processCount, seconds }));
  rename = (perSecond: number) =>
    this.#all(() => ({ do: 'rename', perSecond: perSecond / processCount, seconds }));
  watch = () => this.#all(() => ({ do: 'watch' }));
  allOnline = () => this.#all(() => ({ do: 'all-online' }));

  async #all(order: (i: number) => Parameters<LoadProcess['ask']>[0]): Promise<LoadResult> {
    return merged(await Promise.all(this.#processes.map((one, i) => one.ask(order(i)))));
  }

  [Symbol.dispose](): void {
    for (const one of this.#processes) one[Symbol.dispose]();
  }
}

function merged(results: readonly LoadResult[]): LoadResult {
  const failures: Record<string, number> = {};
  for (const result of results)
    for (const [code, count] of Object.entries(result.failures))
      failures[code] = (failures[code] ?? 0) + count;
  const sum = (of: (result: LoadResult) => number) =>
    results.reduce((total, result) => total + of(result), 0);
  return {
    offlineMs: results.flatMap(({ offlineMs }) => offlineMs),
    onlineMs: results.flatMap(({ onlineMs }) => onlineMs),
    changedMs: results.flatMap(({ changedMs }) => changedMs),
    loginMs: results.flatMap(({ loginMs }) => loginMs),
    backAt: results.flatMap(({ backAt }) => backAt),
    changes: sum(({ changes }) => changes),
    missing: sum(({ missing }) => missing),
    online: sum(({ online }) => online),
    failures,
  };
}

const say = (text: string) => console.error(`${new Date().toISOString().slice(11, 19)}  ${text}`);

/** CPU milliseconds of the servers in a second without changes. */
async function idle(servers: Servers): Promise<number> {
  const before = servers.cpuMs();
  await sleep(settleMs);
  return (servers.cpuMs() - before) / (settleMs / 1000);
}

async function measure(clients: number): Promise<Row> {
  await using servers = await Servers.start();
  using load = new Load();
  await sleep(5_000);
  const rssBefore = servers.rss();
  const enrolAt = performance.now();
  await load.enrol(clients, servers.urls);
  say(`${clients} clients enrolled and joined in ${((performance.now() - enrolAt) / 1000) | 0} s`);
  await sleep(settleMs);
  const rss = servers.rss();
  const idlePerSecond = await idle(servers);
  say(
    `memory ${((rss - rssBefore) / clients / 1000).toFixed(1)} kB a client, idle ${idlePerSecond | 0} ms/s`,
  );
  const cost = async (work: () => Promise<LoadResult>) => {
    const [cpu, at] = [servers.cpuMs(), performance.now()];
    const result = await work();
    const tookS = (performance.now() - at) / 1000;
    return { result, ms: servers.cpuMs() - cpu - idlePerSecond * tookS, tookS };
  };
  const churned = await cost(() => load.churn(clients / 100));
  const gone = quantiles(churned.result.offlineMs);
  const back = quantiles(churned.result.onlineMs);
  say(`churn: gone ${JSON.stringify(gone)}, back ${JSON.stringify(back)}`);
  const rate = Number(values.rate);
  const renamed = await cost(() => load.rename(rate));
  const row = {
    ...{ clients, rssBefore, rss, idleCpu: idlePerSecond / 1000 },
    churnCpu: (churned.ms / churned.tookS + idlePerSecond) / 1000,
    ...{ goneMs: gone, backMs: back, changedMs: quantiles(renamed.result.changedMs) },
    missing: churned.result.missing + renamed.result.missing,
    perChurnMs: churned.ms / churned.result.loginMs.length,
    perRenameMs: renamed.ms / renamed.result.changes,
  };
  say(JSON.stringify(row));
  if (nodeCount > 1) return row;
  return { ...row, storm: await storm(servers, load, clients) };
}

async function storm(
  servers: Servers,
  load: Load,
  clients: number,
): Promise<NonNullable<Row['storm']>> {
  await servers.kill(0);
  // Until everybody has noticed, and some have asked in vain.
  await sleep(2_000);
  await load.watch();
  await servers.up(0);
  const upAt = Date.now();
  const done = load.allOnline();
  const result = await Promise.race([done, sleep(stormTimeoutMs, undefined, { ref: false })]);
  const cpuMs = servers.cpuMs();
  if (result === undefined) throw new Error('not everybody is back');
  const { backAt, failures } = result;
  const took = {
    seconds: quantiles(backAt.map((at) => (at - upAt) / 1000)),
    loginsPerCpuSecond: backAt.length / (cpuMs / 1000),
    failures,
    lost: clients - result.online,
  };
  say(`storm: ${JSON.stringify(took)}`);
  return took;
}

const rows: Row[] = [];
for (const clients of values.clients.split(',').map(Number)) rows.push(await measure(clients));

const ms = ({ p50, p99 }: Quantiles) => `${p50.toFixed(0)} / ${p99.toFixed(0)}`;
console.log(
  table([
    [
      ...['clients', 'memory a client, kB', 'CPU idle', 'CPU at 1 %/s'],
      ...['gone: told after, ms p50 / p99', 'back, ms', 'renamed, ms'],
      ...['CPU of a client gone and back, ms', 'of a rename, ms'],
      ...['storm: back after, s p50 / p99 / most', 'logins a CPU-second'],
    ],
    ...rows.map((row) => [
      row.clients.toLocaleString('en'),
      ((row.rss - row.rssBefore) / row.clients / 1000).toFixed(1),
      `${(100 * row.idleCpu).toFixed(0)} %`,
      `${(100 * row.churnCpu).toFixed(0)} %`,
      ...[ms(row.goneMs), ms(row.backMs), ms(row.changedMs)],
      ...[row.perChurnMs.toFixed(2), row.perRenameMs.toFixed(2)],
      row.storm === undefined
        ? '–'
        : `${row.storm.seconds.p50.toFixed(1)} / ${row.storm.seconds.p99.toFixed(1)} / ${row.storm.seconds.most.toFixed(1)}`,
      row.storm?.loginsPerCpuSecond.toFixed(0) ?? '–',
    ]),
  ]),
);
if (values.json !== undefined)
  writeFileSync(
    values.json,
    JSON.stringify({ machine: machine(), nodes: nodeCount, rows }, null, 2),
  );
