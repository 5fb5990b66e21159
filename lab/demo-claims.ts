/** What the demo claims, each tried on the running world. A claim returns its measured figures, or throws why it does not hold. */
import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { VerbError } from './buri.ts';
import type { Progress } from './demo-screen.ts';
import { seconds } from './demo-screen.ts';
import type { DemoWorld, Member } from './demo-world.ts';
import { homeNats } from './demo-world.ts';
import { pinnedNode, repositoryRoot } from './exec.ts';
import { natKind } from './nat-kinds.ts';
import { observeNat } from './nat-probe.ts';
import { waitFor } from './wait.ts';

export const networkName = 'home';
export const password = 'three computers, one room';

const directTimeoutMs = 30_000;
const noticeTimeoutMs = 30_000;
const fileBytes = 256 * 1024 * 1024;
const filePort = 5_001;
const httpPort = 8_080;
const gamePort = 27_015;
const tool = join(repositoryRoot, 'lab', 'tcp-tool.ts');

/** Measures both NATs from outside, with real packets. */
export async function natsAreReal({ homes, server, carol }: DemoWorld): Promise<string> {
  const found: string[] = [];
  for (const name of ['anna', 'bert'] as const) {
    const { mapping, filtering } = await observeNat(homes[name].firstHost, [server, carol.host]);
    const row = natKind(homeNats[name]);
    if (mapping !== row.mapping || filtering !== row.filtering) {
      throw new Error(
        `${name}'s NAT is not ${row.name}: ${mapping} mapping, ${filtering} filtering`,
      );
    }
    found.push(`${name}: ${mapping} mapping, ${filtering} filtering`);
  }
  return found.join('\n');
}

export async function logIn(
  { members }: DemoWorld,
  url: string,
  token: string,
  progress: Progress,
): Promise<string> {
  for (const member of members) {
    progress(`${member.name} logs in`);
    const login = ['--nick', member.name, '--token', token, '--wait', '20', url];
    const { ipv4, ipv6 } = await member.buri('login', login);
    Object.assign(member, { ipv4, ipv6 });
  }
  return members.map(({ name, ipv4, ipv6 }) => `${name} ${ipv4} ${ipv6}`).join('\n');
}

/** One creates the network, the others join it; a wrong password gets nobody in. */
export async function makeNetwork(world: DemoWorld, progress: Progress): Promise<string> {
  const { anna, bert, carol } = world;
  progress(`anna creates '${networkName}' with a password`);
  await anna.buri('create', [networkName, '-'], `${password}\n`);
  progress('bert tries a wrong password');
  const refusal = await bert.buri('join', [networkName, '-'], 'guess\n').then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(refusal instanceof VerbError)) throw new Error('a wrong password was accepted');
  for (const member of [bert, carol]) {
    progress(`${member.name} joins`);
    const { state } = await member.buri('join', [networkName, '-'], `${password}\n`);
    if (state !== 'member') throw new Error(`${member.name} is ${state}, not a member`);
  }
  return `3 members; a wrong password is refused (${refusal.code})`;
}

/** Every member sees every other one through a direct tunnel. */
export async function direct(world: DemoWorld, progress: Progress): Promise<string> {
  const started = performance.now();
  await waitFor(
    'direct tunnels between all members',
    async () => {
      const open: string[] = [];
      for (const [from, to] of world.pairs) {
        const { presence, path } = await from.sees(to);
        if (presence !== 'online' || path.kind !== 'direct') {
          open.push(`${from.name} → ${to.name} ${presence}, ${path.kind}`);
        }
      }
      progress(open.length === 0 ? '' : `${6 - open.length} of 6 directions`);
      if (open.length > 0) throw new Error(open.join('; '));
      return true;
    },
    { timeoutMs: directTimeoutMs, intervalMs: 100 },
  );
  return `all within ${seconds(performance.now() - started)}`;
}

/** All ordered pairs, by the addresses of one family. */
export async function pingAll(
  { pairs }: DemoWorld,
  family: 'ipv4' | 'ipv6',
  progress: Progress,
): Promise<string> {
  const figures: string[] = [];
  for (const [from, to] of pairs) {
    progress(`${from.name} → ${to.name}`);
    const { sent, received, averageRttMs, output } = await from.host.ping(to[family], { count: 5 });
    if (received !== sent) {
      throw new Error(
        `${from.name} → ${to.name}: ${received} of ${sent} answers\n${output.trim()}`,
      );
    }
    figures.push(`${from.name} → ${to.name} ${averageRttMs?.toFixed(2)} ms`);
  }
  return `6 pairs, 5 of 5 answers each\n${figures.slice(0, 3).join(', ')}\n${figures.slice(3).join(', ')}`;
}

/** A program asks everybody, as games do that look for servers; those who hear it answer. */
export async function searchFindsAll({ anna, bert, carol }: DemoWorld): Promise<string> {
  const others = [bert, carol];
  for (const { host } of others) await host.udpEcho({ port: gamePort });
  const search = await anna.host.udp();
  const started = performance.now();
  search.send('who is there?', { address: '255.255.255.255', port: gamePort });
  await waitFor('both others to answer', () => search.datagrams.length >= others.length);
  const elapsedMs = performance.now() - started;
  const expected = others.map(({ ipv4 }) => ipv4).toSorted();
  const answered = search.datagrams.map(({ from }) => from.address).toSorted();
  if (answered.join() !== expected.join()) {
    throw new Error(`${answered.join(', ')} answered, not ${expected.join(', ')}`);
  }
  return `one datagram to 255.255.255.255, answers from ${answered.join(' and ')} within ${Math.ceil(elapsedMs)} ms`;
}

