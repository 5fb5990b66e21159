/** Three nodes over a real PostgreSQL and three real NATS, with clients that move between them: what is killed is not missed. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Store } from '#server/store/store.ts';
import { ClusterWorld, type LinkClient } from '../support/cluster-world.ts';
import { natsSkip } from '../support/nats.ts';
import { freePort, postgresSkip } from '../support/postgres.ts';
import { buri } from '../support/server-process.ts';

const skip = postgresSkip !== false ? postgresSkip : natsSkip;
const clientCount = 12;
const networkCount = 3;
/** Seconds on a machine that has them to spare; tests share theirs with others. */
const mostOutageMs = 20_000;

let world: ClusterWorld;
let store: Store;
const owners: string[] = [];
before(async () => {
  if (skip !== false) return;
  world = await ClusterWorld.start(3);
  store = await Store.open(world.store);
  owners.push(...(await world.populate(clientCount, networkCount)).values());
  for (const [i, client] of world.clients.entries())
    for (let n = 0; n < networkCount; n++)
      if (i !== n) assert.equal(await client.join(`net ${n}`), owners[n], client.name);
});
after(async () => {
  await store?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

const converged = () => world.converged(store, 20_000);

const everOffline = () =>
  world.clients.flatMap(({ model }) => model.presences.filter((text) => text.endsWith(' offline')));
const notOnline = () =>
  world.clients.flatMap(({ model }) => model.presences.filter((text) => !text.endsWith(' online')));
const forgetPresences = () => {
  for (const { model } of world.clients) model.presences.length = 0;
};

/** Nicknames set until `stop`; the last that was acknowledged, and what came back. */
function load() {
  const acknowledged = new Map<LinkClient, number>();
  const answers = new Map<string, number>();
  let running = true;
  const work = world.clients.map(async (client) => {
    for (let n = 1; running; n++) {
      const answer = await client.request({ op: 'set-nick', nick: `nick ${n}` });
      if (answer === 'ok') acknowledged.set(client, n);
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
      await sleep(answer === 'ok' ? 20 : 100);
    }
  });
  const end = async () => {
    running = false;
    await Promise.all(work);
  };
  const stop = async () => {
    await end();
    const rows = await store.db.selectFrom('clients').select(['client_id', 'nick']).execute();
    const nicks = new Map(rows.map(({ client_id, nick }) => [client_id, nick]));
    for (const [client, n] of acknowledged) {
      const kept = Number(/[0-9]+$/.exec(nicks.get(client.clientId) ?? '')?.[0] ?? 0);
      assert.ok(kept >= n, `${client.name}: nick ${n} was acknowledged, ${kept} is there`);
    }
    return answers;
  };
  return { stop, [Symbol.asyncDispose]: end };
}

test('clients of three nodes see one truth', { skip }, async () => {
  await converged();
  for (let node = 0; node < 3; node++) assert.equal(world.on(node).length, clientCount / 3);
});

test('a node is killed under load: its clients are back within seconds, nobody is seen offline, nothing acknowledged is lost', {
  skip,
}, async () => {
  forgetPresences();
  await using running = load();
  await sleep(1_000);
  const gone = world.on(1);
  assert.ok(gone.length > 0);
  for (const client of gone) client.outages.length = 0;
  await world.nodes[1]!.stop('SIGKILL');
  await sleep(100);
  await Promise.all(gone.map((client) => client.online()));
  await running.stop();
  const worstMs = Math.max(...gone.flatMap(({ outages }) => outages));
  console.log(`back after at most ${Math.round(worstMs)} ms`);
  assert.ok(worstMs < mostOutageMs, `${worstMs} ms`);
  await converged();
  assert.deepEqual(everOffline(), []);
  await world.up(1);
});

test('NATS is killed whole and comes back: nobody is seen offline, changes arrive meanwhile', {
  skip,
}, async () => {
  forgetPresences();
  for (let i = 0; i < 3; i++) await world.nats.stop(i);
  assert.equal(
    await world.clients[0]!.request({ op: 'set-access', network: owners[0]!, locked: true }),
    owners[0],
  );
  await converged();
  for (let i = 0; i < 3; i++) await world.nats.up(i);
  await using running = load();
  await sleep(1_000);
  await running.stop();
  await converged();
  assert.deepEqual(everOffline(), []);
});

test('PostgreSQL is restarted: clients stay connected, writes fail with the reason and nothing else, then all goes on', {
  skip,
}, async () => {
  forgetPresences();
  const before = world.clients.map(({ outages }) => outages.length);
  await using running = load();
  await sleep(500);
  await world.postgres.stop('SIGQUIT');
  await sleep(2_000);
  assert.equal(await world.clients[0]!.request({ op: 'set-nick', nick: 'late' }), 'server-storage');
  await world.postgres.up();
  await sleep(1_500);
  const answers = await running.stop();
  const codes = [...answers.keys()].sort();
  assert.deepEqual(codes, ['ok', 'server-storage']);
  assert.deepEqual(
    world.clients.map(({ outages }) => outages.length),
    before,
    'no connection was lost',
  );
  await converged();
  assert.deepEqual(everOffline(), []);
});

test('a node that is told to end sends its clients to the others, and nobody notices', {
  skip,
}, async () => {
  forgetPresences();
  const leaving = world.on(0);
  assert.ok(leaving.length > 0);
  await using running = load();
  await world.nodes[0]!.stop('SIGTERM');
  await Promise.all(leaving.map((client) => client.online()));
  await running.stop();
  await converged();
  assert.deepEqual(notOnline(), []);
  await world.up(0);
});

test('every node is replaced in turn under load: no request fails, and nobody notices', {
  skip,
}, async () => {
  forgetPresences();
  await using running = load();
  for (let node = 0; node < 3; node++) {
    await world.nodes[node]!.stop('SIGTERM');
    await world.up(node);
    // The others hear of it, and may send their own clients there.
    await sleep(4_000);
  }
  assert.deepEqual([...(await running.stop()).keys()], ['ok']);
  await converged();
  assert.deepEqual(notOnline(), []);
});

test('a node that is started before PostgreSQL and NATS waits, is not ready meanwhile, and says why', {
  skip,
}, async () => {
  const port = await freePort();
  await world.nodes[2]!.stop('SIGKILL');
  await world.postgres.stop();
  for (let i = 0; i < 3; i++) await world.nats.stop(i);
  const starting = world.up(2, ['--metrics', `127.0.0.1:${port}`]);
  const look = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`).catch(() => undefined);
    return response === undefined ? undefined : [response.status, await response.text()];
  };
  const until = async (path: string, status: number, says: RegExp) => {
    for (let i = 0; i < 600; i++) {
      const [found, text] = (await look(path)) ?? [];
      if (found === status && says.test(String(text))) return;
      await sleep(50);
    }
    assert.fail(`${path} does not become ${status}: ${await look(path)}`);
  };
  await until('readyz', 503, /database: .*cannot be reached/);
  assert.deepEqual(await look('healthz'), [200, 'ok\n']);
  await world.postgres.up();
  await starting;
  await until('readyz', 503, /fabric: .*not connected/);
  for (let i = 0; i < 3; i++) await world.nats.up(i);
  await until('readyz', 200, /ready/);
  await converged();
});

test('a node with another cluster key is refused', { skip }, async () => {
  const stranger = world.nodes[0]!.data.replace(/node-/, 'stranger-');
  const result = await buri(
    'server',
    '--data',
    stranger,
    '--store',
    world.store,
    '--fabric',
    world.nats.url,
    '--listen',
    '127.0.0.1:0',
    '--stun',
    'none',
    '--relay',
    'none',
    '--public',
    '127.0.0.1',
  );
  assert.equal(result.code, 1);
  assert.match(result.stderr, /cluster\.key/);
});
