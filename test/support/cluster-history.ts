/**
 * Random operations on all nodes of a cluster with random faults, and what must hold of their history afterwards: what was
 * acknowledged is there, once; revisions have no holes; all views are what the database says; nobody was called offline.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '#server/store/store.ts';
import type { Operation } from '#wire/control.ts';
import type { Random } from '../../sim/random.ts';
import type { ClusterWorld, LinkClient } from './cluster-world.ts';
import { verifierFor } from './control-client.ts';
import { isUnknown, MadeNetworks } from './made-networks.ts';
import { toldOffline } from './view-model.ts';

export interface HistoryOptions {
  readonly world: ClusterWorld;
  readonly store: Store;
  /** Networks by name; each belongs to the client of the same position. */
  readonly networks: ReadonlyMap<string, string>;
  readonly random: Random;
  readonly seconds: number;
  readonly say: (text: string) => void;
}

/** What a client was told of one kind of thing that it did. */
interface Tally {
  acknowledged: number;
  unknown: number;
}

const convergedMs = 90_000;
const refused = new Set([
  ...['already-member', 'not-member', 'network-locked', 'not-owner', 'you-are-owner'],
  ...['server-storage', 'rate-limited', 'network-not-found'],
]);

export async function runHistory(options: HistoryOptions): Promise<void> {
  const { world, random, seconds, say } = options;
  const until = performance.now() + seconds * 1000;
  const before = await changesSoFar(options.store);
  const tallies = new Map<string, Tally>();
  const nicks = new Map<LinkClient, number>();
  const made = new MadeNetworks();
  const work = world.clients.map((client) => operate(options, client, until, tallies, nicks, made));
  let faults = 0;
  try {
    while (performance.now() < until) {
      await sleep(300 + 1_200 * random.float());
      say(`fault ${++faults}: ${await fault(world, random)}`);
    }
  } finally {
    await Promise.all(work);
  }
  await world.converged(options.store, convergedMs);
  await check(options, before, tallies, nicks);
  say(await made.check(options.store, options.networks));
  const sum = [...tallies.values()].reduce((total, { acknowledged }) => total + acknowledged, 0);
  say(`${sum} writes acknowledged, ${faults} faults`);
}

async function operate(
  { networks, random, world }: HistoryOptions,
  client: LinkClient,
  until: number,
  tallies: Map<string, Tally>,
  nicks: Map<LinkClient, number>,
  made: MadeNetworks,
): Promise<void> {
  const names = [...networks.keys()];
  for (let n = 1; performance.now() < until; n++) {
    await sleep(10 + 60 * random.float());
    if (random.float() < 0.25) {
      await made.operate(client, random);
      continue;
    }
    const name = names[Math.floor(random.float() * names.length)]!;
    const network = networks.get(name)!;
    const other = world.clients[Math.floor(random.float() * world.clients.length)]!;
    // An owner who leaves alone deletes the network.
    const isOwner = names.indexOf(name) === world.clients.indexOf(client);
    const dice = isOwner ? 0.4 + 0.6 * random.float() : random.float();
    const operation: Operation =
      dice < 0.4
        ? { op: 'join', name, verifier: verifierFor('') }
        : dice < 0.6 && !isOwner
          ? { op: 'leave', network }
          : dice < 0.75
            ? { op: 'evict', network, clientId: other.clientId }
            : { op: 'set-nick', nick: `nick ${n}` };
    const answer = await client.request(operation);
    if (operation.op === 'set-nick') {
      if (answer === 'ok') nicks.set(client, n);
    } else if (!refused.has(answer) || answer === 'server-storage') {
      const subject = operation.op === 'evict' ? operation.clientId : client.clientId;
      count(tallies, operation.op === 'join' ? 'joined' : 'gone', network, subject, answer);
    }
  }
}

function count(
  tallies: Map<string, Tally>,
  kind: string,
  network: string,
  subject: string,
  answer: string,
): void {
  const key = `${kind} ${network} ${subject}`;
  const tally = tallies.get(key) ?? { acknowledged: 0, unknown: 0 };
  tallies.set(key, tally);
  if (isUnknown(answer)) tally.unknown++;
  else tally.acknowledged++;
}

