/**
 * What memory does a daemon take? Resident (VmRSS) and its share of what it has in common with others (Pss):
 *
 *   - of a real daemon, logged in and alone in its network, a while after its start;
 *   - for each member more of its network, online but never reached (MEMBERS synthetic ones on a real server);
 *   - for each peer more with an established session and routes (one process of synthetic peers), in a client that has tunnels and
 *     packet engine, and neither mesh nor control connection. With the line before: what a peer costs in all.
 *
 *   node bench/memory.ts [--rounds 3] [--members 250] [--settle 45] [--json FILE]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { BuriDaemon, BuriServer } from '../lab/buri.ts';
import { Internet } from '../lab/internet.ts';
import { Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import { machine, spreadOf, spreadText, table } from './figures.ts';
import { makePair, removePair } from './namespaces.ts';
import { clientWithSessions } from './session-tunnels.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    members: { type: 'string', default: '250' },
    settle: { type: 'string', default: '45' },
    json: { type: 'string' },
  },
});
const members = Number(values.members);
const settleMs = Number(values.settle) * 1_000;
const SYNTHETIC = fileURLToPath(new URL('./synthetic-members.ts', import.meta.url));
const NETWORK = 'bench';
const PASSWORD = 'bench';
const ROUTES_PER_PEER = 4;
/** What `bin/buri` starts a daemon with; and a collection of garbage when it is quiet. */
const COLLECT = new URL('./collect-garbage.ts', import.meta.url).href;
const AS_DAEMON = ['--max-semi-space-size=1', '--expose-gc', '--import', COLLECT];

interface Memory {
  readonly rssKib: number;
  readonly pssKib: number;
}

function memoryOf(pid: number): Memory {
  const field = (file: string, name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))?.[1]);
  return {
    rssKib: field(`/proc/${pid}/status`, 'VmRSS'),
    pssKib: field(`/proc/${pid}/smaps_rollup`, 'Pss'),
  };
}

/** A real daemon in a network of `size`, itself included. */
async function daemonAmong(size: number): Promise<Memory> {
  await using lab = await Lab.create();
  const internet = await Internet.create(lab);
  const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
  const host = await internet.host('client');
  const daemon = await BuriDaemon.start(host);
  await daemon.verb('login', ['--nick', 'bench', '--wait', '20', await server.url()]);
  if (size === 1) {
    await daemon.verb('create', [NETWORK, '-'], `${PASSWORD}\n`);
  } else {
    const others = await internet.host('others');
    const words = [SYNTHETIC, await server.url(), NETWORK, PASSWORD, String(size - 1)];
    const options = { name: 'synthetic members' };
    const synthetic = lab.spawn(others.namespace, process.execPath, words, options);
    await synthetic.line(/^ready$/, { timeoutMs: 300_000 });
    await daemon.verb('join', [NETWORK, '-'], `${PASSWORD}\n`);
    await waitFor('the daemon to know the members', async () => {
      const { networks } = await daemon.verb('list');
      return networks[0]?.members.filter(({ presence }) => presence === 'online').length === size;
    });
  }
  await sleep(settleMs);
  return memoryOf(daemon.process.pid!);
}

/** A client with tunnels and engine, without server. */
async function clientAmong(sessions: number): Promise<Memory> {
  const pair = makePair(`bench${process.pid}`, 'plain');
  try {
    const routes = 1 + (sessions - 1) * ROUTES_PER_PEER;
    const tunnel = await clientWithSessions(sessions, routes, AS_DAEMON).start(pair, 4);
    try {
      await sleep(settleMs);
      return memoryOf(tunnel.pids[0]!);
    } finally {
      await tunnel.stop();
    }
  } finally {
    removePair(pair);
  }
}

const SUBJECTS = {
  daemonAlone: () => daemonAmong(1),
  daemonAmongMany: () => daemonAmong(members + 1),
  clientAlone: () => clientAmong(1),
  clientAmongMany: () => clientAmong(members + 1),
} as const;
type Subject = keyof typeof SUBJECTS;

// What TypeScript takes to be read the first time is in no later start.
await daemonAmong(1);
await clientAmong(1);
const rounds: Record<Subject, Memory>[] = [];
for (let round = 1; round <= Number(values.rounds); round++) {
  const measured: Partial<Record<Subject, Memory>> = {};
  for (const subject of Object.keys(SUBJECTS) as Subject[]) {
    measured[subject] = await SUBJECTS[subject]();
    console.error(`round ${round}  ${subject}: ${measured[subject].rssKib} KiB`);
  }
  rounds.push(measured as Record<Subject, Memory>);
}

const FIELDS = ['rssKib', 'pssKib'] as const;
const perPeer =
  (alone: Subject, among: Subject, field: keyof Memory) => (round: (typeof rounds)[0]) =>
    (round[among][field] - round[alone][field]) / members;
const figures = FIELDS.flatMap((field) => {
  const of = (
    title: string,
    unit: string,
    digits: number,
    value: (r: (typeof rounds)[0]) => number,
  ) => ({
    ...{ title, field, unit, digits },
    ...spreadOf(rounds.map(value)),
    rounds: rounds.map(value),
  });
  const member = perPeer('daemonAlone', 'daemonAmongMany', field);
  const session = perPeer('clientAlone', 'clientAmongMany', field);
  const known = `each of ${members} members more, online, not reached`;
  const met = `each of ${members} peers more with session and ${ROUTES_PER_PEER} routes, without mesh, garbage collected`;
  return [
    of('daemon, logged in, alone in its network', 'MiB', 1, (r) => r.daemonAlone[field] / 1_024),
    of(`daemon, ${known}`, 'KiB', 1, member),
    of(`client, ${met}`, 'KiB', 1, session),
    of('a peer in all: the sum of both', 'KiB', 1, (r) => member(r) + session(r)),
  ];
});

const rows = figures.map(({ title, field, unit, digits, ...spread }) => [
  title,
  field === 'rssKib' ? 'resident' : 'proportional',
  unit,
  spreadText(spread, digits),
]);
console.log(table([['what', 'memory', 'unit', 'median (min–max)'], ...rows]));
if (values.json !== undefined) {
  const json = { machine: machine(), members, settleMs, figures, rounds };
  writeFileSync(values.json, `${JSON.stringify(json, null, 2)}\n`);
}
