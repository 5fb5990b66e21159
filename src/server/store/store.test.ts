import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { sql } from 'kysely';
import { CommitQueue } from './commit-queue.ts';
import { readSetting, writeSetting } from './settings.ts';
import { WriteAheadLog } from './sqlite.ts';
import { Store } from './store.ts';
import { sqliteTransactions } from './transactions.ts';

function directory() {
  const path = mkdtempSync(join(tmpdir(), 'buri-store-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

test('what was committed is there when the database is opened again', async () => {
  using place = directory();
  const path = join(place.path, 'buri.db');
  {
    await using store = await Store.open(path);
    await writeSetting(store.db, 'a', '1');
    await writeSetting(store.db, 'a', '2');
  }
  await using again = await Store.open(path);
  assert.equal(await readSetting(again.db, 'a'), '2');
  const [mode] = (await sql<{ journal_mode: string }>`pragma journal_mode`.execute(again.db)).rows;
  const [level] = (await sql<{ synchronous: number }>`pragma synchronous`.execute(again.db)).rows;
  const [keys] = (await sql<{ foreign_keys: number }>`pragma foreign_keys`.execute(again.db)).rows;
  assert.deepEqual([mode?.journal_mode, level?.synchronous, keys?.foreign_keys], ['wal', 1, 1]);
});

test('a file that is no database is refused and left as it was', async () => {
  using place = directory();
  const path = join(place.path, 'buri.db');
  const garbage = 'this is no database, '.repeat(500);
  writeFileSync(path, garbage);
  await assert.rejects(Store.open(path), { code: 'data-corrupt' });
  assert.equal(readFileSync(path, 'utf8'), garbage);
});

test('a database of a newer version is refused', async () => {
  using place = directory();
  const path = join(place.path, 'buri.db');
  await (await Store.open(path))[Symbol.asyncDispose]();
  const database = new DatabaseSync(path);
  database.exec("insert into kysely_migration values ('999-later', '2030-01-01')");
  database.close();
  await assert.rejects(Store.open(path), { code: 'data-newer' });
});

test('a place that does not exist is refused', async () => {
  await assert.rejects(Store.open('/nonexistent/dir/buri.db'), { code: 'data-unwritable' });
});

test('work is acknowledged in order, after the commit; what throws undoes only itself', async () => {
  await using store = await Store.open(':memory:');
  const order: string[] = [];
  const write = (key: string, fails = false) =>
    store.commits.run(
      async (tx) => {
        await writeSetting(tx, key, 'x');
        if (fails) throw new Error(`no ${key}`);
        return key;
      },
      (result) => order.push(result),
    );
  const results = await Promise.allSettled([write('a'), write('b', true), write('c'), write('a2')]);
  assert.deepEqual(order, ['a', 'c', 'a2']);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  const rows = await store.db.selectFrom('settings').select('key').orderBy('key').execute();
  assert.deepEqual(
    rows.map(({ key }) => key),
    ['a', 'a2', 'c'],
  );
});

test('many pieces of work share a transaction', async () => {
  await using store = await Store.open(':memory:');
  let begun = 0;
  await sql`create table counted (n integer)`.execute(store.db);
  const versions = new Set<number>();
  await Promise.all(
    Array.from({ length: 300 }, (_, i) =>
      store.commits.run(async (tx) => {
        begun++;
        await sql`insert into counted values (${i})`.execute(tx);
        const { rows } = await sql<{ n: number }>`select count(*) as n from counted`.execute(tx);
        versions.add(rows[0]!.n);
      }),
    ),
  );
  assert.equal(begun, 300);
  assert.equal(versions.size, 300, 'each saw those before it');
});

test('what was submitted is waited for, not what comes after it without end', async () => {
  await using store = await Store.open(':memory:');
  let done = 0;
  let running = true;
  const work = async () => {
    while (running) {
      await store.commits.run(async () => {});
      done++;
    }
  };
  const load = [work(), work(), work()];
  let isLastDone = false;
  const last = store.commits
    .run(async () => {})
    .then(() => {
      isLastDone = true;
    });
  const before = done;
  await store.commits.idle();
  assert.ok(isLastDone);
  assert.ok(done - before < 20, `${done - before} later ones`);
  running = false;
  await Promise.all([...load, last]);
});

test('when the transaction itself fails, everybody in it is told and nothing is kept', async () => {
  await using store = await Store.open(':memory:');
  await sql`create trigger broken before insert on settings when new.key = 'bad'
    begin select raise(rollback, 'gone'); end`.execute(store.db);
  const results = await Promise.allSettled(
    ['good', 'bad', 'late'].map((key) =>
      store.commits.run(async (tx) => await writeSetting(tx, key, 'x')),
    ),
  );
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  );
  assert.equal(await readSetting(store.db, 'good'), undefined);
  await store.commits.run(async (tx) => await writeSetting(tx, 'later', 'x'));
  assert.equal(await readSetting(store.db, 'later'), 'x');
});

test('what must last is synchronised before it is acknowledged, the rest is not waited for', async () => {
  await using store = await Store.open(':memory:');
  const order: string[] = [];
  const log = { synchronise: async () => void order.push('synchronised') } as WriteAheadLog;
  const commits = new CommitQueue(sqliteTransactions(store.db, log));
  const write = (key: string, mustLast: boolean) =>
    commits.run(
      async (tx) => await writeSetting(tx, key, 'x'),
      () => order.push(key),
      () => mustLast,
    );
  await write('a', false);
  await write('b', true);
  assert.deepEqual(order, ['a', 'synchronised', 'b']);
  await assert.rejects(
    commits.run(async () => {
      throw new Error('refused');
    }),
  );
  assert.equal(order.length, 3, 'nothing was written');
});

test('once the disk could not be synchronised nothing is acknowledged any more', async () => {
  using place = directory();
  const log = new WriteAheadLog(join(place.path, 'none.db'));
  await assert.rejects(log.synchronise(), { code: 'ENOENT' });
  writeFileSync(join(place.path, 'none.db-wal'), '');
  await assert.rejects(log.synchronise(), { code: 'ENOENT' });
});
