/** Several nodes over one database, joined by a fabric that can be trusted with nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClusterRig } from '../../../../test/support/cluster-rig.ts';
import type { RigClient } from '../../../../test/support/coordinator-rig.ts';
import { ViewModel } from '../../../../test/support/view-model.ts';
import { removeClient } from '../../admin/actions.ts';
import { closeReplaced } from '../hub.ts';
import { compareIntervalMs, handoverMs, nodeBeatMs } from '../limits.ts';

const presences = (client: RigClient) =>
  client.received.flatMap((message) => {
    if (message.t === 'presence') return [`${message.clientId} ${message.presence}`];
    if (message.t !== 'presences') return [];
    const { online, unconfirmed } = message;
    return [...online.map((id) => `${id} online`), ...unconfirmed.map((id) => `${id} unconfirmed`)];
  });

/** A network `lan`: anna at node 1 owns it, bert at node 2 is a member. */
async function pair(count = 2) {
  const cluster = await ClusterRig.open(count);
  const anna = await cluster.login(0, 'anna');
  const network = await anna.create('lan');
  const bert = await cluster.login(1, 'bert');
  await bert.joined('lan');
  await cluster.advance(50);
  return {
    cluster,
    anna,
    bert,
    network,
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  };
}

test('what is done at one node reaches the members at the others at once', async () => {
  await using world = await pair();
  const { cluster, anna, bert, network } = world;
  const [change] = anna.last('delta').changes;
  assert.ok(change?.op === 'member');
  assert.deepEqual([change.member.clientId, change.member.presence], [bert.clientId, 'online']);
  const members = bert.last('view').members.map(({ clientId, presence }) => [clientId, presence]);
  const both = [anna, bert].map(({ clientId }) => [clientId, 'online']);
  assert.deepEqual(members.sort(), both.sort());
  await anna.granted({ op: 'set-access', network, locked: true });
  await cluster.advance(50);
  assert.equal(bert.last('delta').to, anna.last('delta').to);
  await anna.granted({ op: 'evict', network, clientId: bert.clientId });
  await cluster.advance(50);
  assert.deepEqual(bert.last('removed'), { t: 'removed', network, reason: 'evicted' });
});

test('approval at another node: the one who waits gets the view', async () => {
  await using cluster = await ClusterRig.open(2);
  const anna = await cluster.login(0, 'anna');
  const network = await anna.create('lan');
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  const bert = await cluster.login(1, 'bert');
  await bert.joined('lan');
  await cluster.advance(50);
  const [waiting] = anna.last('delta').changes;
  assert.ok(waiting?.op === 'pending');
  assert.deepEqual(waiting.pending, [{ clientId: bert.clientId, nick: 'bert' }]);
  await anna.granted({ op: 'approve', network, clientId: bert.clientId });
  await cluster.advance(50);
  const view = bert.last('view');
  assert.deepEqual([view.state, view.members.length], ['member', 2]);
  await anna.granted({ op: 'delete', network });
  await cluster.advance(50);
  assert.equal(bert.last('removed').reason, 'deleted');
  assert.ok(bert.last('removed').deletion !== undefined);
});

test('presence: lost, back at another node, gone', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  anna.clear();
  await bert.lose();
  await cluster.advance(50);
  assert.deepEqual(presences(anna), [`${bert.clientId} unconfirmed`]);
  const again = await cluster.login(2, 'bert');
  assert.deepEqual(presences(anna), [`${bert.clientId} unconfirmed`, `${bert.clientId} online`]);
  await again.send({ t: 'logout' });
  await cluster.advance(50);
  assert.deepEqual(presences(anna).at(-1), `${bert.clientId} offline`);
});

test('a client that goes to another node without a goodbye is never seen otherwise than online', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  anna.clear();
  await cluster.login(2, 'bert');
  assert.equal(bert.closedWith, closeReplaced, 'the old connection ends');
  await cluster.rig(1).coordinator.lost(bert.session, false, cluster.rig(1).now);
  await cluster.advance(70_000);
  assert.deepEqual(presences(anna), []);
  assert.equal(cluster.rig(1).coordinator.presenceOf(bert.clientId), 'online');
});

