import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePostgresUrl } from './postgres-url.ts';

test('a URL of PostgreSQL is taken apart as libpq does, with several hosts', () => {
  const one = parsePostgresUrl('postgres://buri:p%40ss:word@db.example.org/net?sslmode=require');
  assert.deepEqual(
    [one.hosts, one.user, one.password, one.database, one.sslMode],
    [[{ host: 'db.example.org', port: 5432 }], 'buri', 'p@ss:word', 'net', 'require'],
  );
  const many = parsePostgresUrl(
    'postgresql://u@a:1,[fd00::1]:2,c/buri?target_session_attrs=read-write&port=7',
  );
  assert.deepEqual(many.hosts, [
    { host: 'a', port: 1 },
    { host: 'fd00::1', port: 2 },
    { host: 'c', port: 7 },
  ]);
  assert.equal(many.password, undefined);
  const socket = parsePostgresUrl('postgres://buri@/buri?host=/run/postgresql&port=5433');
  assert.deepEqual(socket.hosts, [{ host: '/run/postgresql', port: 5433 }]);
  assert.equal(parsePostgresUrl('postgres://buri@h').database, 'buri');
});

test('a URL that cannot be used is refused by a text without its password', () => {
  for (const url of [
    'postgres://u:secret@/db',
    'postgres://u:secret@h:99999/db',
    'postgres://u:secret@h:x/db',
    'postgres://u:secret@h/db?sslmode=maybe',
    'postgres://u:secret@h/db?target_session_attrs=any',
    'postgres://u:secret@h/db?unknown=1',
    'postgres://u:secret%zz@h/db',
    `postgres://u:secret@${'h,'.repeat(17)}h/db`,
    'postgres://:secret@h',
  ])
    assert.throws(
      () => parsePostgresUrl(url),
      (error: { code: string; message: string }) =>
        error.code === 'store-invalid' && !error.message.includes('secret'),
      url,
    );
});
