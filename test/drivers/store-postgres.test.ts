/** The store on a real PostgreSQL: several writers at once, restarts in the middle, fail-over. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sql } from 'kysely';
import { nextRevision } from '#server/coordinator/revisions.ts';
import { readSetting, writeSetting } from '#server/store/settings.ts';
import { openPatiently, Store } from '#server/store/store.ts';
import { Cable } from '../support/cable.ts';
import { freePort, PostgresProcess, postgresSkip } from '../support/postgres.ts';

const options = { skip: postgresSkip };
let postgres: PostgresProcess;
before(async () => {
  if (postgresSkip === false) postgres = await PostgresProcess.start();
});
after(async () => {
  await postgres?.[Symbol.asyncDispose]();
});

async function withNetwork(url: string): Promise<Store> {
  const store = await Store.open(url);
  const bytes = new Uint8Array(1);
  await store.db
    .insertInto('clients')
    .values({
      ...{ client_id: '100-000-001', identity: bytes, address4: 1, nick: 'a', certificate: bytes },
      ...{ certificate_serial: 1, software: '', protocol_version: 1, connected: 0, plan: null },
      ...{ created_at: 0, last_seen_at: 0, node: null, login_serial: 0, instance: '' },
    })
    .execute();
  await store.db
    .insertInto('networks')
    .values({
      ...{ network_id: 'n', name: 'n', name_key: 'n', type: 'mesh', owner: '100-000-001' },
      ...{ revision: 0, epoch: 0, salt: bytes, argon2_memory_kib: 1, argon2_passes: 1 },
      ...{ argon2_parallelism: 1, verifier_salt: bytes, verifier_hash: bytes },
      ...{ wrapped_secret: bytes, has_password: 0, locked: 0, approval: 'auto', plan: null },
      created_at: 0,
    })
    .execute();
  return store;
}

test('nodes that write at once lose no revision, and give none twice', options, async () => {
  const url = await postgres.database();
  await using first = await withNetwork(url);
  await using second = await Store.open(url);
  await using third = await Store.open(url);
  const seen: number[] = [];
  await Promise.all(
    Array.from({ length: 240 }, (_, i) =>
      [first, second, third][i % 3]!.commits.run(
        async (tx) => {
          const read = Number((await readSetting(tx, 'counter')) ?? 0);
          await writeSetting(tx, 'counter', String(read + 1));
          return await nextRevision(tx, 'n');
        },
        (revision) => seen.push(revision),
      ),
    ),
  );
  const all = Array.from({ length: 240 }, (_, i) => i + 1);
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    all,
  );
  assert.equal(await readSetting(first.db, 'counter'), '240', 'what was read was not old');
});

test(
  'a piece that is refused undoes itself only; two that take the same name are two answers',
  options,
  async () => {
    const url = await postgres.database();
    await using first = await Store.open(url);
    await using second = await Store.open(url);
    const take = (store: Store, mine: string) =>
      store.commits.run(async (tx) => {
        const held = await readSetting(tx, 'name');
        if (held !== undefined) throw new Error('taken');
        await tx.insertInto('settings').values({ key: 'name', value: mine }).execute();
        return mine;
      });
    const kept = first.commits.run((tx) => writeSetting(tx, 'other', 'x'));
    const results = await Promise.allSettled([take(first, 'a'), take(second, 'b'), kept]);
    const states = results.slice(0, 2).map(({ status }) => status);
    assert.deepEqual(states.sort(), ['fulfilled', 'rejected']);
    const refused = results.find((result) => result.status === 'rejected');
    assert.match(String(refused?.reason), /taken/);
    assert.equal(await readSetting(second.db, 'other'), 'x');
  },
);

test(
  'PostgreSQL restarted under load: what was acknowledged is there once, the store is back by itself',
  options,
  async () => {
    const url = await postgres.database();
    await using store = await withNetwork(url);
    const acknowledged: string[] = [];
    const failures: unknown[] = [];
    let running = true;
    const load = (async () => {
      for (let i = 0; running; i++) {
        const key = `key ${i}`;
        await store.commits
          .run(async (tx) => {
            await tx.insertInto('settings').values({ key, value: '' }).execute();
            await nextRevision(tx, 'n');
          })
          .then(
            () => acknowledged.push(key),
            (error) => failures.push(error),
          );
        if (failures.length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    for (const signal of ['SIGQUIT', 'SIGINT'] as const) {
      const before = acknowledged.length;
      while (acknowledged.length < before + 50) await new Promise((r) => setTimeout(r, 5));
      await postgres.stop(signal);
      await postgres.up();
    }
    const before = acknowledged.length;
    while (acknowledged.length < before + 20) await new Promise((r) => setTimeout(r, 5));
    running = false;
    await load;
    const rows = await store.db
      .selectFrom('settings')
      .select('key')
      .where('key', 'like', 'key %')
      .execute();
    assert.deepEqual(new Set(rows.map(({ key }) => key)), new Set(acknowledged));
    const { revision } = await store.db
      .selectFrom('networks')
      .select('revision')
      .executeTakeFirstOrThrow();
    assert.equal(revision, acknowledged.length);
    for (const error of failures)
      assert.equal((error as { code?: string }).code, 'store-unavailable', `${error}`);
  },
);

test(
  'a node that is lost between transactions keeps the others waiting no longer than its session',
  options,
  async () => {
    const url = await postgres.database();
    using cable = await Cable.to(postgres.port);
    const lost = await Store.open(url.replace(`:${postgres.port}/`, `:${cable.port}/`));
    await using other = await Store.open(url);
    await lost.db.connection().execute(async (session) => {
      // The lock of all that write, as `transactions.ts` takes it.
      await sql`select pg_advisory_lock(${sql.lit(0x6275_7269)})`.execute(session);
      const { rows } = await sql<Record<string, string>>`
      select current_setting('tcp_keepalives_idle') as idle,
        current_setting('tcp_user_timeout') as unanswered`.execute(session);
      cable.cut();
      const beganMs = performance.now();
      await other.commits.run((tx) => writeSetting(tx, 'a', '1'));
      const waitedMs = performance.now() - beganMs;
      assert.ok(waitedMs > 1_000 && waitedMs < 12_000, `${waitedMs} ms`);
      assert.deepEqual(rows, [{ idle: '3', unanswered: '8000' }], 'a machine that is gone');
      cable.mend();
    });
    await lost[Symbol.asyncDispose]();
  },
);

test('of several hosts the one that answers is used', options, async () => {
  const url = await postgres.database();
  const dead = await freePort();
  const hosts = url.replace('@127.0.0.1:', `@127.0.0.1:${dead},127.0.0.1:`);
  await using store = await Store.open(hosts);
  await store.commits.run((tx) => writeSetting(tx, 'a', '1'));
  assert.equal(await readSetting(store.db, 'a'), '1');
});

test(
  'what is wrong with the database is said, and what may pass is waited for',
  options,
  async () => {
    const url = await postgres.database();
    const other = url.replace(/[^/]*$/, 'nothing');
    await assert.rejects(Store.open(other), { code: 'store-missing' });
    await using _ = await Store.open(url);
    await postgres.query(url, "insert into kysely_migration values ('999-later', '2030-01-01')");
    await assert.rejects(Store.open(url), { code: 'data-newer' });
    const dead = `postgres://buri:secret@127.0.0.1:${await freePort()}/x`;
    await assert.rejects(Store.open(dead), (error: { code: string; message: string }) => {
      assert.equal(error.code, 'store-unavailable');
      assert.ok(!error.message.includes('secret'));
      return true;
    });
    const late = await postgres.database();
    await postgres.stop();
    let told = 0;
    const opening = openPatiently(late, {
      signal: new AbortController().signal,
      waiting: () => {
        if (told++ === 0) void postgres.up();
      },
    });
    await using store = await opening;
    await store.probe();
    assert.ok(told > 0);
  },
);
