/**
 * What do more engine threads bring to a machine that several peers keep busy? A hub with so many threads, and peers in namespaces
 * of their own with one thread each; iperf3 through all tunnels at once, from the hub and to it. Numbers of threads take turns.
 *
 *   node bench/threads.ts [--threads 1,2] [--peers 4] [--rounds 5] [--seconds 5]
 *
 * The figures mean something only where the hub has cores for itself: peers and iperf3 run on the same machine. Needs root,
 * iproute2 and iperf3. Prints a table on standard error and JSON on standard output.
 */
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { EngineEvents } from '#engine/engine.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { silentEvents } from '../test/support/silent-events.ts';
import { inside, insideMeanwhile, run, spawnInside } from './namespaces.ts';

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '1,2' },
    peers: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    /** This process is the hub, with so many threads. */
    hub: { type: 'string' },
    secret: { type: 'string', default: crypto.randomUUID() },
  },
});

const PEERS = Array.from({ length: Number(values.peers) }, (_, i) => ({
  number: i + 1,
  namespace: `threads${process.pid}-${i + 1}`,
  inner: `10.9.0.${i + 2}`,
  outer: `192.0.2.${4 * i + 2}`,
  hubOuter: `192.0.2.${4 * i + 1}`,
}));
const HUB = `threads${process.pid}-hub`;
const HUB_INNER = '10.9.0.1';
const PORT = 41_641;
const STATIC_PEER = fileURLToPath(new URL('./static-peer.ts', import.meta.url));
const SELF = fileURLToPath(import.meta.url);

const events: EngineEvents = {
  ...silentEvents,
  onDeviceLost: (reason) => {
    throw new Error(reason);
  },
};

async function beHub(threads: number): Promise<void> {
  const engine = new PacketEngine(events, { threads });
  const device = { name: 'hub', mode: 'tun', mtuBytes: 1_400, addresses: [HUB_INNER] } as const;
  await engine.openDevice(device);
  run('ip', 'addr', 'add', `${HUB_INNER}/24`, 'dev', device.name);
  run('ip', 'link', 'set', device.name, 'up');
  const { socket } = await engine.openSocket({ family: 4, port: PORT });
  for (const { number, inner, outer } of PEERS) {
    const key = (side: string): Uint8Array =>
      createHash('sha256').update(`${values.secret}${number} to ${side}`).digest();
    engine.setPeer(number, { innerPrefixes: [inner] });
    engine.setPath(number, { socket, remote: { address: outer, port: PORT } });
    const [localIndex, remoteIndex] = [0xa0000000 + number, 0xb0000000 + number];
    const keys = { sendKey: key('b'), receiveKey: key('a') };
    engine.installKeys({ peer: number, suite: 'aes256gcm', localIndex, remoteIndex, ...keys });
    engine.activateKeys(localIndex);
  }
  process.once('SIGTERM', () => {
    const packets = engine.threadCounters().map((counters) => counters['in-packets']);
    console.log(JSON.stringify(packets));
    void engine[Symbol.asyncDispose]().then(() => process.exit(0));
  });
  console.log('ready');
}

function makeNamespaces(): void {
  run('ip', 'netns', 'add', HUB);
  run('ip', '-n', HUB, 'link', 'set', 'lo', 'up');
  for (const { namespace, number, outer, hubOuter } of PEERS) {
    run('ip', 'netns', 'add', namespace);
    run('ip', '-n', namespace, 'link', 'set', 'lo', 'up');
    const peer = ['peer', 'name', 'eth0', 'netns', namespace];
    run('ip', 'link', 'add', `eth${number}`, 'netns', HUB, 'type', 'veth', ...peer);
    run('ip', '-n', HUB, 'addr', 'add', `${hubOuter}/30`, 'dev', `eth${number}`);
    run('ip', '-n', namespace, 'addr', 'add', `${outer}/30`, 'dev', 'eth0');
    run('ip', '-n', HUB, 'link', 'set', `eth${number}`, 'up');
    run('ip', '-n', namespace, 'link', 'set', 'eth0', 'up');
  }
}

function removeNamespaces(): void {
  for (const name of [HUB, ...PEERS.map(({ namespace }) => namespace)]) {
    run('ip', 'netns', 'del', name);
  }
}

async function started(namespace: string, args: readonly string[]): Promise<ChildProcess> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', ...args];
  const child = spawnInside(namespace, node, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.stdout!.on('data', (bytes: Buffer) => bytes.includes('ready') && resolve());
    child.once('exit', () => reject(new Error('an end of a tunnel ended')));
  });
  return child;
}

async function iperf(reverse: boolean): Promise<number> {
  const results = PEERS.map(async ({ namespace, inner }) => {
    inside(namespace, 'iperf3', '-s', '-1', '-D');
    while (inside(namespace, 'ss', '-Hltn', 'sport = :5201') === '') await sleep(20);
    const options = ['-J', '-c', inner, '-t', values.seconds, ...(reverse ? ['-R'] : [])];
    const { end } = JSON.parse(await insideMeanwhile(HUB, 'iperf3', ...options));
    return end.sum_received.bits_per_second / 1e6;
  });
  return (await Promise.all(results)).reduce((sum, rate) => sum + rate);
}

/** CPU-seconds of a process so far. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(threads: string) {
  const shared = ['--secret', values.secret, '--peers', values.peers];
  const hub = await started(HUB, [SELF, '--hub', threads, ...shared]);
  const peers = await Promise.all(
    PEERS.map(({ namespace, number, inner, hubOuter }) =>
      started(namespace, [
        ...[STATIC_PEER, '--side', 'b', '--secret', `${values.secret}${number}`],
        ...['--index', String(number), '--inner', inner, '--peer-inner', HUB_INNER],
        ...['--port', String(PORT), '--remote', `${hubOuter}:${PORT}`],
      ]),
    ),
  );
  let packetsOfThreads = '';
  hub.stdout!.on('data', (bytes: Buffer) => {
    packetsOfThreads += bytes.toString();
  });
  const fromHubMbit = await iperf(false);
  const toHubMbit = await iperf(true);
  const hubCpuSeconds = cpuSeconds(hub.pid!);
  const ended = [hub, ...peers].map(
    (child) => new Promise((resolve) => child.once('close', resolve)),
  );
  for (const child of [hub, ...peers]) child.kill('SIGTERM');
  await Promise.all(ended);
  return { fromHubMbit, toHubMbit, hubCpuSeconds, packetsOfThreads: packetsOfThreads.trim() };
}

async function contest(): Promise<void> {
  const rounds: ({ threads: string; round: number } & Awaited<ReturnType<typeof measure>>)[] = [];
  makeNamespaces();
  try {
    for (let round = 1; round <= Number(values.rounds); round++) {
      for (const threads of values.threads.split(',')) {
        const figures = await measure(threads);
        rounds.push({ threads, round, ...figures });
        const [from, to] = [figures.fromHubMbit, figures.toHubMbit].map(Math.round);
        console.error(
          `round ${round}  ${threads} threads  from the hub ${from} Mbit/s  to it ${to} Mbit/s  ` +
            `packets to its threads ${figures.packetsOfThreads}`,
        );
      }
    }
  } finally {
    removeNamespaces();
  }
  const load = readFileSync('/proc/loadavg', 'utf8').trim();
  console.log(JSON.stringify({ cores: cpus().length, load, peers: PEERS.length, rounds }));
}

await (values.hub === undefined ? contest() : beHub(Number(values.hub)));