test('a node is killed: its clients are unconfirmed, offline after the grace period, unless they are back', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  const carl = await cluster.login(1, 'carl');
  await carl.joined('lan');
  await cluster.advance(50);
  anna.clear();
  cluster.kill(1);
  await cluster.advance(5_000);
  assert.deepEqual(
    presences(anna).sort(),
    [`${bert.clientId} unconfirmed`, `${carl.clientId} unconfirmed`].sort(),
  );
  await cluster.login(2, 'bert');
  await cluster.advance(90_000);
  const last = (id: string) => presences(anna).findLast((text) => text.startsWith(id));
  assert.equal(last(bert.clientId), `${bert.clientId} online`);
  assert.deepEqual(
    presences(anna).filter((text) => text.startsWith(carl.clientId)),
    [`${carl.clientId} unconfirmed`, `${carl.clientId} offline`],
    'the last beat of a dead node does not vouch for it',
  );
  assert.ok(!presences(anna).includes(`${bert.clientId} offline`), 'never wrongly offline');
  const rows = await cluster.store.db.selectFrom('clients').select(['nick', 'connected']).execute();
  assert.deepEqual(Object.fromEntries(rows.map(({ nick, connected }) => [nick, connected])), {
    anna: 1,
    bert: 1,
    carl: 0,
  });
});

test('a node that is killed and started again has its clients back within the grace period', async () => {
  await using world = await pair();
  const { cluster, anna, bert } = world;
  anna.clear();
  cluster.kill(1);
  await cluster.advance(2_000);
  await cluster.revive(1);
  await cluster.advance(1_000);
  await cluster.login(1, 'bert');
  await cluster.advance(90_000);
  assert.equal(cluster.rig(0).coordinator.presenceOf(bert.clientId), 'online');
  assert.ok(!presences(anna).includes(`${bert.clientId} offline`));
  assert.notEqual(presences(anna).at(-1), `${bert.clientId} unconfirmed`);
});

test('a node that ends in order hands its clients over: nobody is told anything', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  anna.clear();
  await cluster.end(1);
  await cluster.advance(4_000);
  await cluster.login(2, 'bert');
  await cluster.advance(90_000);
  assert.deepEqual(presences(anna), []);
  assert.equal(cluster.rig(0).coordinator.presenceOf(bert.clientId), 'online');
});

test('a node that ends in order and is back at once: its clients are not doubted later', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  await cluster.end(1);
  await cluster.advance(1_000);
  await cluster.revive(1);
  await cluster.login(1, 'bert');
  await cluster.advance(1_000);
  anna.clear();
  await cluster.advance(handoverMs);
  assert.deepEqual(presences(anna), []);
  assert.equal(cluster.rig(0).coordinator.presenceOf(bert.clientId), 'online');
});

test('a node that ends in order and is back before its clients are at another: nobody is told until they had their time', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  await cluster.end(1);
  await cluster.advance(1_000);
  await cluster.revive(1);
  anna.clear();
  await cluster.advance(4_000);
  const carl = await cluster.login(1, 'carl');
  await carl.joined('lan');
  const seen = carl.last('view').members.find(({ clientId }) => clientId === bert.clientId);
  assert.equal(seen?.presence, 'online');
  assert.deepEqual(
    presences(anna).filter((text) => text.startsWith(bert.clientId)),
    [],
  );
  await cluster.advance(handoverMs);
  assert.equal(presences(anna).at(-1), `${bert.clientId} unconfirmed`);
  assert.equal(presences(carl).at(-1), `${bert.clientId} unconfirmed`);
  await cluster.advance(90_000);
  assert.equal(presences(anna).at(-1), `${bert.clientId} offline`);
});

