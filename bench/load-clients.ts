/**
 * A process of clients for `control.ts`, told by messages what to do: log in and make networks of them, come and go, wait for
 * a server that is started anew.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Heard, LoadClient } from './load-client.ts';

export interface LoadPlan {
  readonly urls: readonly string[];
  /** Number of the first client, and how many: a multiple of the network's size. */
  readonly first: number;
  readonly count: number;
  readonly networkSize: number;
  /** The network part of the addresses that clients connect from, each its own /24. */
  readonly block: number;
}

export type LoadOrder =
  | { readonly do: 'enrol'; readonly plan: LoadPlan; readonly atOnce: number }
  | { readonly do: 'churn'; readonly perSecond: number; readonly seconds: number }
  | { readonly do: 'rename'; readonly perSecond: number; readonly seconds: number }
  /** The server is gone, or about to be: when each client is back. */
  | { readonly do: 'watch' }
  | { readonly do: 'all-online' };

/** Answers, by order. Times are milliseconds. */
export interface LoadResult {
  /** From the goodbye of a client to each neighbour that was told. */
  readonly offlineMs: readonly number[];
  /** From the login message of one that comes. */
  readonly onlineMs: readonly number[];
  readonly changedMs: readonly number[];
  /** From the first packet of the attempt that succeeded to the welcome. */
  readonly loginMs: readonly number[];
  /** Unix time of each login. */
  readonly backAt: readonly number[];
  readonly changes: number;
  /** Messages that neighbours should have had, and had not when it was over. */
  readonly missing: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly online: number;
}

/** A /24 in 127/8 for so many clients: limits of the server count by address and by /24. */
const clientsPerBlock = 128;
/** How long clients that have gone stay away. */
const awayMs = 5_000;
const settleMs = 3_000;

let plan: LoadPlan;
const clients: LoadClient[] = [];
const failures = new Map<string, number>();
/** Since when neighbours should hear something of a client, and how many of them are left. */
const expected = new Map<string, { readonly since: number; left: number }>();
/** Whose return neighbours should hear of. */
const returning = new Set<LoadClient>();
const delays = new Map<Heard, number[]>();
let loginMs: number[] = [];
let backAt: number[] = [];

const addressOf = (i: number): string => {
  const block = plan.block + Math.floor(i / clientsPerBlock);
  return `127.${1 + Math.floor(block / 250)}.${1 + (block % 250)}.${2 + (i % clientsPerBlock)}`;
};

function heard(what: Heard, clientId: string): void {
  const entry = expected.get(`${what} ${clientId}`);
  if (entry === undefined || entry.left === 0) return;
  entry.left--;
  let list = delays.get(what);
  if (list === undefined) {
    list = [];
    delays.set(what, list);
  }
  list.push(performance.now() - entry.since);
}

const networkOf = (i: number): readonly LoadClient[] => {
  const first = i - (i % plan.networkSize);
  return clients.slice(first, first + plan.networkSize);
};

function expect(what: Heard, i: number): void {
  const client = clients[i]!;
  const left = networkOf(i).filter((other) => other !== client && other.isOnline).length;
  expected.set(`${what} ${client.clientId}`, { since: performance.now(), left });
}

async function online(some: readonly LoadClient[]): Promise<void> {
  while (some.some(({ isOnline }) => !isOnline)) await sleep(20);
}

/** Runs `work` for each, so many at a time. */
async function each<T>(
  list: readonly T[],
  atOnce: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < list.length; i = next++) await work(list[i]!, i);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function enrol(newPlan: LoadPlan, atOnce: number): Promise<LoadResult> {
  plan = newPlan;
  for (let i = 0; i < plan.count; i++) {
    const number = plan.first + i;
    clients.push(
      new LoadClient({
        name: `client ${number}`,
        url: plan.urls[Math.floor(i / plan.networkSize) % plan.urls.length]!,
        localAddress: addressOf(i),
        hasNodes: plan.urls.length > 1,
        heard,
        loggingIn: (client) => {
          if (returning.delete(client)) expect('online', i);
        },
        online: (client) => {
          loginMs.push(performance.now() - client.startedAt);
          backAt.push(Date.now());
        },
        failed: (code) => failures.set(code, (failures.get(code) ?? 0) + 1),
      }),
    );
  }
  await each(clients, atOnce, async (client) => {
    client.link.start();
    await online([client]);
  });
  const groups = Array.from({ length: plan.count / plan.networkSize }, (_, i) => i);
  await each(groups, Math.ceil(atOnce / 8), async (group) => {
    const members = networkOf(group * plan.networkSize);
    const name = `net ${plan.first / plan.networkSize + group}`;
    for (const [i, client] of members.entries())
      await (i === 0 ? client.create(name) : client.join(name));
  });
  return taken();
}

/** What was noted since the last time. */
function taken(): LoadResult {
  let missing = 0;
  for (const { left } of expected.values()) missing += left;
  const result = {
    offlineMs: delays.get('offline') ?? [],
    onlineMs: delays.get('online') ?? [],
    changedMs: delays.get('changed') ?? [],
    ...{ loginMs, backAt, missing, changes: expected.size },
    failures: Object.fromEntries(failures),
    online: clients.filter(({ isOnline }) => isOnline).length,
  };
  expected.clear();
  delays.clear();
  failures.clear();
  loginMs = [];
  backAt = [];
  return result;
}

/** Does something to a random client who is online, so many times a second. */
async function often(
  perSecond: number,
  seconds: number,
  act: (i: number) => Promise<void>,
): Promise<void> {
  const until = performance.now() + seconds * 1000;
  const work: Promise<void>[] = [];
  let due = performance.now();
  while (performance.now() < until) {
    for (; due <= performance.now(); due += 1000 / perSecond) {
      const i = Math.floor(Math.random() * clients.length);
      if (clients[i]!.isOnline) work.push(act(i));
    }
    await sleep(Math.max(1, due - performance.now()));
  }
  await Promise.all(work);
  await sleep(settleMs);
}

async function churn(perSecond: number, seconds: number): Promise<LoadResult> {
  taken();
  await often(perSecond, seconds, async (i) => {
    const client = clients[i]!;
    expect('offline', i);
    await client.link.stop();
    await sleep(awayMs * (0.5 + Math.random()));
    returning.add(client);
    client.link.start();
    await online([client]);
  });
  return taken();
}

async function rename(perSecond: number, seconds: number): Promise<LoadResult> {
  taken();
  let n = 0;
  await often(perSecond, seconds, async (i) => {
    expect('changed', i);
    await clients[i]!.rename(`renamed ${plan.first} ${n++}`);
  });
  return taken();
}

async function obey(order: LoadOrder): Promise<LoadResult> {
  switch (order.do) {
    case 'enrol':
      return await enrol(order.plan, order.atOnce);
    case 'churn':
      return await churn(order.perSecond, order.seconds);
    case 'rename':
      return await rename(order.perSecond, order.seconds);
    case 'watch':
      return taken();
    case 'all-online':
      await online(clients);
      return taken();
    default:
      return order satisfies never;
  }
}

process.on('message', (order: LoadOrder) => {
  obey(order).then(
    (result) => process.send!(result),
    (error: Error) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit());
