/** Backups, restores and moves between databases: nothing is lost, and nothing is overwritten. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Kysely, Migrator, sql } from 'kysely';
import { backup, migrate, restore } from '#server/admin/backup.ts';
import { sumsOf } from '#server/store/copy.ts';
import { migrations } from '#server/store/migrations.ts';
import type { Schema } from '#server/store/schema.ts';
import { sqliteDialect } from '#server/store/sqlite.ts';
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

/** A directory as a server of the version with this step of the schema has left it. */
async function leftBy(data: string, step: string): Promise<Kysely<Schema>> {
  mkdirSync(data);
  writeFileSync(join(data, 'cluster.key'), `${'A'.repeat(43)}\n`);
  const db = new Kysely<Schema>({ dialect: sqliteDialect(join(data, 'buri.db')) });
  const provider = migrations({ bytes: 'blob' });
  const { error } = await new Migrator({ db, provider }).migrateTo(step);
  assert.equal(error, undefined);
  return db;
}

test('a database of another version is neither copied nor brought up to date', async () => {
  const place = temporaryDirectory('backup');
  const data = join(place, 'data');
  try {
    const db = await leftBy(data, '002-relays');
    const steps = async () =>
      (await sql<{ name: string }>`select name from kysely_migration`.execute(db)).rows.length;
    const [file, from] = [join(place, 'backup'), `sqlite:${join(data, 'buri.db')}`];
    const older = { code: 'data-older' };
    await assert.rejects(backup(data, undefined, file), older);
    await assert.rejects(migrate(from, `sqlite:${join(place, 'other.db')}`), older);
    assert.equal(await steps(), 2);
    assert.ok(!existsSync(file));
    await sql`insert into kysely_migration values ('999-later', '2030-01-01')`.execute(db);
    await assert.rejects(backup(data, undefined, file), { code: 'data-newer' });
    await db.destroy();
    const nothing = `sqlite:${join(place, 'nothing.db')}`;
    await assert.rejects(backup(data, nothing, file));
    assert.ok(!existsSync(join(place, 'nothing.db')));
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});

test('a backup is restored from where nothing can be written, and by a newer version than made it', async () => {
  const place = temporaryDirectory('backup');
  const [data, restored] = [join(place, 'data'), join(place, 'restored')];
  try {
    const db = await leftBy(data, '002-relays');
    await sql`create table backup_keys (name text primary key, key text not null)`.execute(db);
    await sql`insert into backup_keys values ('cluster.key', ${'A'.repeat(43)})`.execute(db);
    await sql`pragma wal_checkpoint(truncate)`.execute(db);
    await db.destroy();
    const file = join(data, 'buri.db');
    const bytes = readFileSync(file);
    chmodSync(file, 0o444);
    chmodSync(data, 0o555);
    const [before, files] = [statSync(file), readdirSync(data)];
    await restore(file, restored, undefined);
    assert.deepEqual(readFileSync(file), bytes);
    const after = statSync(file);
    assert.deepEqual([after.mode, after.ctimeMs], [before.mode, before.ctimeMs]);
    assert.deepEqual(readdirSync(data), files);
    assert.deepEqual(readdirSync(restored).sort(), ['buri.db', 'cluster.key', 'lock']);
    assert.equal(statSync(join(restored, 'buri.db')).mode & 0o777, 0o600);
  } finally {
    chmodSync(data, 0o755);
    rmSync(place, { recursive: true, force: true });
  }
});