test('a node that ended in order long ago: whom it had then is not online when it starts', async () => {
  await using world = await pair(2);
  const { cluster, anna, bert } = world;
  const endedAt = cluster.nowMs;
  await cluster.end(1);
  cluster.kill(0);
  await cluster.advance(endedAt + handoverMs - cluster.nowMs);
  await cluster.revive(1);
  await cluster.login(1, 'anna');
  assert.equal(cluster.rig(1).coordinator.presenceOf(anna.clientId), 'online');
  assert.equal(cluster.rig(1).coordinator.presenceOf(bert.clientId), 'unconfirmed');
});

test('a node that fails twice: the second time its clients have the whole grace period', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  cluster.kill(1);
  await cluster.advance(10_000);
  await cluster.revive(1);
  await cluster.login(1, 'bert');
  await cluster.advance(40_000);
  await cluster.end(1);
  anna.clear();
  await cluster.advance(40_000);
  assert.deepEqual(presences(anna), [`${bert.clientId} unconfirmed`]);
});

test('members who joined while nobody here took part are online to the first who comes', async () => {
  await using world = await pair(3);
  const { cluster, anna, bert } = world;
  const carl = await cluster.login(2, 'carl');
  await carl.joined('lan');
  await carl.lose(true);
  const dora = await cluster.login(1, 'dora');
  await cluster.advance(50);
  await dora.joined('lan');
  await cluster.advance(50);
  const again = await cluster.login(2, 'carl', { login: { known: [] } });
  const known = anna.last('delta').to;
  assert.equal(again.last('view').revision, known);
  const others = again.last('view').members.filter(({ clientId }) => clientId !== again.clientId);
  assert.deepEqual(
    others.map(({ clientId, presence }) => [clientId, presence]).sort(),
    [anna, bert, dora].map(({ clientId }) => [clientId, 'online']).sort(),
  );
});

test('without a fabric whoever joins or logs in is told at once who is online', async () => {
  await using cluster = await ClusterRig.open(2);
  for (const node of [0, 1]) {
    cluster.cut.add(node);
    cluster.rig(node).coordinator.fabric(false, cluster.rig(node).now);
  }
  const anna = await cluster.rig(0).login('anna');
  await anna.create('lan');
  const bert = await cluster.rig(1).login('bert');
  await bert.joined('lan');
  assert.deepEqual(
    bert.last('view').members.map(({ presence }) => presence),
    ['online', 'online'],
  );
  await cluster.advance(2_500);
  const [change] = anna.last('delta').changes;
  assert.ok(change?.op === 'member');
  assert.equal(change.member.presence, 'online');
  assert.ok(![...presences(anna), ...presences(bert)].some((text) => text.endsWith('offline')));
});

test('without a fabric everything still arrives, by the database, and nobody is called offline', async () => {
  await using world = await pair();
  const { cluster, anna, bert, network } = world;
  anna.clear();
  bert.clear();
  for (const node of [0, 1]) {
    cluster.cut.add(node);
    cluster.rig(node).coordinator.fabric(false, cluster.rig(node).now);
  }
  await anna.granted({ op: 'set-access', network, locked: true });
  await cluster.advance(2_500);
  assert.equal(bert.last('delta').to, anna.last('delta').to);
  await cluster.advance(100_000);
  assert.deepEqual([...presences(anna), ...presences(bert)], []);
  await bert.send({ t: 'logout' });
  await cluster.advance(2_500);
  assert.deepEqual(presences(anna), [`${bert.clientId} offline`]);
  for (const node of [0, 1]) {
    cluster.cut.delete(node);
    cluster.rig(node).coordinator.fabric(true, cluster.rig(node).now);
  }
  await cluster.login(1, 'bert');
  assert.deepEqual(presences(anna).at(-1), `${bert.clientId} online`);
});

