/**
 * What does a tunnel get over a relay? Two members, real daemons and the server's own relay, all on this machine: directly, over UDP where both
 * NATs are symmetric, and over WebSocket where UDP is blocked.
 *
 *   node bench/relay-tunnel.ts [--rounds 3] [--seconds 4] [--json FILE]
 *
 * TCP by iperf3, the round-trip time of a ping every 5 ms on the idle tunnel, and its p99 under a TCP flow. All parts share the cores, so that the
 * figures are a lower bound for what a relay of its own does.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { BuriDaemon, BuriServer } from '../lab/buri.ts';
import { Home } from '../lab/home.ts';
import type { Host } from '../lab/host.ts';
import { Internet } from '../lab/internet.ts';
import { Lab } from '../lab/lab.ts';
import type { NatKind } from '../lab/nat-kinds.ts';
import { waitFor } from '../lab/wait.ts';
import { machine, percentile, spreadOf, spreadText, table } from './figures.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    json: { type: 'string' },
  },
});

/** What the two members stand behind, and what their path has to be before anything is measured. */
const ways = [
  { title: 'direct', nat: 'full-cone', kind: 'direct', transport: 'udp' },
  { title: 'relay, UDP', nat: 'symmetric', kind: 'relayed', transport: 'udp' },
  { title: 'relay, WebSocket', nat: 'udp-blocked', kind: 'relayed', transport: 'tcp' },
] as const satisfies readonly { title: string; nat: NatKind; kind: string; transport: string }[];

interface End {
  readonly host: Host;
  readonly daemon: BuriDaemon;
  readonly clientId: string;
  readonly ipv4: string;
}

interface Measured {
  readonly mbitPerSecond: number;
  readonly rttMs: number;
  readonly loadedP99Ms: number;
}

const pingCount = 200;
const password = 'one private LAN';

async function join(internet: Internet, name: string, nat: NatKind, url: string): Promise<End> {
  const host = (await Home.create(internet, { name, nat })).firstHost;
  const daemon = await BuriDaemon.start(host);
  const { clientId, ipv4 } = await daemon.verb('login', ['--nick', name, '--wait', '30', url]);
  return { host, daemon, clientId, ipv4 };
}

async function tcp(from: End, to: End, during?: () => Promise<void>): Promise<number> {
  const server = to.host.spawn('iperf3', ['-s', '-1', '--forceflush']);
  await server.line(/listening/);
  const client = from.host.check('iperf3', ['-c', to.ipv4, '-t', values.seconds, '-J']);
  await during?.();
  const { end } = JSON.parse(await client);
  return end.sum_received.bits_per_second / 1e6;
}

/** Round-trip times in milliseconds. */
async function ping(from: End, to: End, count: number, intervalMs: number): Promise<number[]> {
  const seconds = `${intervalMs / 1000}`;
  const output = await from.host.check('ping', ['-c', `${count}`, '-i', seconds, to.ipv4]);
  return [...output.matchAll(/time=([\d.]+)/g)].map(([, time]) => Number(time));
}

async function measure({ nat, kind, transport }: (typeof ways)[number]): Promise<Measured> {
  await using lab = await Lab.create();
  const internet = await Internet.create(lab);
  const server = await BuriServer.start(await internet.host('server'), {
    enrol: 'open',
    args: ['--relay-client-rate', '100G,100000000'],
  });
  const url = await server.url();
  const a = await join(internet, 'a', nat, url);
  const b = await join(internet, 'b', nat, url);
  await a.daemon.verb('create', ['bench', '-'], `${password}\n`);
  await b.daemon.verb('join', ['bench', '-', '--wait', '30'], `${password}\n`);
  await waitFor('the way that is to be measured', async () => {
    const { path } = await a.daemon.verb('peer', [b.clientId]);
    return path.kind === kind && (path.transport ?? 'udp') === transport;
  });
  await ping(a, b, 20, 10);
  const idle = await ping(a, b, pingCount, 5);
  const mbitPerSecond = await tcp(a, b);
  let loaded: number[] = [];
  const count = Math.floor((Number(values.seconds) * 1000) / 10) - 50;
  await tcp(a, b, async () => {
    loaded = await ping(a, b, count, 10);
  });
  const rttMs = idle.reduce((sum, time) => sum + time, 0) / idle.length;
  return { mbitPerSecond, rttMs, loadedP99Ms: percentile(loaded, 0.99) };
}

const results = ways.map((way) => ({ ...way, rounds: [] as Measured[] }));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const { rounds, ...way } of results) {
    rounds.push(await measure(way));
    console.error(way.title, JSON.stringify(rounds.at(-1)));
  }
}
const rows = results.map(({ title, rounds }) => [
  title,
  spreadText(spreadOf(rounds.map(({ mbitPerSecond }) => mbitPerSecond)), 0),
  spreadText(spreadOf(rounds.map(({ rttMs }) => rttMs)), 2),
  spreadText(spreadOf(rounds.map(({ loadedP99Ms }) => loadedP99Ms)), 1),
]);
console.log(table([['way', 'TCP, Mbit/s', 'RTT, ms', 'RTT p99 under TCP, ms'], ...rows]));
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine: machine(), results }, null, 2)}\n`);
}