/** Moves a file of random bytes from one home to the other and compares what arrived with what left. */
export async function moveFile(world: DemoWorld, progress: Progress): Promise<string> {
  const { anna, bert, directory } = world;
  const source = join(directory, 'file-sent');
  const target = join(directory, 'file-received');
  progress('making 256 MiB of random bytes');
  const sentHash = await randomFile(source);
  const end = [bert.ipv4, `${filePort}`];
  const receiver = bert.host.spawn(pinnedNode, [tool, 'receive', ...end, target]);
  await receiver.line(/^listening$/);
  progress('anna → bert');
  const started = performance.now();
  await anna.host.check(pinnedNode, [tool, 'send', ...end, source], { timeoutMs: 300_000 });
  const elapsedMs = performance.now() - started;
  const line = await receiver.line(/^\d+ [0-9a-f]{64}$/, { timeoutMs: 300_000 });
  const [bytes, hash] = line.split(' ');
  if (Number(bytes) !== fileBytes || hash !== sentHash) {
    throw new Error(`sent ${fileBytes} bytes ${sentHash}, received ${bytes} bytes ${hash}`);
  }
  const mbits = (fileBytes * 8) / elapsedMs / 1000;
  return `SHA-256 ${hash?.slice(0, 16)}… at both ends, ${seconds(elapsedMs)}, ${Math.round(mbits)} Mbit/s`;
}

/** A web server of one member, opened by the others at its virtual addresses. */
export async function openWebPage({ anna, bert, carol }: DemoWorld): Promise<string> {
  const text = `hello from ${anna.name} ${process.pid}`;
  const server = anna.host.spawn(pinnedNode, [tool, 'http', `${httpPort}`, text]);
  await server.line(/^listening$/);
  const urls = [`http://${anna.ipv4}:${httpPort}/`, `http://[${anna.ipv6}]:${httpPort}/`];
  for (const member of [bert, carol]) {
    for (const url of urls) {
      const answer = await member.host.check('curl', ['-sS', '--noproxy', '*', '-m', '10', url]);
      if (answer !== text) throw new Error(`${member.name} read '${answer}' from ${url}`);
    }
  }
  await server.stop();
  return `bert and carol read ${urls.join(' and ')}`;
}

/** One member takes no part for a while: the others are told, nothing reaches it, and it comes back. */
export async function goesOffline(world: DemoWorld, progress: Progress): Promise<string> {
  const { anna, bert, carol } = world;
  const started = performance.now();
  await carol.buri('go-offline', [networkName]);
  await noticed([anna, bert], carol, ['offline'], progress);
  const noticedMs = performance.now() - started;
  progress('a ping to carol must stay unanswered');
  const ping = await anna.host.ping(carol.ipv4, { count: 2, timeoutMs: 1_000 });
  if (ping.received !== 0) throw new Error('carol still answers after she went offline');
  const back = performance.now();
  await carol.buri('go-online', [networkName]);
  await direct(world, progress);
  return `noticed in ${seconds(noticedMs)}, nothing reaches her; back with direct tunnels in ${seconds(
    performance.now() - back,
  )}`;
}

/** A daemon dies without a goodbye. */
export async function daemonDies(
  { anna, bert, carol }: DemoWorld,
  progress: Progress,
): Promise<string> {
  const started = performance.now();
  await bert.daemon.stop('SIGKILL');
  await noticed([anna, carol], bert, ['unconfirmed', 'offline'], progress);
  const { presence } = await anna.sees(bert);
  const ping = await anna.host.ping(carol.ipv4, { count: 2 });
  if (ping.received !== 2) throw new Error('the tunnel between the other two suffered');
  return `noticed in ${seconds(performance.now() - started)} (${presence}); the others go on`;
}

async function noticed(
  watchers: readonly Member[],
  gone: Member,
  presences: readonly string[],
  progress: Progress,
): Promise<void> {
  for (const watcher of watchers) {
    progress(`${watcher.name} watches ${gone.name}`);
    await waitFor(
      `${watcher.name} to notice that ${gone.name} is gone`,
      async () => {
        const { presence, path } = await watcher.sees(gone);
        if (!presences.includes(presence)) throw new Error(`${presence}, ${path.kind}`);
        return true;
      },
      { timeoutMs: noticeTimeoutMs },
    );
  }
}

/** Writes a file of random bytes and returns its SHA-256. */
async function randomFile(path: string): Promise<string> {
  const file = createWriteStream(path, { mode: 0o600 });
  const hash = createHash('sha256');
  const chunk = 4 * 1024 * 1024;
  for (let written = 0; written < fileBytes; written += chunk) {
    const block = randomFillSync(Buffer.allocUnsafe(chunk));
    hash.update(block);
    if (!file.write(block)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');
  return hash.digest('hex');
}
