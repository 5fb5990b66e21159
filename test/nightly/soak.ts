/**
 * `npm run nightly -- soak [--hours N] [--seed N]`: an hour, or N, of mixed traffic between three members, with rekeys, roams every
 * 30 s and restarts of the server. Nothing may come changed or twice, memory and descriptors must not grow, and at the end
 * everybody must reach everybody.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { tcpStream, udpFlow } from '../../lab/flow.ts';
import { Lab } from '../../lab/lab.ts';
import { nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { nightlyOptions, say } from './options.ts';
import { findGrowth, mib, type Sample, takeSample, trendOf } from './samples.ts';
import { type Member, SoakWorld } from './soak-world.ts';

const { hours = 1, seed = 1 } = nightlyOptions();
const roamEveryMs = 30_000;
/** In step with nothing else. */
const sampleEveryMs = 3_700;
const sayEveryMs = 60_000;
/** In the first half only: the server is watched in the second. */
const restarts = 3;
const reconnectTimeoutMs = 120_000;
/** Of the flows and streams begun; the tunnel is away for seconds at each roam. */
const mayFail = 0.1;

const skip = labSkipReason() || nativeSkipReason();
if (skip !== false) {
  console.log(`skipped: ${skip}`);
  process.exit(0);
}

/** Traffic by kind: how often it was begun, how often it did not get through in time, how much did. */
class Tally {
  begun = 0;
  failed = 0;
  bytes = 0;
  /** Must stay empty. */
  readonly violations: string[] = [];

  async attempt(what: string, run: () => Promise<number>): Promise<void> {
    this.begun++;
    try {
      this.bytes += await run();
    } catch (error) {
      this.failed++;
      if (!ended()) say(`${what}: ${String(error).split('\n')[0]}`);
    }
  }
}

await using lab = await Lab.create();
const world = await SoakWorld.create(lab, seed);
const { anna, bert, carol } = world;
const startedAt = performance.now();
const durationMs = hours * 3_600_000;
const ended = (beforeMs = 0) => performance.now() - startedAt > durationMs - beforeMs;
const tallies = {
  flows: new Tally(),
  streams: new Tally(),
  verbs: new Tally(),
  pings: new Tally(),
};
const samples = new Map<string, { pid: number; samples: Sample[] }>();

/** Numbered datagrams for 40 s, then silence, so that sessions also lapse into their idle ways. */
async function flows(a: Member, b: Member, mbitPerSecond: number, port: number): Promise<void> {
  const seconds = 40;
  const what = `flow ${a.host.name} ↔ ${b.host.name}`;
  for (let round = 0; !ended(seconds * 1000 + 20_000); round++) {
    await tallies.flows.attempt(what, async () => {
      const ends = await udpFlow(a, b, { seconds, mbitPerSecond, port });
      for (const end of ends) {
        if (end.corrupted + end.duplicates === 0) continue;
        tallies.flows.violations.push(`${what}: ${JSON.stringify(end)}`);
      }
      return ends[0].receivedBytes + ends[1].receivedBytes;
    });
    await sleep(round % 4 === 3 ? 20_000 : 3_000);
  }
}

async function streams(): Promise<void> {
  const pairs = [
    [anna, bert],
    [bert, carol],
    [carol, anna],
  ] as const;
  for (let round = 0; !ended(60_000); round++) {
    const [from, to] = pairs[round % pairs.length]!;
    const what = `stream ${from.host.name} → ${to.host.name}`;
    await tallies.streams.attempt(what, async () => {
      const report = await tcpStream(from, to, { bytes: 20e6, timeoutMs: 120_000 });
      if (report.receivedSha256 !== report.sentSha256) tallies.streams.violations.push(what);
      return report.bytes;
    });
    await sleep(10_000);
  }
}

/** Small packets of all kinds, and questions to the daemons. */
async function smallThings(): Promise<void> {
  const sockets = await Promise.all(
    world.members.map(({ host }) => host.udp({ port: 7_300, address: '0.0.0.0' })),
  );
  while (!ended()) {
    for (const [index, { host, daemon }] of world.members.entries()) {
      sockets[index]?.send(`hello from ${host.name}`, { address: '255.255.255.255', port: 7_300 });
      const other = world.members[(index + 1) % world.members.length]!;
      await tallies.pings.attempt('ping', async () => {
        const { received } = await host.ping(other.ipv4, { sizeBytes: 1000, timeoutMs: 1000 });
        if (received === 0) throw new Error(`${host.name} → ${other.host.name} without answer`);
        return 1000;
      });
      await tallies.verbs.attempt('list', async () => {
        await daemon.verb('list');
        return 0;
      });
    }
    await sleep(5_000);
  }
}

