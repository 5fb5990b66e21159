/** Networks between the nodes of a cluster, and between a node and PostgreSQL, that fail without a word. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Store } from '#server/store/store.ts';
import { Random } from '../../sim/random.ts';
import { runHistory } from '../support/cluster-history.ts';
import { ClusterWorld } from '../support/cluster-world.ts';
import { natsSkip } from '../support/nats.ts';
import { postgresSkip } from '../support/postgres.ts';
import { toldOffline } from '../support/view-model.ts';

const skip = postgresSkip !== false ? postgresSkip : natsSkip;
const clientCount = 9;
const networkCount = 3;

let world: ClusterWorld;
let store: Store;
let networks: ReadonlyMap<string, string>;
before(async () => {
  if (skip !== false) return;
  world = await ClusterWorld.start(3, { isApart: true });
  store = await Store.open(world.store);
  networks = await world.populate(clientCount, networkCount);
  for (const client of world.clients)
    for (const [name, id] of networks)
      assert.match(await client.join(name), new RegExp(`${id}|already-member`), client.name);
});
after(async () => {
  await store?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** One rename by a client of each node; each must be acknowledged. */
async function rename(nick: string): Promise<void> {
  for (let node = 0; node < 3; node++) {
    const [client] = world.on(node);
    assert.equal(await client?.request({ op: 'set-nick', nick }), 'ok', `node ${node}`);
  }
}

const nobodyOffline = () => {
  for (const { model, name } of world.clients) assert.deepEqual(toldOffline(model), [], name);
};

test('nodes that cannot hear each other: all is written, all views are right while it lasts, nobody is offline', {
  skip,
}, async () => {
  await world.converged(store, 20_000);
  world.nats.cutOff(0);
  await rename('while cut off');
  await world.converged(store, 30_000);
  // Long enough that nodes are doubted, and vouched for by their beats.
  await sleep(8_000);
  await rename('still cut off');
  await world.converged(store, 10_000);
  world.nats.mend(0);
  await rename('whole again');
  await world.converged(store, 20_000);
  nobodyOffline();
});

test('a node without its database keeps its clients, says that nothing was written, and the others go on', {
  skip,
}, async () => {
  const cut = world.on(0);
  const before = cut.map(({ outages }) => outages.length);
  world.cutStore(0);
  const asked = cut[0]!.request({ op: 'set-nick', nick: 'lost' });
  for (const node of [1, 2]) {
    const [client] = world.on(node);
    assert.equal(await client?.request({ op: 'set-nick', nick: 'elsewhere' }), 'ok');
  }
  assert.match(await asked, /^(server-storage|unknown)$/);
  world.mendStore(0);
  await world.converged(store, 60_000);
  assert.deepEqual(
    cut.map(({ outages }) => outages.length),
    before,
    'no connection was lost',
  );
  nobodyOffline();
});

test('random operations on all nodes with random faults and partitions: nothing acknowledged is lost or doubled', {
  skip,
}, async () => {
  const seed = Date.now();
  console.log(`seed ${seed}`);
  for (const { model } of world.clients) model.presences.length = 0;
  const random = new Random(seed);
  await runHistory({ world, store, networks, random, seconds: 8, say: console.log });
});
