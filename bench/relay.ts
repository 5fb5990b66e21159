/**
 * How fast is the relay beside coturn: the same load on one core in turns (A B A B …), relay and load on a core each, in two namespaces.
 *
 *   relay.ts [--rounds N] [--seconds N] [--only TEXT] [--json FILE]
 *
 * Prints packets/s and Mbit/s delivered when as much is sent as goes, the relay's CPU time for each packet, which does not depend on how fast the load
 * is, and the latency of a moderate load. `--only` takes the loads whose title has that text.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { compiledTool } from './compile.ts';
import { machine, spreadOf, spreadText, table } from './figures.ts';
import { processTicks } from './measure.ts';
import { makePair, type Pair, removePair, spawnInside } from './namespaces.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1.5' },
    only: { type: 'string', default: '' },
    json: { type: 'string' },
  },
});

interface Load {
  readonly title: string;
  readonly pairs: number;
  readonly bytes: number;
  readonly burst: number;
  /** Packets/s; 0: as many as go. */
  readonly rate: number;
}

const loads: readonly Load[] = [
  ...[1, 16, 200].flatMap((pairs) =>
    [100, 1200].flatMap((bytes) =>
      [1, 16].map((burst) => ({
        ...{ title: `${pairs} pairs, ${bytes} bytes, bursts of ${burst}`, pairs, bytes, burst },
        rate: 0,
      })),
    ),
  ),
  { title: '16 pairs, 1200 bytes, 20,000/s', pairs: 16, bytes: 1200, burst: 1, rate: 20_000 },
];

interface Measured {
  /** CPU time of the relay, and what it forwarded in it, warming up included. */
  readonly cpuSeconds: number;
  readonly forwarded: number;
  readonly received: number;
  readonly seconds: number;
  readonly p50us: number;
  readonly p99us: number;
}

const relayAddress = '192.0.2.1';
const loadAddress = '192.0.2.2';
const port = 3480;
const contenders = { buri: startBuri, coturn: startCoturn } as const;
type Contender = keyof typeof contenders;

interface Running {
  readonly child: ChildProcess;
  readonly tokens: readonly string[];
  readonly bytesPerAllocation?: number;
}

async function startBuri(pair: Pair, pairs: number): Promise<Running> {
  const host = new URL('./relay-host.ts', import.meta.url).pathname;
  const words = ['taskset', '-c', '0', process.execPath, '--disable-warning=ExperimentalWarning'];
  const args = [...words, host, relayAddress, `${port}`, loadAddress, `${pairs}`];
  const child = spawnInside(pair.a, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { child, ...JSON.parse(line.toString()) };
}

async function startCoturn(pair: Pair): Promise<Running> {
  const words = [
    'taskset',
    '-c',
    '0',
    'turnserver',
    '-n',
    '-z',
    '-m',
    '1',
    '--no-tls',
    '--no-dtls',
  ];
  const args = [
    '--no-cli',
    '-L',
    relayAddress,
    '-E',
    relayAddress,
    '-p',
    `${port}`,
    '-l',
    'stdout',
  ];
  const quiet = ['--no-stdout-log', '--pidfile', `/tmp/buri-bench-${process.pid}.pid`];
  const child = spawnInside(pair.a, [...words, ...args, ...quiet], { stdio: 'ignore' });
  await sleep(700);
  return { child, tokens: [] };
}

async function measure(id: Contender, load: Load): Promise<Measured & { memory?: number }> {
  const pair = makePair(`relay${process.pid}`, 'plain');
  try {
    const running = await contenders[id](pair, load.pairs);
    try {
      const tool = compiledTool('relay-load');
      // `ip netns exec` and `taskset` both become the program that they start.
      const pid = running.child.pid!;
      const before = processTicks([pid]);
      const mode = id === 'buri' ? 'buri' : 'turn';
      const numbers = [load.pairs, load.bytes, load.burst, load.rate, values.seconds].map(String);
      const words = ['taskset', '-c', '1', tool, mode, relayAddress, `${port}`, loadAddress];
      const child = spawnInside(pair.b, [...words, ...numbers], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      child.stdin!.end(`${running.tokens.join('\n')}\n`);
      let text = '';
      child.stdout!.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      await once(child, 'close');
      const { bytesPerAllocation: memory } = running;
      const cpuSeconds = (processTicks([pid]) - before) / 100;
      return { ...JSON.parse(text), cpuSeconds, ...(memory === undefined ? {} : { memory }) };
    } finally {
      running.child.kill('SIGKILL');
      await once(running.child, 'close');
    }
  } finally {
    removePair(pair);
  }
}

const rows: string[][] = [['load', 'figure', 'buri', 'coturn', 'ratio']];
const results: object[] = [];
execFileSync('turnserver', ['--version'], { stdio: 'ignore' });
for (const load of loads) {
  if (!load.title.includes(values.only)) continue;
  const rounds: Record<Contender, Measured[]> = { buri: [], coturn: [] };
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const id of ['buri', 'coturn'] as const) {
      try {
        rounds[id].push(await measure(id, load));
      } catch (error) {
        console.error(
          `bench: ${id}, ${load.title}: ${error instanceof Error ? error.message : error}`,
        );
      }
    }
  }
  const both = rounds.buri.length > 0 && rounds.coturn.length > 0;
  if (!both) continue;
  const figure = (title: string, of: (measured: Measured) => number, digits: number): void => {
    const [ours, theirs] = (['buri', 'coturn'] as const).map((id) => spreadOf(rounds[id].map(of)));
    const ratio = ours!.median / theirs!.median;
    rows.push([
      load.title,
      title,
      spreadText(ours!, digits),
      spreadText(theirs!, digits),
      ratio.toFixed(2),
    ]);
  };
  const perSecond = ({ received, seconds }: Measured): number => received / seconds;
  if (load.rate === 0) {
    figure('1,000 packets/s', (measured) => perSecond(measured) / 1e3, 1);
    figure('CPU µs/packet', ({ cpuSeconds, forwarded }) => (cpuSeconds * 1e6) / forwarded, 2);
    figure('Mbit/s', (measured) => (perSecond(measured) * load.bytes * 8) / 1e6, 0);
  } else {
    figure('latency p50, µs', ({ p50us }) => p50us, 0);
    figure('latency p99, µs', ({ p99us }) => p99us, 0);
  }
  results.push({ ...load, rounds });
  console.error(rows.at(-2)?.join('  '));
}
console.log(table(rows));
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine: machine(), results }, null, 2)}\n`);
}