test('one node is cut off from the fabric: its clients are doubted until its beats vouch for it, and news go by the database', async () => {
  await using world = await pair();
  const { cluster, anna, bert, network } = world;
  anna.clear();
  cluster.cut.add(1);
  await cluster.advance(5_000);
  assert.deepEqual(presences(anna), [`${bert.clientId} unconfirmed`]);
  await cluster.advance(6_000);
  const vouched = [`${bert.clientId} unconfirmed`, `${bert.clientId} online`];
  assert.deepEqual(presences(anna), vouched);
  await bert.granted({ op: 'set-nick', nick: 'berta' });
  await anna.granted({ op: 'set-access', network, locked: true });
  await cluster.advance(1_500);
  const [change] = anna.last('delta').changes;
  assert.ok(change?.op === 'facts');
  assert.equal(bert.last('delta').to, anna.last('delta').to);
  await bert.send({ t: 'signal', to: anna.clientId, sealed: new Uint8Array(1), punch: false });
  assert.equal(bert.last('undelivered').to, anna.clientId, 'a signal has no other way');
  await cluster.advance(100_000);
  assert.deepEqual(presences(anna), vouched, 'and nobody is doubted again');
  cluster.cut.delete(1);
  await cluster.advance(3_000);
  assert.deepEqual(presences(anna), vouched);
});

test('a fabric that comes back torn makes nobody doubt who beats on', async () => {
  await using world = await pair();
  const { cluster, anna, bert } = world;
  anna.clear();
  for (const { rig } of cluster.nodes) rig.coordinator.fabric(false, rig.now);
  cluster.cut.add(1);
  await cluster.advance(5_000);
  for (const { rig } of cluster.nodes) rig.coordinator.fabric(true, rig.now);
  await cluster.advance(20_000);
  assert.deepEqual(presences(anna), []);
  cluster.kill(1);
  await cluster.advance(12_000);
  assert.deepEqual(presences(anna), [`${bert.clientId} unconfirmed`]);
});

test('a comparison reads who has changed, and everybody now and then', async () => {
  await using world = await pair();
  const { cluster, bert } = world;
  const { db } = cluster.store;
  const presence = () => cluster.rig(0).coordinator.presenceOf(bert.clientId);
  await cluster.advance(300_000);
  // Of a change whose time is wrong nothing is told, and the time says that it was long ago.
  await db
    .updateTable('clients')
    .set({ connected: 0, login_serial: 9, last_seen_at: 0 })
    .where('client_id', '=', bert.clientId)
    .execute();
  await cluster.advance(60_000);
  assert.equal(presence(), 'online', 'it was not read');
  await cluster.advance(600_000);
  assert.equal(presence(), 'offline', 'until everybody was');
});

test('without a fabric a node that is killed is missed as well', async () => {
  await using world = await pair();
  const { cluster, anna, bert } = world;
  anna.clear();
  for (const { rig } of cluster.nodes) rig.coordinator.fabric(false, rig.now);
  cluster.cut.add(0).add(1);
  await cluster.advance(20_000);
  assert.deepEqual(presences(anna), []);
  cluster.kill(1);
  await cluster.advance(90_000);
  assert.deepEqual(presences(anna), [`${bert.clientId} unconfirmed`, `${bert.clientId} offline`]);
});

test('a copied identity is found out at two nodes as well as at one', async () => {
  await using cluster = await ClusterRig.open(2);
  const first = await cluster.login(0, 'anna');
  const copy = { login: { instance: new Uint8Array(16).fill(9) } };
  const second = await cluster.login(1, 'anna', copy);
  assert.equal(second.refusal, 'identity-in-use');
  assert.equal(first.last('notice').code, 'identity-in-use');
  first.pongs = false;
  const third = await cluster.login(1, 'anna', copy);
  await cluster.advance(3_500);
  assert.equal(third.clientId, first.clientId, 'the one that does not answer is replaced');
  assert.equal(first.closedWith, closeReplaced);
});

test('signals and timed opens go between clients of two nodes; to others they are undelivered', async () => {
  await using world = await pair();
  const { cluster, anna, bert } = world;
  const sealed = new Uint8Array([1, 2, 3]);
  await anna.send({ t: 'signal', to: bert.clientId, sealed, punch: true });
  await cluster.advance(50);
  const signal = bert.last('signal');
  assert.deepEqual([signal.from, [...signal.sealed]], [anna.clientId, [1, 2, 3]]);
  assert.equal(anna.last('punch').peer, bert.clientId);
  assert.notEqual(signal.punchInMs, undefined);
  const carl = await cluster.login(1, 'carl');
  await anna.send({ t: 'signal', to: carl.clientId, sealed, punch: false });
  assert.equal(anna.last('undelivered').to, carl.clientId, 'no common network');
  cluster.kill(1);
  await cluster.advance(5_000);
  anna.clear();
  await anna.send({ t: 'signal', to: bert.clientId, sealed, punch: false });
  assert.equal(anna.last('undelivered').to, bert.clientId);
});