async function roams(): Promise<void> {
  while (!ended(roamEveryMs)) {
    await sleep(roamEveryMs);
    say(await world.roam());
    const due = ((world.restarts + 1) * durationMs) / 2 / (restarts + 1);
    if (world.restarts < restarts && performance.now() - startedAt > due) {
      say(await world.restartServer());
    }
  }
}

async function observe(): Promise<void> {
  for (let saidMs = 0; !ended(); ) {
    const atMs = performance.now() - startedAt;
    for (const [name, child] of world.processes) {
      if (child.pid === undefined || !child.running) continue;
      const sample = takeSample(child.pid, atMs, child.lines);
      const known = samples.get(name);
      if (known?.pid !== child.pid) samples.set(name, { pid: child.pid, samples: [] });
      if (sample !== undefined) samples.get(name)?.samples.push(sample);
    }
    if (atMs - saidMs >= sayEveryMs) {
      saidMs = atMs;
      say(`${(atMs / 60_000).toFixed(0)} min: ${[...samples].map(describeNow).join(' · ')}`);
    }
    await sleep(sampleEveryMs);
  }
}

function describeNow([name, { samples: list }]: [string, { samples: Sample[] }]): string {
  const last = list.at(-1);
  if (last === undefined) return `${name} ?`;
  const heap = last.heapBytes === undefined ? '?' : mib(last.heapBytes);
  return `${name} rss ${mib(last.rssBytes)} heap ${heap} fds ${last.descriptors} threads ${last.threads}`;
}

function describeTrend(name: string, list: readonly Sample[]): string {
  const warm = list.slice(Math.floor(list.length / 4));
  const of = (pick: (sample: Sample) => number | undefined) =>
    trendOf(warm.flatMap((sample) => ({ atMs: sample.atMs, value: pick(sample) ?? 0 })));
  const text = (label: string, { first, last, perHour }: ReturnType<typeof trendOf>) =>
    `${label} ${mib(first)} → ${mib(last)} MiB (${mib(perHour)} MiB/h)`;
  const rss = text(
    'rss',
    of(({ rssBytes }) => rssBytes),
  );
  const anonymous = text(
    'anonymous',
    of(({ anonymousBytes }) => anonymousBytes),
  );
  const heap = text(
    'heap',
    of(({ heapBytes }) => heapBytes),
  );
  const fds = [warm[0], warm.at(-1)].map((sample) => sample?.descriptors).join(' → ');
  return `${name}: ${rss}, ${anonymous}, ${heap}, descriptors ${fds}, ${warm.length} samples`;
}

say(`soaking for ${hours} h`);
await Promise.all([
  flows(anna, bert, 8, 7_000),
  flows(bert, carol, 4, 7_010),
  flows(carol, anna, 2, 7_020),
  streams(),
  smallThings(),
  roams(),
  observe(),
]);

const faults: string[] = [];
await world
  .waitUntilConnected(reconnectTimeoutMs)
  .catch((error: Error) => faults.push(`at the end: ${error.message}`));
for (const [name, tally] of Object.entries(tallies)) {
  say(`${name}: ${tally.begun} begun, ${tally.failed} not completed, ${tally.bytes} bytes`);
  faults.push(...tally.violations.map((text) => `${name}: ${text}`));
  const limit = name === 'pings' ? 0.2 : mayFail;
  if (tally.failed > tally.begun * limit) faults.push(`${name}: ${tally.failed} not completed`);
}
for (const { host, daemon } of world.members) {
  if (!daemon.process.running)
    faults.push(`the daemon of ${host.name} ended: ${daemon.process.tail}`);
  const { counters } = await daemon.verb('status').catch(() => ({ counters: {} }));
  const used = Object.entries(counters).filter(([, value]) => value !== 0);
  say(`${host.name}: ${JSON.stringify(Object.fromEntries(used))}`);
}
for (const [name, { samples: list }] of samples) {
  say(describeTrend(name, list));
  faults.push(...findGrowth(list).map((text) => `${name}: ${text}`));
}
say(`${world.roams} roams, ${world.restarts} restarts of the server`);
for (const fault of faults) say(`FAULT ${fault}`);
say(faults.length === 0 ? 'all well' : `${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;
