/** Backups, restores and moves between databases: nothing is lost, and nothing is overwritten. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sumsOf } from '#server/store/copy.ts';
import { Store } from '#server/store/store.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { PostgresProcess, postgresSkip } from '../support/postgres.ts';
import { buri, ServerProcess, temporaryDirectory } from '../support/server-process.ts';

async function sums(location: string) {
  await using store = await Store.open(location);
  return await sumsOf(store);
}

test('backup beside a running server, restore elsewhere, migrate to PostgreSQL and back', {
  skip: postgresSkip,
}, async () => {
  const place = temporaryDirectory('backup');
  const data = join(place, 'data');
  await using postgres = await PostgresProcess.start();
  try {
    await using server = await ServerProcess.start({ data, args: ['--enrol', 'open'] });
    const anna = await ControlClient.login({ url: server.url, keys: new DeviceKeys('anna') });
    const network = await anna.create('lan', 'pw');
    for (let i = 0; i < 250; i++) await anna.granted({ op: 'set-nick', nick: `anna ${i}` });
    const file = join(place, 'backup');
    const made = await buri('server', 'backup', file, '--data', data, '--json');
    assert.equal(made.code, 0, made.stderr);
    const { tables } = JSON.parse(made.stdout) as { tables: { table: string; rows: number }[] };
    assert.equal(tables.find(({ table }) => table === 'networks')?.rows, 1);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.ok(!existsSync(`${file}-wal`));
    const again = await buri('server', 'backup', file, '--data', data);
    assert.match(again.stderr, /exists already/);
    const url = await postgres.database();
    const from = `sqlite:${join(data, 'buri.db')}`;
    const migrate = () => buri('server', 'migrate', '--from', from, '--to', url);
    const running = await migrate();
    assert.match(running.stderr, /another server is using/);
    await server.stop();

    const moved = await migrate();
    assert.equal(moved.code, 0, moved.stderr);
    assert.deepEqual(await sums(url), await sums(join(data, 'buri.db')));
    const twice = await migrate();
    assert.match(twice.stderr, /holds the data of a server already/);
    {
      await using onPostgres = await ServerProcess.start({
        data,
        args: ['--store', url, '--enrol', 'closed'],
      });
      const back = await ControlClient.login({ url: onPostgres.url, keys: new DeviceKeys('anna') });
      assert.equal(back.clientId, anna.clientId);
      const done = await back.next((message) => message.t === 'synchronised');
      assert.deepEqual(done.t === 'synchronised' && done.networks, [network]);
      back.terminate();
    }
    const restored = join(place, 'restored');
    const result = await buri('server', 'restore', file, '--data', restored);
    assert.equal(result.code, 0, result.stderr);
    for (const key of ['cluster.key', 'node.key'])
      assert.equal(
        readFileSync(join(restored, key), 'utf8'),
        readFileSync(join(data, key), 'utf8'),
      );
    const refused = await buri('server', 'restore', file, '--data', restored);
    assert.match(refused.stderr, /keys of a server already/);
    const other = join(place, 'garbage');
    writeFileSync(other, 'no backup, '.repeat(1_000));
    const garbage = await buri('server', 'restore', other, '--data', join(place, 'nowhere'));
    assert.equal(garbage.code, 1);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});