test('an operator removes a device at whichever node', async () => {
  await using world = await pair();
  const { cluster, anna, bert } = world;
  await cluster
    .rig(0)
    .coordinator.operate(cluster.rig(0).now, (tx, context) =>
      removeClient(tx, context, bert.clientId),
    );
  await cluster.advance(50);
  assert.equal(bert.refusal, 'client-removed');
  const [gone] = anna.last('delta').changes;
  assert.equal(gone?.op, 'gone');
});

test('relays of every node are told to the clients of all; what is revoked is revoked everywhere', async () => {
  await using cluster = await ClusterRig.open(2);
  const anna = await cluster.login(0, 'anna', { relays: true });
  const relay = await cluster
    .rig(1)
    .relay('r', { token: await cluster.rig(1).token(1, null, 'relay') });
  await cluster.advance(1_000);
  const [entry] = anna.last('relays').relays;
  assert.equal(entry?.id, relay.last('relay-state').id);
  await cluster
    .rig(0)
    .coordinator.operate(cluster.rig(0).now, (tx, context) =>
      removeClient(tx, context, anna.clientId),
    );
  await cluster.advance(50);
  assert.equal(relay.last('relay-revoke').revoked[0]?.clientId, anna.clientId);
  const bert = await cluster.login(0, 'bert', { relays: true });
  assert.equal(bert.last('relays').relays.length, 1);
  await relay.send({ t: 'logout' });
  await cluster.advance(1_000);
  assert.equal(bert.last('relays').relays.length, 0);
});

