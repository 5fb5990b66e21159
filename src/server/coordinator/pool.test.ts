import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { nineDigits } from '#wire/fields.ts';
import type { Db } from '../store/schema.ts';
import { Store } from '../store/store.ts';
import { nameKey, newIdentifier } from './names.ts';
import { allocateAddress, containsAddress, formatIpv4, formatIpv6, parsePool4 } from './pool.ts';

async function enrol(db: Db, address4: number): Promise<void> {
  const name = String(address4);
  await db
    .insertInto('clients')
    .values({
      client_id: name,
      identity: new TextEncoder().encode(name),
      address4,
      nick: name,
      certificate: new Uint8Array(1),
      certificate_serial: 1,
      software: '',
      protocol_version: 1,
      connected: 0,
      plan: null,
      created_at: 0,
      last_seen_at: 0,
      node: null,
      login_serial: 0,
      instance: '',
    })
    .execute();
}

test('pools are checked', () => {
  const pool = parsePool4('100.64.0.0/10');
  assert.equal(formatIpv4(pool.network), '100.64.0.0');
  assert.equal(formatIpv4(pool.broadcast), '100.127.255.255');
  assert.equal(containsAddress(pool, pool.network), false);
  assert.equal(containsAddress(pool, pool.network + 1), true);
  for (const text of [
    '',
    'x',
    '10.0.0.0',
    '10.0.0.0/7',
    '10.0.0.0/31',
    '10.0.0.1/24',
    '10.0.0.0/024',
    '300.0.0.0/24',
    '127.0.0.0/8',
    '224.0.0.0/8',
    '0.0.0.0/8',
    'fd00::/96',
  ])
    assert.throws(() => parsePool4(text), { code: 'pool-invalid' }, text);
});

test('the IPv6 address carries the IPv4 address in its low 32 bits', () => {
  assert.equal(formatIpv6(parsePool4('100.64.0.0/10').network + 0x102), 'fd62:7572:6900::6440:102');
});

test('addresses are given out in order, without .0 and .255, and not soon again', async () => {
  await using store = await Store.open(':memory:');
  const pool = parsePool4('10.1.0.0/22');
  const given: string[] = [];
  for (let i = 0; i < 256; i++) {
    const address = await allocateAddress(store.db, pool);
    await enrol(store.db, address);
    given.push(formatIpv4(address));
  }
  assert.equal(given[0], '10.1.0.1');
  assert.equal(given[253], '10.1.0.254');
  assert.equal(given[254], '10.1.1.1');
  await store.db.deleteFrom('clients').where('client_id', '!=', '').execute();
  assert.equal(formatIpv4(await allocateAddress(store.db, pool)), '10.1.1.3');
});

test('the search wraps around, finds the one gap, and says when there is none', async () => {
  await using store = await Store.open(':memory:');
  const pool = parsePool4('10.2.0.0/21');
  const usable = 8 * 254;
  for (let i = 0; i < usable; i++) await enrol(store.db, await allocateAddress(store.db, pool));
  await assert.rejects(allocateAddress(store.db, pool), { code: 'pool-exhausted' });
  const gap = pool.network + 0x355;
  await store.db.deleteFrom('clients').where('address4', '=', gap).execute();
  assert.equal(await allocateAddress(store.db, pool), gap);
});

test('identifiers have nine digits and avoid what is taken', async () => {
  const seen: string[] = [];
  const id = await newIdentifier(crypto, async (candidate) => seen.push(candidate) < 5);
  assert.equal(seen.length, 5);
  assert.equal(id, seen[4]);
  for (const candidate of seen) assert.ok(nineDigits.safeParse(candidate).success);
  await assert.rejects(newIdentifier(crypto, async () => true));
});

test('names that people take for the same are the same', () => {
  const same = [
    ['Ä', 'a\u0308'],
    ['ΟΔΟΣ', 'οδος'],
    ['a b', 'a\u2003b'],
    ['ﬁ', 'FI'],
  ];
  for (const [a, b] of same) assert.equal(nameKey(a!), nameKey(b!), `${a} ${b}`);
  assert.notEqual(nameKey('a'), nameKey('b'));
  assert.notEqual(nameKey('a b'), nameKey('ab'));
});
