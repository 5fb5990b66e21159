/** Every operation: what it does, whom it tells, and when it is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { maxNetworksPerClient, type Operation } from '#wire/control.ts';
import { openDocument } from '#wire/signed.ts';
import { admissionFor, verifierFor } from '../../../../test/support/control-client.ts';
import { CoordinatorRig, type RigClient } from '../../../../test/support/coordinator-rig.ts';

/** A network `lan` with password `pw`: anna owns it, bert is a member, carl is a stranger, all online. */
async function trio() {
  const rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const bert = await rig.login('bert');
  const carl = await rig.login('carl');
  const network = await anna.create('lan', 'pw');
  await bert.joined('lan', 'pw');
  for (const client of [anna, bert, carl]) client.clear();
  const verify = (message: Uint8Array, signature: Uint8Array) =>
    crypto.ed25519Verify(rig.clusterKey, message, signature);
  return {
    rig,
    anna,
    bert,
    carl,
    network,
    verify,
    [Symbol.asyncDispose]: () => rig.store[Symbol.asyncDispose](),
  };
}

const create = (name: string): Operation => ({
  op: 'create',
  name,
  type: 'mesh',
  admission: admissionFor(''),
});

test('create makes a network whose only member and owner is the creator, with a signed statement', async () => {
  await using rig = await CoordinatorRig.open();
  const verify = (message: Uint8Array, signature: Uint8Array) =>
    crypto.ed25519Verify(rig.clusterKey, message, signature);
  const anna = await rig.login('anna');
  const network = await anna.create('Games', 'secret');
  const view = anna.last('view');
  assert.equal(view.network, network);
  assert.deepEqual(
    { ...view.facts, revision: view.revision, state: view.state, active: view.active },
    {
      name: 'Games',
      type: 'mesh',
      owner: anna.clientId,
      locked: false,
      approval: 'auto',
      hasPassword: true,
      epoch: 0,
      revision: 1,
      state: 'member',
      active: true,
    },
  );
  const [self] = view.members;
  assert.equal(self?.presence, 'online');
  const statement = openDocument('membership', self!.statement, verify);
  assert.equal(statement?.ipv4, anna.welcome.ipv4);
  assert.equal(statement?.ipv6, anna.welcome.ipv6);
  assert.equal(statement?.network, network);
  assert.equal(statement?.notAfter, rig.now.wall + 7 * 86_400_000);
  const order = anna.received.map((message) => message.t);
  assert.ok(order.indexOf('response') < order.indexOf('view'), 'first the answer, then the view');
});

test('a name that differs in case, form or kind of space only is taken', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  await anna.create('Straße 1');
  for (const name of ['straße 1', 'STRASSE 1', 'Straße 1', 'Straße\u00a01'])
    assert.equal(await anna.refused(create(name)), 'name-taken', name);
  await anna.create('Strasse 2');
});

test('join with the right password: the joiner gets the wrapped secret and the view, the others a delta', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan', 'pw');
  const bert = await rig.login('bert');
  anna.clear();
  const result = await bert.join('LAN', 'pw');
  assert.deepEqual(result, {
    ok: true,
    network,
    state: 'member',
    wrappedSecret: admissionFor('pw').wrappedSecret,
  });
  assert.deepEqual(
    bert
      .last('view')
      .members.map((member) => [member.clientId, member.presence])
      .sort(),
    [
      [anna.clientId, 'online'],
      [bert.clientId, 'online'],
    ].sort(),
  );
  assert.equal(bert.all('delta').length, 0, 'the view says it already');
  const delta = anna.last('delta');
  assert.deepEqual([delta.from, delta.to], [1, 2]);
  const [change] = delta.changes;
  assert.ok(change?.op === 'member');
  assert.equal(change.member.clientId, bert.clientId);
  assert.equal(change.member.presence, 'online');
});

test('admission tells everybody the salt, and the wrapped secret only to who has proved the password', async () => {
  await using world = await trio();
  const { anna, carl, network } = world;
  const stranger = await carl.granted({ op: 'admission', name: 'lan' });
  assert.deepEqual(stranger.admission, {
    salt: admissionFor('pw').salt,
    argon2: admissionFor('pw').argon2,
    hasPassword: true,
  });
  assert.equal(stranger.wrappedSecret, undefined);
  assert.equal(stranger.state, undefined);
  const member = await anna.granted({ op: 'admission', name: 'lan' });
  assert.equal(member.state, 'member');
  assert.deepEqual(member.wrappedSecret, admissionFor('pw').wrappedSecret);
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  await carl.joined('lan', 'pw');
  const waiting = await carl.granted({ op: 'admission', name: 'lan' });
  assert.equal(waiting.state, 'pending');
  assert.ok(waiting.wrappedSecret);
});

