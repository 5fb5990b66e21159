/**
 * What does broadcast cost? A program sends datagrams to 255.255.255.255, then to a multicast group that everybody joined; the engine
 * seals a copy for each of 32 members, which are ports that count. Engines take turns by suite.
 *
 *   node bench/fan-out.ts [--members 32] [--bytes 200] [--rounds 5] [--seconds 3] [--json FILE]
 *
 * Broadcast has a cap of packets a second, copies have one as well (`src/engine/group-traffic.ts`): the program stays just below, so that
 * every datagram is copied. Measured are the copies that arrive, and the CPU time of each.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { AeadSuite } from '#core/crypto.ts';
import type { EngineEvents } from '#engine/engine.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { silentEvents } from '../test/support/silent-events.ts';
import { readyLine } from './contenders.ts';
import { machine, type Spread, spreadOf, spreadText, table } from './figures.ts';
import { processTicks } from './measure.ts';
import {
  inside,
  makePair,
  outerAddress,
  type Pair,
  removePair,
  spawnInside,
} from './namespaces.ts';

const { values } = parseArgs({
  options: {
    members: { type: 'string', default: '32' },
    bytes: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'string' },
    /** This process is the engine, or the program that sends. */
    engine: { type: 'string' },
    send: { type: 'string' },
  },
});

const SELF = fileURLToPath(import.meta.url);
const MEMBERS = Number(values.members);
const FIRST_PORT = 42_000;
const BROADCAST = '255.255.255.255';
const GROUP = '239.1.2.3';
/** Datagrams a second, just below the caps with 32 members. */
const RATES: Readonly<Record<string, number>> = { [BROADCAST]: 900, [GROUP]: 3_000 };
const TICKS_PER_SECOND = 100;

async function beEngine(suite: AeadSuite): Promise<void> {
  const events: EngineEvents = {
    ...silentEvents,
    onDeviceLost: (reason) => {
      throw new Error(reason);
    },
  };
  const engine = new PacketEngine(events);
  await engine.openDevice({ name: 'buri0', mode: 'tun', mtuBytes: 1_400, addresses: ['10.9.0.1'] });
  const { socket } = await engine.openSocket({ family: 4, port: 0 });
  for (let peer = 0; peer < MEMBERS; peer++) {
    engine.setPeer(peer, { innerPrefixes: [`10.9.${1 + (peer >> 8)}.${peer & 0xff}`] });
    engine.setLan(peer, { ethernet: false, groups: [GROUP] });
    const remote = { address: outerAddress('b', 4), port: FIRST_PORT + peer };
    engine.setPath(peer, { socket, remote });
    const [sendKey, receiveKey] = [randomBytes(32), randomBytes(32)];
    const localIndex = 1 + peer;
    engine.installKeys({ peer, suite, localIndex, remoteIndex: 1 + peer, sendKey, receiveKey });
    engine.activateKeys(localIndex);
  }
  execFileSync('ip', ['address', 'add', '10.9.0.1/16', 'dev', 'buri0']);
  execFileSync('ip', ['link', 'set', 'buri0', 'up']);
  for (const destination of [BROADCAST, '224.0.0.0/4']) {
    execFileSync('ip', ['route', 'add', destination, 'dev', 'buri0']);
  }
  console.log('ready');
}

/** Until killed. */
async function send(destination: string): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '10.9.0.1', resolve));
  socket.setBroadcast(true);
  const datagram = randomBytes(Number(values.bytes));
  console.log('ready');
  const started = performance.now();
  let sent = 0;
  setInterval(() => {
    const due = ((performance.now() - started) / 1_000) * RATES[destination]!;
    for (; sent < due; sent++) socket.send(datagram, 9_000, destination);
  }, 5);
}

const counter = 'add counter inet bench copies';
/** What arrives is counted and dropped, so that nobody has to take it. */
const counting = `add table inet bench
${counter}
add chain inet bench in { type filter hook prerouting priority -300 ; }
add rule inet bench in udp dport ${FIRST_PORT}-${FIRST_PORT + MEMBERS - 1} counter name copies drop
`;

