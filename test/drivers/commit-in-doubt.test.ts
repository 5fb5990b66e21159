/** Commits whose connection breaks before they are answered, on a real PostgreSQL: done once, or known not to be done. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { readSetting, writeSetting } from '#server/store/settings.ts';
import { Store } from '#server/store/store.ts';
import { CommitWay } from '../support/commit-way.ts';
import { PostgresProcess, postgresSkip } from '../support/postgres.ts';

const options = { skip: postgresSkip };
let postgres: PostgresProcess;
before(async () => {
  if (postgresSkip === false) postgres = await PostgresProcess.start();
});
after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

/** A store whose commits can be stopped, and one that sees what came of them. */
async function place() {
  const url = await postgres.database();
  const way = await CommitWay.to(postgres.port);
  const observer = await Store.open(url);
  const store = await Store.open(way.url(url));
  await writeSetting(observer.db, 'count', '0');
  let runs = 0;
  return {
    ...{ way, observer, store },
    /** How often the work was run. */
    runs: () => runs,
    /** Adds one to `count`; resolves when that is acknowledged. */
    add: () =>
      store.commits.run(async (tx) => {
        runs++;
        const count = Number(await readSetting(tx, 'count'));
        await writeSetting(tx, 'count', String(count + 1));
        return await transactionNumber(tx);
      }),
    count: () => readSetting(observer.db, 'count'),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await observer[Symbol.asyncDispose]();
      way[Symbol.dispose]();
    },
  };
}

async function transactionNumber(db: Store['db']): Promise<bigint> {
  const { rows } = await sql<{ id: string }>`select pg_current_xact_id()::text as id`.execute(db);
  return BigInt(rows[0]!.id);
}

test('a commit that was done, but not answered, is not done again', options, async () => {
  await using at = await place();
  const stopped = at.way.stopNext();
  const added = at.add();
  (await stopped).deliver();
  await added;
  assert.deepEqual([await at.count(), at.runs()], ['1', 1]);
});

test('a commit that is still under way is waited for', options, async () => {
  await using at = await place();
  await sql`
    create function dawdle() returns trigger language plpgsql as
      $$ begin perform pg_sleep(0.7); return null; end $$`.execute(at.observer.db);
  await sql`
    create constraint trigger dawdle after update on settings deferrable initially deferred
      for each row execute function dawdle()`.execute(at.observer.db);
  const stopped = at.way.stopNext();
  const added = at.add();
  (await stopped).deliver();
  await sleep(300);
  assert.equal(await at.count(), '0', 'nothing is there yet');
  await added;
  assert.deepEqual([await at.count(), at.runs()], ['1', 1]);
});

test('a commit that arrives when its work is being done again does nothing', options, async () => {
  await using at = await place();
  const stopped = at.way.stopNext();
  const added = at.add();
  const commit = await stopped;
  while (at.runs() < 2) await sleep(5);
  commit.deliver();
  await added;
  assert.deepEqual([await at.count(), at.runs()], ['1', 2]);
});

test(
  "a transaction that was lost in a crash is done again, though another's has its number now",
  options,
  async () => {
    await using at = await place();
    // Nobody but a commit writes the log to the disk.
    await sql`alter system set wal_writer_delay = '10s'`.execute(at.observer.db);
    await sql`select pg_reload_conf()`.execute(at.observer.db);
    let lost = 0n;
    const stopped = at.way.stopNext();
    const added = at.store.commits.run(async (tx) => {
      lost ||= await transactionNumber(tx);
      await writeSetting(tx, 'lost', 'x');
    });
    await stopped;
    at.way.shut(true);
    await postgres.stop('SIGQUIT');
    await postgres.up();
    await using other = await Store.open(await postgres.database());
    while ((await transactionNumber(other.db)) < lost);
    const { rows } = await sql`select pg_xact_status(${lost.toString()}::xid8) as status`.execute(
      other.db,
    );
    assert.deepEqual(rows, [{ status: 'committed' }], 'as if it were ours');
    at.way.shut(false);
    await added;
    assert.equal(await readSetting(at.observer.db, 'lost'), 'x');
  },
);

test('marks are forgotten after a while; what writes nothing leaves none', options, async () => {
  await using at = await place();
  const { db } = at.observer;
  const marks = () => db.selectFrom('commit_marks').selectAll().execute();
  await db.insertInto('commit_marks').values({ mark: 'old', marked_at: 1 }).execute();
  await at.store.commits.run((tx) => readSetting(tx, 'count'));
  while ((await marks()).length > 0) await sleep(5);
  await at.add();
  await at.add();
  assert.equal((await marks()).length, 2);
});