test('every operation is refused to those who may not, with its code', async () => {
  await using world = await trio();
  const { anna, bert, carl, network } = world;
  const nobody = '999-999-999';
  const unknown = '111-111-111';
  const own = { network, clientId: bert.clientId };
  const table: [string, RigClient, Operation, string][] = [
    [
      'join of an unknown network',
      carl,
      { op: 'join', name: 'nope', verifier: verifierFor('pw') },
      'network-not-found',
    ],
    [
      'join with a wrong password',
      carl,
      { op: 'join', name: 'lan', verifier: verifierFor('no') },
      'invalid-password',
    ],
    [
      'join as a member',
      bert,
      { op: 'join', name: 'lan', verifier: verifierFor('pw') },
      'already-member',
    ],
    [
      'admission of an unknown network',
      carl,
      { op: 'admission', name: 'nope' },
      'network-not-found',
    ],
    ['create with a taken name', carl, create('lan'), 'name-taken'],
    ['leave by a stranger', carl, { op: 'leave', network }, 'not-member'],
    ['leave of an unknown network', carl, { op: 'leave', network: unknown }, 'network-not-found'],
    ['leave by the owner', anna, { op: 'leave', network }, 'you-are-owner'],
    ['delete by a member', bert, { op: 'delete', network }, 'not-owner'],
    ['delete by a stranger', carl, { op: 'delete', network }, 'not-member'],
    ['delete of an unknown network', anna, { op: 'delete', network: unknown }, 'network-not-found'],
    ['evict by a member', bert, { op: 'evict', network, clientId: anna.clientId }, 'not-owner'],
    ['evict of a stranger', anna, { op: 'evict', network, clientId: carl.clientId }, 'not-member'],
    ['evict of nobody', anna, { op: 'evict', network, clientId: nobody }, 'not-member'],
    [
      'evict of the owner',
      anna,
      { op: 'evict', network, clientId: anna.clientId },
      'you-are-owner',
    ],
    ['approve by a member', bert, { op: 'approve', ...own }, 'not-owner'],
    ['approve of a member', anna, { op: 'approve', ...own }, 'already-member'],
    [
      'approve of who did not ask',
      anna,
      { op: 'approve', network, clientId: carl.clientId },
      'no-request',
    ],
    ['reject by a stranger', carl, { op: 'reject', ...own }, 'not-member'],
    ['reject of who did not ask', anna, { op: 'reject', network, clientId: nobody }, 'no-request'],
    ['transfer by a member', bert, { op: 'transfer', ...own }, 'not-owner'],
    [
      'transfer to a stranger',
      anna,
      { op: 'transfer', network, clientId: carl.clientId },
      'not-member',
    ],
    [
      'set-pass by a member',
      bert,
      { op: 'set-pass', network, admission: admissionFor('x') },
      'not-owner',
    ],
    ['set-access by a member', bert, { op: 'set-access', network, locked: true }, 'not-owner'],
    ['go-offline by a stranger', carl, { op: 'go-offline', network }, 'not-member'],
    [
      'go-online in an unknown network',
      carl,
      { op: 'go-online', network: unknown },
      'network-not-found',
    ],
  ];
  const before = await anna.rig.store.db.selectFrom('networks').select('revision').execute();
  for (const [name, client, operation, code] of table)
    assert.equal(await client.refused(operation), code, name);
  const after = await anna.rig.store.db.selectFrom('networks').select('revision').execute();
  assert.deepEqual(after, before, 'what is refused changes nothing');
  for (const client of [anna, bert]) assert.deepEqual(client.all('delta'), []);
});

test('leave: the others get a signed revocation, a later membership beats it', async () => {
  await using world = await trio();
  const { anna, bert, network, verify } = world;
  await bert.granted({ op: 'leave', network });
  assert.deepEqual(bert.last('removed'), { t: 'removed', network, reason: 'left' });
  const [change] = anna.last('delta').changes;
  assert.ok(change?.op === 'gone');
  const revocation = openDocument('revocation', change.revocation, verify);
  assert.equal(revocation?.clientId, bert.clientId);
  await bert.joined('lan', 'pw');
  const [again] = anna.last('delta').changes;
  assert.ok(again?.op === 'member');
  const statement = openDocument('membership', again.member.statement, verify);
  assert.ok(statement!.serial > revocation!.serial);
});

test('an owner alone may leave: the network is deleted', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('solo');
  await anna.granted({ op: 'leave', network });
  assert.equal(anna.last('removed').reason, 'deleted');
  await anna.create('solo');
});