const arrived = (pair: Pair): number =>
  Number(
    /packets (\d+)/.exec(inside(pair.b, 'nft', 'list', 'counter', 'inet', 'bench', 'copies'))?.[1],
  );

const spawnSelf = (pair: Pair, ...options: string[]): ChildProcess => {
  const shared = ['--members', values.members, '--bytes', values.bytes];
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', SELF];
  return spawnInside(pair.a, [...command, ...shared, ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
};

interface Figures {
  readonly copiesPerSecond: number;
  readonly cpuMicrosecondsPerCopy: number;
}

async function measure(pair: Pair, engine: ChildProcess, destination: string): Promise<Figures> {
  const sender = spawnSelf(pair, '--send', destination);
  const ended = new Promise((resolve) => sender.once('close', resolve));
  try {
    await readyLine(sender);
    // The burst that the caps allow is over.
    await sleep(2_000);
    const [copiesBefore, ticksBefore, before] = [
      arrived(pair),
      processTicks([engine.pid!]),
      performance.now(),
    ];
    await sleep(Number(values.seconds) * 1_000);
    const copies = arrived(pair) - copiesBefore;
    const seconds = (performance.now() - before) / 1_000;
    const cpu = (processTicks([engine.pid!]) - ticksBefore) / TICKS_PER_SECOND;
    return { copiesPerSecond: copies / seconds, cpuMicrosecondsPerCopy: (cpu * 1e6) / copies };
  } finally {
    sender.kill('SIGKILL');
    await ended;
  }
}

async function round(suite: string): Promise<Record<string, Figures>> {
  // Super-packets would count once.
  const pair = makePair(`fan${process.pid}`, 'segmenting');
  try {
    execFileSync('ip', ['netns', 'exec', pair.b, 'nft', '-f', '-'], { input: counting });
    const engine = spawnSelf(pair, '--engine', suite);
    const ended = new Promise((resolve) => engine.once('close', resolve));
    try {
      await readyLine(engine);
      const broadcast = await measure(pair, engine, BROADCAST);
      const multicast = await measure(pair, engine, GROUP);
      return { broadcast, multicast };
    } finally {
      engine.kill('SIGKILL');
      await ended;
    }
  } finally {
    removePair(pair);
  }
}

async function contest(): Promise<void> {
  const results = new Map<string, Figures[]>();
  for (let i = 1; i <= Number(values.rounds); i++) {
    for (const suite of ['aes256gcm', 'chacha20poly1305']) {
      for (const [what, figures] of Object.entries(await round(suite))) {
        const name = `${what}, ${suite}`;
        results.set(name, [...(results.get(name) ?? []), figures]);
        const { copiesPerSecond, cpuMicrosecondsPerCopy } = figures;
        const micro = cpuMicrosecondsPerCopy.toFixed(2);
        console.error(
          `round ${i}  ${name}: ${copiesPerSecond.toFixed(0)} copies/s, ${micro} µs each`,
        );
      }
    }
  }
  const spreads = [...results].map(([name, rounds]) => ({
    name,
    copiesPerSecond: spreadOf(rounds.map((figures) => figures.copiesPerSecond)),
    cpuMicrosecondsPerCopy: spreadOf(rounds.map((figures) => figures.cpuMicrosecondsPerCopy)),
  }));
  const row = (name: string, copies: Spread, cpu: Spread): string[] => [
    ...[name, spreadText(copies, 0), spreadText(cpu, 2)],
  ];
  const header = [`to ${MEMBERS} members`, 'copies/s delivered', 'CPU of the daemon per copy, µs'];
  const rows = spreads.map(({ name, copiesPerSecond, cpuMicrosecondsPerCopy }) =>
    row(name, copiesPerSecond, cpuMicrosecondsPerCopy),
  );
  console.log(table([header, ...rows]));
  if (values.json === undefined) return;
  const json = {
    machine: machine(),
    members: MEMBERS,
    bytes: Number(values.bytes),
    results: spreads,
  };
  writeFileSync(values.json, `${JSON.stringify(json, null, 2)}\n`);
}

if (values.engine !== undefined) await beEngine(values.engine as AeadSuite);
else if (values.send !== undefined) await send(values.send);
else await contest();