async function fault(world: ClusterWorld, random: Random): Promise<string> {
  const node = Math.floor(random.float() * world.nodes.length);
  const pauseMs = Math.floor(800 * random.float());
  switch (Math.floor(random.float() * (world.isApart ? 7 : 5))) {
    case 0:
      await world.nodes[node]!.stop('SIGKILL');
      await sleep(pauseMs);
      await world.up(node);
      return `node ${node} killed`;
    case 1:
      await world.nodes[node]!.stop('SIGTERM');
      await world.up(node);
      return `node ${node} restarted`;
    case 2:
      await world.nats.stop(node);
      await sleep(pauseMs);
      await world.nats.up(node);
      return `NATS ${node} killed`;
    case 3:
      for (let i = 0; i < world.nodes.length; i++) await world.nats.stop(i);
      await sleep(pauseMs);
      for (let i = 0; i < world.nodes.length; i++) await world.nats.up(i);
      return 'all NATS killed';
    case 5:
      world.nats.cutOff(node);
      await sleep(10 * pauseMs);
      world.nats.mend(node);
      return `node ${node} was cut off from the others for ${10 * pauseMs} ms`;
    case 6:
      world.cutStore(node);
      await sleep(10 * pauseMs);
      world.mendStore(node);
      return `node ${node} was cut off from PostgreSQL for ${10 * pauseMs} ms`;
    default: {
      const signal = random.float() < 0.5 ? 'SIGQUIT' : 'SIGINT';
      await world.postgres.stop(signal);
      await sleep(pauseMs);
      await world.postgres.up();
      return `PostgreSQL restarted by ${signal}`;
    }
  }
}

async function changesSoFar(store: Store): Promise<Map<string, number>> {
  const log = await store.db
    .selectFrom('network_changes')
    .select(['network_id', 'kind', 'subject'])
    .execute();
  const counts = new Map<string, number>();
  for (const { network_id, kind, subject } of log) {
    const key = `${kind} ${network_id} ${subject}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

async function check(
  { networks, store, world }: HistoryOptions,
  before: ReadonlyMap<string, number>,
  tallies: ReadonlyMap<string, Tally>,
  nicks: ReadonlyMap<LinkClient, number>,
): Promise<void> {
  for (const network of networks.values()) {
    const log = await store.db
      .selectFrom('network_changes')
      .select(['revision', 'kind', 'subject'])
      .where('network_id', '=', network)
      .orderBy('revision')
      .execute();
    const { revision } = await store.db
      .selectFrom('networks')
      .select('revision')
      .where('network_id', '=', network)
      .executeTakeFirstOrThrow();
    const revisions = new Set(log.map((entry) => entry.revision));
    assert.equal(revisions.size, revision, `every revision of ${network} is in its log`);
    for (const client of world.clients)
      for (const kind of ['joined', 'gone']) {
        const entries = log.filter(
          (entry) => entry.kind === kind && entry.subject === client.clientId,
        );
        const key = `${kind} ${network} ${client.clientId}`;
        const { acknowledged, unknown } = tallies.get(key) ?? { acknowledged: 0, unknown: 0 };
        const there = entries.length - (before.get(key) ?? 0);
        const what = `${client.name} ${kind} ${network}: ${there} in the log, ${acknowledged} acknowledged, ${unknown} unknown`;
        assert.ok(there >= acknowledged && there <= acknowledged + unknown, what);
      }
  }
  const rows = await store.db.selectFrom('clients').select(['client_id', 'nick']).execute();
  for (const [client, n] of nicks) {
    const row = rows.find(({ client_id }) => client_id === client.clientId);
    const kept = Number(/^nick ([0-9]+)$/.exec(row?.nick ?? '')?.[1] ?? 0);
    assert.ok(kept >= n, `${client.name}: nick ${n} was acknowledged, ${row?.nick} is there`);
  }
  for (const { model, name } of world.clients) {
    assert.deepEqual(toldOffline(model), [], `${name} was told that somebody is offline`);
  }
}
