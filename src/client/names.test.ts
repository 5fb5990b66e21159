import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkView } from '#core/mesh/network-view.ts';
import { checkedName, clientNamed, networkNamed } from './names.ts';

const network = (id: string, name: string) => ({ id, facts: { name } }) as unknown as NetworkView;
const networks = [
  network('100-000-001', 'Games'),
  network('100-000-002', 'games'),
  network('100-000-003', 'Büro'),
];

test('a network is found by id, by its exact name, else whatever the case', () => {
  assert.equal(networkNamed(networks, '100-000-003').facts.name, 'Büro');
  assert.equal(networkNamed(networks, 'Games').id, '100-000-001');
  assert.equal(networkNamed(networks, 'games').id, '100-000-002');
  assert.equal(networkNamed(networks, 'BÜRO').id, '100-000-003');
  assert.throws(() => networkNamed(networks, 'GAMES'), { code: 'name-ambiguous' });
  assert.throws(() => networkNamed(networks, 'office'), { code: 'network-unknown' });
});

test('a client is found by id, or by a nick that only one has', () => {
  const people = [
    { clientId: '000-000-001', nick: 'Anna' },
    { clientId: '000-000-001', nick: 'Anna' },
    { clientId: '000-000-002', nick: 'Bob' },
    { clientId: '000-000-003', nick: 'bob' },
  ];
  assert.equal(clientNamed(people, 'anna'), '000-000-001');
  assert.equal(clientNamed(people, '999-999-999'), '999-999-999');
  assert.throws(() => clientNamed(people, 'Bob'), { code: 'name-ambiguous' });
  assert.throws(() => clientNamed(people, 'carol'), { code: 'client-unknown' });
});

test('a new name is checked, and the complaint is fit for a terminal', () => {
  assert.equal(checkedName('Büro'.normalize('NFD'), 'the name'), 'Büro'.normalize('NFC'));
  for (const bad of ['', ' x', 'x ', 'a\u0007b', 'a\u001b[31mb', 'a\u202eb', 'x'.repeat(10_000)]) {
    assert.throws(
      () => checkedName(bad, 'the name'),
      (error: { code: string; message: string }) =>
        error.code === 'invalid-name' &&
        error.message.length < 300 &&
        !/\p{C}/u.test(error.message),
      JSON.stringify(bad.slice(0, 20)),
    );
  }
});