test('delete tells members and those who wait by a signed document, and frees the name; the id is never used again', async () => {
  await using world = await trio();
  const { anna, bert, carl, network, rig } = world;
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  await carl.joined('lan', 'pw');
  const issued = await rig.store.db.selectFrom('memberships').select('serial').execute();
  await anna.granted({ op: 'delete', network });
  for (const client of [anna, bert, carl]) {
    const { deletion, ...told } = client.last('removed');
    assert.deepEqual(told, { t: 'removed', network, reason: 'deleted' });
    const opened = openDocument('deletion', deletion!, world.verify)!;
    assert.equal(opened.network, network);
    assert.ok(
      issued.every(({ serial }) => opened.serial > serial),
      'it beats every statement',
    );
  }
  const retired = await rig.store.db.selectFrom('retired_networks').selectAll().execute();
  assert.deepEqual(
    retired.map((row) => row.network_id),
    [network],
  );
  assert.notEqual(await bert.create('lan'), network);
});

test('evict: the member is told, may come back, and the others get the revocation', async () => {
  await using world = await trio();
  const { anna, bert, carl, network } = world;
  await carl.joined('lan', 'pw');
  await anna.granted({ op: 'evict', network, clientId: bert.clientId });
  assert.equal(bert.last('removed').reason, 'evicted');
  for (const client of [anna, carl]) assert.equal(client.last('delta').changes[0]?.op, 'gone');
  await bert.joined('lan', 'pw');
});

test('a locked network admits nobody, not even with the password', async () => {
  await using world = await trio();
  const { anna, carl, network } = world;
  await anna.granted({ op: 'set-access', network, locked: true });
  assert.equal(
    await carl.refused({ op: 'join', name: 'lan', verifier: verifierFor('pw') }),
    'network-locked',
  );
  await anna.granted({ op: 'set-access', network, locked: false });
  await carl.joined('lan', 'pw');
});

test('manual approval: ask, wait, be approved', async () => {
  await using world = await trio();
  const { anna, bert, carl, network } = world;
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  assert.equal(bert.last('delta').changes.length, 1, 'facts for everybody');
  const result = await carl.join('lan', 'pw');
  assert.ok(result.ok && result.state === 'pending' && result.wrappedSecret !== undefined);
  assert.deepEqual([carl.last('view').state, carl.last('view').members], ['pending', []]);
  const waiting = [{ clientId: carl.clientId, nick: 'carl' }];
  assert.deepEqual(anna.last('delta').changes, [{ op: 'pending', pending: waiting }]);
  assert.deepEqual(bert.last('delta').changes, [], 'who waits is for the owner to know');
  assert.equal(
    await carl.refused({ op: 'join', name: 'lan', verifier: verifierFor('pw') }),
    'approval-pending',
  );
  assert.equal(
    await anna.refused({ op: 'evict', network, clientId: carl.clientId }),
    'awaiting-approval',
  );
  assert.equal(
    await anna.refused({ op: 'transfer', network, clientId: carl.clientId }),
    'awaiting-approval',
  );
  assert.equal(await carl.refused({ op: 'go-online', network }), 'approval-pending');
  await anna.granted({ op: 'approve', network, clientId: carl.clientId });
  assert.equal(carl.last('view').state, 'member');
  assert.equal(carl.last('view').members.length, 3);
  assert.deepEqual(anna.last('delta').changes, [{ op: 'pending', pending: [] }]);
});

test('manual approval: be rejected, ask again, withdraw', async () => {
  await using world = await trio();
  const { anna, carl, network } = world;
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  await carl.joined('lan', 'pw');
  await anna.granted({ op: 'reject', network, clientId: carl.clientId });
  assert.equal(carl.last('removed').reason, 'rejected');
  await carl.joined('lan', 'pw');
  await carl.granted({ op: 'leave', network });
  assert.equal(carl.last('removed').reason, 'left');
  assert.deepEqual(anna.last('delta').changes, [{ op: 'pending', pending: [] }]);
});

test('transfer: the new owner rules, sees who waits, and the old one may leave', async () => {
  await using world = await trio();
  const { anna, bert, carl, network } = world;
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  await carl.joined('lan', 'pw');
  await anna.granted({ op: 'transfer', network, clientId: bert.clientId });
  const [facts, pending] = bert.last('delta').changes;
  assert.ok(facts?.op === 'facts' && facts.facts.owner === bert.clientId);
  assert.ok(pending?.op === 'pending' && pending.pending.length === 1);
  assert.equal(carl.last('view').facts.owner, bert.clientId, 'who waits knows whose network it is');
  assert.equal(await anna.refused({ op: 'delete', network }), 'not-owner');
  await anna.granted({ op: 'leave', network });
  await bert.granted({ op: 'delete', network });
});

