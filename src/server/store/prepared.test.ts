import assert from 'node:assert/strict';
import { test } from 'node:test';
import { prepared } from './prepared.ts';
import type { Db } from './schema.ts';
import { Store } from './store.ts';

const settings = (db: Db, from: string, to: string) =>
  db
    .selectFrom('settings')
    .select(['key', 'value'])
    .where('key', '>=', from)
    .where('key', '<=', to)
    .where('value', '!=', 'constant')
    .orderBy('key');

test('a prepared query is built once and answers for the values of each time', async () => {
  await using store = await Store.open(':memory:');
  let built = 0;
  const between = prepared((db: Db, from: string, to: string) => {
    built++;
    return settings(db, from, to);
  });
  const put = prepared((db: Db, key: string, value: string) =>
    db
      .insertInto('settings')
      .values({ key, value })
      .onConflict((conflict) => conflict.column('key').doUpdateSet({ value })),
  );
  for (const key of ['a', 'b', 'c', 'd']) await put(store.db, key, `of ${key}`);
  await put(store.db, 'c', 'constant');
  await put(store.db, 'd', "'); drop table settings; --");
  const built1 = built;
  for (const [from, to] of [
    ['a', 'b'],
    ['b', 'd'],
    ['x', 'y'],
  ] as const) {
    const expected = await settings(store.db, from, to).execute();
    assert.deepEqual(await between(store.db, from, to), expected);
    const inside = await store.commits.run((tx) => between(tx, from, to));
    assert.deepEqual(inside, expected, 'in a transaction too');
  }
  assert.equal(built - built1, 1);
});

test('of each database the text is its own', async () => {
  await using one = await Store.open(':memory:');
  await using other = await Store.open(':memory:');
  let built = 0;
  const all = prepared((db: Db, from: string) => {
    built++;
    return settings(db, from, '~');
  });
  for (const store of [one, other, one, other]) await all(store.db, 'a');
  assert.equal(built, 2);
});

test('a value without a place is a mistake', async () => {
  await using store = await Store.open(':memory:');
  const forgetful = prepared((db: Db, from: string, _to: string) => settings(db, from, '~'));
  await assert.rejects(forgetful(store.db, 'a', 'b'), /its place/);
});
