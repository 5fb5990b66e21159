/**
 * `npm run nightly -- survival [--hours N] [--count N] [--seed N]`: fifteen members with a tunnel between each two of them, 100 numbered
 * datagrams a second in each, or as many as the machine carries. The server is killed and stays dead for ten minutes, or N hours: no tunnel and no datagram may be lost
 * that is not lost with the server there as well. Then pairs of members start anew while it is dead (`--count`, 20 unless told
 * otherwise), it comes back, and a member without a server hears of an eviction.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { Numbers } from '../../lab/numbers.ts';
import { waitFor } from '../../lab/wait.ts';
import { Random } from '../../sim/random.ts';
import { nightlyOptions, say } from './options.ts';
import { SurvivalWorld } from './survival-world.ts';

const { hours = 1 / 6, count = 20, seed = 1 } = nightlyOptions();
const memberCount = 15;
/** Datagrams a second in each tunnel and direction: the first of these that the machine carries while the server is there. */
const rates = [100, 50, 25, 10, 5];
/** A machine that is busy with itself loses more. */
const carriedLoss = 1e-4;
const baselineMs = Math.min(30_000, hours * 3_600_000);
/** What is under way has arrived by then. */
const drainMs = 3000;
const coldStartBarMs = 10_000;
const evictionBarMs = 1000;

const skip = labSkipReason();
if (skip !== false) {
  console.log(`skipped: ${skip}`);
  process.exit(0);
}
const failures: string[] = [];
const must = (isSo: boolean, what: string) => {
  say(`${isSo ? 'ok' : 'FAILED'}: ${what}`);
  if (!isSo) failures.push(what);
};

await using lab = await Lab.create();
const world = await SurvivalWorld.create(lab, memberCount);
const { members } = world;
const pairCount = (memberCount * (memberCount - 1)) / 2;
await waitFor('all tunnels', async () => (await world.tunnels()).missing === 0, {
  timeoutMs: 120_000,
  intervalMs: 2000,
});
say(`${pairCount} tunnels: ${JSON.stringify(await world.tunnels())}`);
const numbers = await Numbers.create(members);

/** Datagrams for so long: how many were sent, lost and came again, and the longest gap. */
async function traffic(perSecond: number, durationMs: number) {
  numbers.start(perSecond);
  await sleep(durationMs);
  numbers.pause();
  await sleep(drainMs);
  const ways = await numbers.accounts();
  const sum = (of: 'sent' | 'lost' | 'again') => ways.reduce((all, way) => all + way[of], 0);
  for (const way of ways.filter(({ lost }) => lost > 0).slice(0, 10)) say(JSON.stringify(way));
  const longestGapMs = Math.max(...ways.map((way) => way.longestGapMs));
  return { sent: sum('sent'), lost: sum('lost'), again: sum('again'), longestGapMs };
}

async function carried() {
  for (const rate of rates) {
    const before = await traffic(rate, baselineMs);
    say(`with the server, ${rate} a second, ${baselineMs / 1000} s: ${JSON.stringify(before)}`);
    if (before.lost <= carriedLoss * before.sent || rate === rates.at(-1)) return { rate, before };
  }
  throw new Error('no rate');
}

const { rate, before } = await carried();
await world.killServer();
const dead = await traffic(rate, hours * 3_600_000);
const left = await world.tunnels();
say(`without it, ${hours * 3600} s: ${JSON.stringify(dead)}, tunnels ${JSON.stringify(left)}`);
const linkRate = before.lost / before.sent;
must(left.missing === 0, `${left.missing} of ${pairCount} tunnels lost`);
must(dead.lost <= Math.ceil(linkRate * dead.sent), `${dead.lost} of ${dead.sent} datagrams lost`);
must(dead.again === 0, `${dead.again} came twice`);

const random = new Random(seed);
const tookMs: number[] = [];
for (let i = 0; i < count; i++) {
  const a = random.pick(members);
  const b = random.pick(members.filter((member) => member !== a));
  tookMs.push(await world.restart(a, b));
}
tookMs.sort((x, y) => x - y);
const at = (share: number) => Math.round(tookMs[Math.ceil(share * tookMs.length) - 1] ?? 0);
say(`${count} times two start anew: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, longest ${at(1)} ms`);
must(at(0.95) <= coldStartBarMs, `p95 of cold starts ${at(0.95)} ms`);

const backAt = performance.now();
await world.startServer();
await world.waitUntilOnline();
say(`all are online ${Math.round(performance.now() - backAt)} ms after the server was started`);
await waitFor('all tunnels', async () => (await world.tunnels()).missing === 0, {
  timeoutMs: 120_000,
  intervalMs: 2000,
});

const [owner, cutOff, evicted] = [members[0]!, members[1]!, members[3]!];
await world.cutOff(cutOff, true);
const pings = evicted.host.spawn('ping', ['-n', '-D', '-i', '0.02', cutOff.ipv4]);
await pings.line(/bytes from/);
await sleep(2000);
await world.evict(owner, evicted);
const evictedAt = Date.now();
await sleep(3000);
await pings.stop('SIGINT');
const last = pings.lines.findLast((line) => line.includes('bytes from')) ?? '';
const lastMs = 1000 * Number(/^\[([0-9.]+)\]/.exec(last)?.[1]) - evictedAt;
must(lastMs <= evictionBarMs, `a member without a server answered for ${Math.round(lastMs)} ms`);
await world.cutOff(cutOff, false);

if (failures.length > 0) process.exitCode = 1;
