/**
 * The demo: three computers that are far apart become one private LAN. Real programs, real NATs, real tunnels; only the
 * cables are made of software. `npm run demo` starts it, with `-- --keep` it stays up until Ctrl-C.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { buriProgram } from './buri.ts';
import * as claim from './demo-claims.ts';
import { type Claim, type Progress, Screen, seconds } from './demo-screen.ts';
import { buildWorld, type DemoWorld, type Member, startServer, topology } from './demo-world.ts';
import { Lab } from './lab.ts';
import { labSkipReason } from './needs.ts';
import { namespaces, ownPrefix } from './netns.ts';
import { waitFor } from './wait.ts';

const screen = new Screen(process.stdout);
const claims: Claim[] = [];
const keep = process.argv.includes('--keep');

async function main(): Promise<number> {
  const reason = labSkipReason();
  if (reason !== false) {
    screen.say(`The demo cannot run here: ${reason}.`);
    return 1;
  }
  const started = performance.now();
  let kept = false;
  {
    await using lab = await Lab.create();
    const world = await show(lab);
    if (world !== undefined && !claims.every(({ held }) => held)) tellWhatWasSaid(world);
    const isUp = world?.members.every(({ ipv4 }) => ipv4 !== '') ?? false;
    if (keep && world !== undefined && isUp) {
      screen.summary(claims);
      howToTry(world);
      await interrupted();
      kept = true;
      screen.say('\ntaking it down');
    }
  }
  await tried('nothing is left behind', nothingIsLeft);
  if (!kept) screen.summary(claims);
  const held = claims.filter((each) => each.held).length;
  screen.say(`\n${held} of ${claims.length} held, ${seconds(performance.now() - started)}`);
  return held === claims.length ? 0 : 1;
}

/** Builds the world and proves the claims. Those that others stand on end the demo when they fail. */
async function show(lab: Lab): Promise<DemoWorld | undefined> {
  screen.heading('Three computers, far apart');
  let world: DemoWorld | undefined;
  try {
    world = await screen.step('an Internet, two homes behind NATs, a third computer', () =>
      buildWorld(lab),
    );
    screen.say(`\n${topology(world)}\n`);
    await prove(world);
  } catch (error) {
    // A failed step has been shown; whatever else is a bug.
    if (!(error instanceof Fundamental) && world !== undefined) throw error;
    if (world === undefined)
      claims.push({ title: 'the world is built', held: false, detail: `${error}` });
  }
  return world;
}

async function prove(world: DemoWorld): Promise<void> {
  const { members, bert } = world;
  await tried('both NATs are what they claim', () => claim.natsAreReal(world));
  screen.heading('A server and three daemons');
  const server = await needed('the server runs', async () => {
    const { url, token } = await startServer(world);
    return { url, token, detail: url };
  });
  await needed('the daemons run', async (progress) => {
    const started = performance.now();
    for (const member of members) {
      progress(member.name);
      await member.startDaemon();
      world.processes.push(member.daemon.process);
    }
    return {
      detail: `ready after ${seconds((performance.now() - started) / members.length)} each`,
    };
  });
  await needed('they log in', async (progress) => ({
    detail: await claim.logIn(world, server.url, server.token, progress),
  }));
  screen.heading('One private LAN');
  await needed('a network with a password', async (progress) => ({
    detail: await claim.makeNetwork(world, progress),
  }));
  await tried('direct tunnels between all of them', (progress) => claim.direct(world, progress));
  await tried('ping between all pairs, IPv4', (progress) => claim.pingAll(world, 'ipv4', progress));
  await tried('ping between all pairs, IPv6', (progress) => claim.pingAll(world, 'ipv6', progress));
  await tried('a search by broadcast finds everybody', () => claim.searchFindsAll(world));
  screen.say(`\n  What anna sees (buri list):\n\n${indented(await world.anna.table())}`);
  await tried('a file of 256 MiB over TCP', (progress) => claim.moveFile(world, progress));
  await tried('a web page by virtual address', () => claim.openWebPage(world));
  screen.heading('Members go and come');
  await tried('carol goes offline and comes back', (progress) =>
    claim.goesOffline(world, progress),
  );
  await tried("bert's daemon is killed", (progress) => claim.daemonDies(world, progress));
  await tried("bert's daemon is started again", async (progress) => {
    await bert.startDaemon();
    world.processes.push(bert.daemon.process);
    return claim.direct(world, progress);
  });
}

/** Tries a claim, shows and notes how it came out, and goes on either way. */
async function tried(title: string, work: (progress: Progress) => Promise<string>): Promise<void> {
  await noted(title, async (progress) => ({ detail: await work(progress) })).catch(() => {});
}

class Fundamental extends Error {}

/** Tries a claim that later ones stand on. */
async function needed<T extends { detail: string }>(
  title: string,
  work: (progress: Progress) => Promise<T>,
): Promise<T> {
  try {
    return await noted(title, work);
  } catch (error) {
    throw new Fundamental(title, { cause: error });
  }
}

async function noted<T extends { detail: string }>(
  title: string,
  work: (progress: Progress) => Promise<T>,
): Promise<T> {
  try {
    const result = await screen.step(title, work, ({ detail }) => detail);
    claims.push({ title, held: true, detail: result.detail });
    return result;
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    claims.push({ title, held: false, detail });
    throw error;
  }
}

async function nothingIsLeft(): Promise<string> {
  await waitFor('everything to be gone', () => {
    const left = [...namespaces(), ...readdirSync(tmpdir())].filter((name) =>
      name.startsWith(`${ownPrefix}-`),
    );
    const running = childrenOfThisProcess().map((pid) => `process ${pid}`);
    if (left.length + running.length === 0) return true;
    throw new Error([...left, ...running].join(', '));
  });
  return 'no namespace, no process, no file';
}

/** Programs that this one has started and that have not ended. */
function childrenOfThisProcess(): string[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8');
  return children.split(' ').filter((pid) => pid !== '');
}

function tellWhatWasSaid({ processes }: DemoWorld): void {
  screen.heading('What the programs said last');
  for (const { tail } of processes) screen.say(indented(tail));
}

function howToTry({ anna, bert, carol, internet }: DemoWorld): void {
  const buri = (member: Member, words: string) =>
    `    ${buriProgram} ${words} --socket ${member.daemon.socket}`;
  const lines = [
    '',
    screen.paint('bold', 'It is up. In another terminal, as root:'),
    '',
    '  ask the daemons',
    buri(anna, 'list'),
    buri(bert, `peer ${anna.name}`),
    buri(carol, 'status'),
    '  be one of the computers',
    `    ip netns exec ${anna.host.namespace} ping ${bert.ipv4}`,
    `    ip netns exec ${bert.host.namespace} bash`,
    '  watch what the Internet sees',
    `    ip netns exec ${internet.core.namespace} tcpdump -ni any udp`,
    '',
    screen.paint('bold', 'Ctrl-C takes all of it down.'),
  ];
  for (const line of lines) screen.say(line);
}

/** Waits for Ctrl-C or a polite end. */
function interrupted(): Promise<void> {
  // The event loop must have something to wait for.
  const timer = setInterval(() => {}, 60_000);
  return new Promise((resolve) => {
    const end = () => {
      clearInterval(timer);
      resolve();
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
  });
}

const indented = (text: string): string =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');

process.exitCode = await main();
