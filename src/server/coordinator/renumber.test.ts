/** A database that has lost commits, under clients that remember them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mesh } from '#core/mesh/mesh.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { DeviceKeys } from '../../../test/support/control-client.ts';
import { CoordinatorRig, type RigClient } from '../../../test/support/coordinator-rig.ts';
import type { Db } from '../store/schema.ts';
import { renumber } from './renumber.ts';

/** What a client believes of all that it has received. */
function believed(rig: CoordinatorRig, { name, received }: RigClient): Mesh {
  const { identity, tunnel } = new DeviceKeys(name);
  const own = { tunnelKey: tunnel.publicKey, suites: [], extensionVersion: 1 };
  const mesh = new Mesh({
    ...{ crypto, clusterKey: rig.clusterKey },
    own: { identity: Buffer.from(identity).toString('hex'), ...own },
  });
  for (const message of received) {
    if (message.t === 'view') mesh.applyView(message);
    else if (message.t === 'delta')
      assert.deepEqual(mesh.applyDelta(message).resync, [], 'a delta continues what is held');
  }
  return mesh;
}

const tables = ['memberships', 'networks', 'network_changes', 'revocations'] as const;

async function kept(db: Db): Promise<() => Promise<void>> {
  const rows = await Promise.all(tables.map((table) => db.selectFrom(table).selectAll().execute()));
  return async () => {
    for (const table of tables) if (table !== 'networks') await db.deleteFrom(table).execute();
    for (const [i, table] of tables.entries())
      for (const row of rows[i]!)
        if (table !== 'networks')
          await db
            .insertInto(table)
            .values(row as never)
            .execute();
        else
          await db
            .updateTable(table)
            .set(row as never)
            .execute();
  };
}

test('an eviction beats memberships that were issued by a database that is lost', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const putBack = await kept(rig.store.db);
  for (let i = 0; i < 5; i++) {
    await bert.granted({ op: 'leave', network });
    await bert.joined('lan');
  }
  const revision = anna.last('delta').to;
  await putBack();
  await rig.restart();
  await rig.coordinator.operate(rig.now, renumber);
  const back = await rig.login('anna', { login: { known: [{ network, revision }] } });
  assert.equal(back.last('view').network, network);
  const bertAgain = await rig.login('bert');
  anna.received.push(...back.received.splice(0));
  assert.equal(believed(rig, anna).networks.get(network)?.members.size, 2);
  await back.granted({ op: 'evict', network, clientId: bertAgain.clientId });
  anna.received.push(...back.received);
  assert.deepEqual([...believed(rig, anna).networks.get(network)!.members.keys()], [anna.clientId]);
});

test('a server that renumbers while it runs sends the view, and goes on from there', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const before = bert.last('view').revision;
  await rig.coordinator.operate(rig.now, renumber);
  await rig.advance(50);
  for (const client of [anna, bert]) assert.ok(client.last('view').revision > before + 2 ** 20);
  await anna.granted({ op: 'set-nick', nick: 'anna 2' });
  assert.equal(bert.last('delta').from, bert.last('view').revision);
  for (const client of [anna, bert])
    assert.equal(
      believed(rig, client).networks.get(network)?.members.get(anna.clientId)?.nick,
      'anna 2',
    );
});

test('who is numbered anew twice is numbered higher the second time, from an older state too', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  await anna.create('lan');
  const putBack = await kept(rig.store.db);
  const revision = async () =>
    (await rig.store.db.selectFrom('networks').select('revision').executeTakeFirstOrThrow())
      .revision;
  const renumbered = async () => {
    await rig.coordinator.operate(rig.now, renumber);
    return await revision();
  };
  const first = await renumbered();
  await putBack();
  await rig.advance(1_000);
  const second = await renumbered();
  assert.ok(second > first, `${second} > ${first}`);
  assert.ok((await renumbered()) > second);
});