test('set-pass: the new password admits, the old one does not, members stay', async () => {
  await using world = await trio();
  const { anna, bert, carl, network } = world;
  await anna.granted({ op: 'set-pass', network, admission: admissionFor('new') });
  assert.equal(bert.last('delta').changes[0]?.op, 'facts');
  assert.equal(
    await carl.refused({ op: 'join', name: 'lan', verifier: verifierFor('pw') }),
    'invalid-password',
  );
  await carl.joined('lan', 'new');
  await anna.granted({ op: 'set-pass', network, admission: admissionFor('') });
  const [facts] = anna.last('delta').changes;
  assert.ok(facts?.op === 'facts' && !facts.facts.hasPassword);
});

test('set-nick raises the revision of every network; the same nick changes nothing', async () => {
  await using world = await trio();
  const { anna, bert } = world;
  await bert.granted({ op: 'set-nick', nick: 'Bertram' });
  const [change] = anna.last('delta').changes;
  assert.ok(change?.op === 'member' && change.member.nick === 'Bertram');
  anna.clear();
  await bert.granted({ op: 'set-nick', nick: 'Bertram' });
  assert.deepEqual(anna.all('delta'), []);
});

test('go-offline in one network: the others see it offline there, its own view says inactive', async () => {
  await using world = await trio();
  const { anna, bert, network } = world;
  await bert.granted({ op: 'go-offline', network });
  assert.deepEqual(anna.last('presence'), {
    t: 'presence',
    network,
    clientId: bert.clientId,
    presence: 'offline',
  });
  assert.equal(anna.last('delta').active, undefined);
  assert.equal(bert.last('delta').active, false);
  await bert.granted({ op: 'go-offline', network });
  assert.equal(bert.all('delta').length, 1, 'once is enough');
  await bert.granted({ op: 'go-online', network });
  assert.equal(anna.last('presence').presence, 'online');
  assert.equal(bert.last('delta').active, true);
});

test('wrong passwords are limited by client, and by address prefix and network', async () => {
  await using world = await trio();
  const { rig, carl } = world;
  const guess: Operation = { op: 'join', name: 'lan', verifier: verifierFor('guess') };
  for (let i = 0; i < 10; i++) assert.equal(await carl.refused(guess), 'invalid-password');
  assert.equal(await carl.refused(guess), 'rate-limited');
  const right: Operation = { op: 'join', name: 'lan', verifier: verifierFor('pw') };
  assert.equal(await carl.refused(right), 'rate-limited', 'a limited guess learns nothing');
  rig.nowMs += 30_000;
  assert.equal(await carl.refused(guess), 'invalid-password');
  assert.equal(await carl.refused(guess), 'rate-limited');
  for (const name of ['dora', 'emil', 'fred']) {
    const client = await rig.login(name);
    for (let i = 0; i < 10; i++) await client.refused(guess);
  }
  const gina = await rig.login('gina');
  assert.equal(await gina.refused(right), 'rate-limited', 'the same address as the guessers');
  const hans = await rig.login('hans', { prefix: '198.51.100.7' });
  await hans.joined('lan', 'pw');
});

test('nobody is in more networks than the bound', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  for (let i = 0; i < maxNetworksPerClient; i++) {
    await anna.create(`net ${i}`);
    rig.nowMs += 60_000;
  }
  assert.equal(await anna.refused(create('one more')), 'too-many-networks');
});

test('networks are not made without end', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  let code = '';
  for (let i = 0; i < 101; i++) {
    const result = await anna.request(create(`net ${i}`));
    if (!result.ok) code = result.error.code;
  }
  assert.equal(code, 'rate-limited');
});

test('a view brings the revocations of those whose statements may be in force, no others', async () => {
  await using world = await trio();
  const { anna, bert, carl, network, rig } = world;
  assert.equal(anna.all('view').length, 0);
  await anna.granted({ op: 'evict', network, clientId: bert.clientId });
  const revoked = (client: RigClient) =>
    (client.last('view').revocations ?? []).map(
      (bytes) => openDocument('revocation', bytes, world.verify)!.clientId,
    );
  await carl.joined('lan', 'pw');
  assert.deepEqual(revoked(carl), [bert.clientId]);
  await anna.send({ t: 'resync', network });
  assert.deepEqual(revoked(anna), [bert.clientId]);
  await bert.joined('lan', 'pw');
  assert.deepEqual(revoked(bert), [], 'it is back');
  await anna.granted({ op: 'evict', network, clientId: bert.clientId });
  const old = rig.now.wall - 8 * 86_400_000;
  await rig.store.db.updateTable('revocations').set({ issued_at: old }).execute();
  await anna.send({ t: 'resync', network });
  assert.deepEqual(revoked(anna), []);
});