/** Mulberry32: the same seed, the same run. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

test('a commit that was done though nobody could tell is told a few seconds later', async () => {
  await using world = await pair();
  const { cluster, anna, bert, network } = world;
  const { commits } = cluster.store;
  const run = commits.run.bind(commits);
  commits.run = async (work) => {
    commits.run = run;
    await run(work);
    throw new Error('the answer was lost');
  };
  const result = await anna.request({ op: 'set-access', network, locked: true });
  assert.equal(result.ok ? 'ok' : result.error.code, 'server-storage');
  await cluster.advance(nodeBeatMs + 100);
  for (const client of [anna, bert]) {
    const facts = client.last('delta').changes.find(({ op }) => op === 'facts');
    assert.ok(facts?.op === 'facts' && facts.facts.locked, client.name);
  }
});

test('parcels lost, doubled and reordered: all views converge to the database', async () => {
  const { assertView } = await import('../../../../test/support/view-model.ts');
  for (const seed of [1, 2, 3, 4]) {
    const random = randomOf(seed);
    await using cluster = await ClusterRig.open(3, {}, random);
    cluster.faults = { drop: 0.2, double: 0.2, reorder: 0.4 };
    const names = ['anna', 'bert', 'carl', 'dora', 'emil', 'finn'];
    const clients = new Map<string, RigClient>();
    const models = new Map<string, { model: ViewModel; read: number }>();
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const enter = async (name: string) => {
      const client = await cluster.login(Math.floor(random() * 3), name);
      clients.set(name, client);
      models.set(name, { model: new ViewModel(), read: 0 });
    };
    const listen = async () => {
      for (const [name, client] of clients) {
        const entry = models.get(name)!;
        for (; entry.read < client.received.length; entry.read++) {
          const stale = entry.model.apply(client.received[entry.read]!);
          if (stale !== undefined && client.closedWith === undefined)
            await client.send({ t: 'resync', network: stale });
        }
      }
    };
    for (const name of names) await enter(name);
    const networks: string[] = [];
    for (let i = 0; i < 120; i++) {
      const name = pick(names);
      const client = clients.get(name)!;
      const network = networks.length === 0 ? '100-000-000' : pick(networks);
      const other = clients.get(pick(names))!.clientId;
      const dice = random();
      if (client.closedWith !== undefined || dice < 0.1) await enter(name);
      else if (networks.length < 3) networks.push(await client.create(`net ${networks.length}`));
      else if (dice < 0.45) await client.join(`net ${networks.indexOf(network)}`);
      else if (dice < 0.55) await client.request({ op: 'leave', network });
      else if (dice < 0.65) await client.request({ op: 'evict', network, clientId: other });
      else if (dice < 0.7) await client.request({ op: 'transfer', network, clientId: other });
      else if (dice < 0.8) await client.request({ op: 'set-nick', nick: `${name} ${i}` });
      else if (dice < 0.9) await client.request({ op: pick(['go-online', 'go-offline']), network });
      else await client.lose();
      await cluster.advance(Math.floor(random() * 60));
      await listen();
    }
    cluster.faults = { drop: 0, double: 0, reorder: 0 };
    for (let i = 0; i < 3; i++) {
      await cluster.advance(40_000);
      await listen();
    }
    const online = new Set<string>();
    for (const client of clients.values())
      if (client.closedWith === undefined) online.add(client.clientId);
    for (const [name, client] of clients)
      if (client.closedWith === undefined)
        try {
          await assertView(cluster.store.db, client.clientId, models.get(name)!.model, online);
        } catch (error) {
          throw new Error(`seed ${seed}, ${name}: ${(error as Error).message}`, { cause: error });
        }
    for (const { rig } of cluster.nodes) assert.deepEqual(rig.failures, [], `seed ${seed}`);
  }
});

test('a database that has lost commits, as a standby may that takes over: the views are those of the database again', async () => {
  await using world = await pair();
  const { cluster, anna, bert, network } = world;
  const { db } = cluster.store;
  const { revision } = await db.selectFrom('networks').select('revision').executeTakeFirstOrThrow();
  for (const nick of ['lost', 'lost too']) await anna.granted({ op: 'set-nick', nick });
  await cluster.advance(50);
  await db.updateTable('networks').set({ revision }).execute();
  await db.deleteFrom('network_changes').where('revision', '>', revision).execute();
  await db.updateTable('clients').set({ nick: 'x' }).where('nick', '=', 'lost too').execute();
  await bert.granted({ op: 'set-nick', nick: 'bert 2' });
  await cluster.advance(compareIntervalMs + 1_000);
  for (const client of [anna, bert]) {
    const { members, revision: seen } = client.last('view');
    assert.deepEqual(members.map(({ nick }) => nick).sort(), ['bert 2', 'x']);
    assert.equal(seen, revision + 1);
    client.clear();
  }
  await anna.granted({ op: 'set-nick', nick: 'anna 2' });
  await cluster.advance(50);
  for (const client of [anna, bert]) assert.equal(client.last('delta').to, revision + 2);
  assert.equal(bert.last('delta').network, network);
});

test('a login counts as the latest though the database has lost the one before', async () => {
  await using world = await pair();
  const { cluster, anna, bert } = world;
  const serial = () =>
    cluster.store.db
      .selectFrom('clients')
      .select('login_serial')
      .where('client_id', '=', bert.clientId)
      .executeTakeFirstOrThrow();
  const before = await serial();
  const forgotten = await cluster.login(1, 'bert');
  await cluster.store.db
    .updateTable('clients')
    .set(before)
    .where('client_id', '=', bert.clientId)
    .execute();
  await cluster.login(0, 'bert');
  assert.equal(cluster.rig(1).coordinator.presenceOf(bert.clientId), 'online');
  assert.equal(anna.last('presence').presence, 'online');
  await forgotten.lose();
  await cluster.advance(100_000);
  assert.equal(cluster.rig(0).coordinator.presenceOf(bert.clientId), 'online');
  assert.equal(cluster.rig(1).coordinator.presenceOf(bert.clientId), 'online');
});
