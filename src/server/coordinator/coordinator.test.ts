/** Login, presence, synchronisation, signals and renewals under virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { encodeCbor } from '#wire/cbor.ts';
import { maxServerMessageBytes } from '#wire/control.ts';
import { openDocument, peekDocument } from '#wire/signed.ts';
import { DeviceKeys } from '../../../test/support/control-client.ts';
import { CoordinatorRig, type RigClient } from '../../../test/support/coordinator-rig.ts';
import { removeClient } from '../admin/actions.ts';
import { closeGoingAway } from './hub.ts';
import {
  changes,
  maxCertificateBytes,
  maxChangeDelayMs,
  maxCrowdedMs,
  maxMembersPerNetwork,
  maxPendingPerNetwork,
  maxRequestsInWork,
  resyncs,
} from './limits.ts';
import { parsePool4 } from './pool.ts';
import { revokeToken } from './tokens.ts';

const dayMs = 86_400_000;
const instance = (n: number) => new Uint8Array(16).fill(n);
const presences = (client: RigClient) =>
  client.received.flatMap((message) => {
    if (message.t === 'presence') return [`${message.clientId} ${message.presence}`];
    if (message.t !== 'presences') return [];
    const { online, unconfirmed } = message;
    return [...online.map((id) => `${id} online`), ...unconfirmed.map((id) => `${id} unconfirmed`)];
  });

test('enrolment by token: required, known, unexpired, unused, not revoked', async () => {
  await using rig = await CoordinatorRig.open({ enrol: 'token' });
  assert.equal((await rig.login('anna')).refusal, 'token-required');
  assert.equal((await rig.login('anna', { login: { token: 'x' } })).refusal, 'token-invalid');
  const once = await rig.token(1);
  assert.equal((await rig.login('anna', { login: { token: once } })).welcome.t, 'welcome');
  assert.equal((await rig.login('bert', { login: { token: once } })).refusal, 'token-used-up');
  const short = await rig.token(null, 1000);
  rig.nowMs += 1000;
  assert.equal((await rig.login('bert', { login: { token: short } })).refusal, 'token-expired');
  const any = await rig.token(null);
  for (const name of ['bert', 'carl', 'dora'])
    assert.ok((await rig.login(name, { login: { token: any } })).welcome);
  assert.ok((await rig.login('anna')).welcome, 'who is known needs none');
  const rows = await rig.store.db.selectFrom('enrolment_tokens').selectAll().execute();
  for (const row of rows) await revokeToken(rig.store.db, { now: rig.now }, row.token_id);
  assert.equal((await rig.login('emil', { login: { token: any } })).refusal, 'token-invalid');
  const stored = JSON.stringify(rows.map((row) => Buffer.from(row.hash).toString('latin1')));
  assert.ok(!stored.includes(any), 'only a hash is kept');
});

test('wrong tokens are limited by address prefix; a used-up place is not taken by a refusal', async () => {
  await using rig = await CoordinatorRig.open({ enrol: 'token' });
  for (let i = 0; i < 20; i++) {
    const client = await rig.login(`guesser ${i}`, { login: { token: `guess ${i}` } });
    assert.equal(client.refusal, 'token-invalid');
  }
  const token = await rig.token(1);
  const limited = await rig.login('late', { login: { token } });
  assert.equal(limited.refusal, 'rate-limited');
  assert.ok(limited.last('refused').retryAfterMs! > 0);
  assert.ok((await rig.login('late', { login: { token }, prefix: '203.0.113.9' })).welcome);
});

test('while the server keeps newcomers waiting nobody is called offline, for some minutes at most', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  await anna.create('lan');
  for (const name of ['bert', 'carl']) await (await rig.login(name)).joined('lan');
  const ids = ['bert', 'carl'];
  for (const client of rig.clients.values()) if (ids.includes(client.name)) await client.lose();
  rig.isCrowded = true;
  await rig.advance(120_000);
  const bert = await rig.login('bert');
  assert.ok(!presences(anna).some((told) => told.endsWith('offline')), 'bert was kept waiting');
  anna.clear();
  await rig.advance(maxCrowdedMs);
  assert.equal(presences(anna).length, 1, 'a crowd that does not end puts it off no longer');
  assert.equal(rig.coordinator.presenceOf(bert.clientId), 'online');
  rig.isCrowded = false;
  await bert.lose();
  await rig.advance(60_000);
  assert.equal(rig.coordinator.presenceOf(bert.clientId), 'offline', 'as ever without a crowd');
});

test('closed enrolment refuses newcomers only', async () => {
  await using rig = await CoordinatorRig.open({ enrol: 'closed' });
  assert.equal((await rig.login('anna')).refusal, 'enrolment-closed');
  assert.equal(rig.coordinator.onlineClients, 0);
});

test('a small pool is used up, its addresses come back only after removal', async () => {
  await using rig = await CoordinatorRig.open({ pool4: parsePool4('10.9.0.0/30') });
  const anna = await rig.login('anna');
  const bert = await rig.login('bert');
  assert.deepEqual([anna.welcome.ipv4, bert.welcome.ipv4], ['10.9.0.1', '10.9.0.2']);
  assert.equal(anna.welcome.ipv6, 'fd62:7572:6900::a09:1');
  assert.equal((await rig.login('carl')).refusal, 'pool-exhausted');
  await rig.coordinator.operate(rig.now, (tx, context) => removeClient(tx, context, anna.clientId));
  assert.equal((await rig.login('carl')).welcome.ipv4, '10.9.0.1');
});

test('certificates only go forward', async () => {
  await using rig = await CoordinatorRig.open();
  const keys = new DeviceKeys('anna');
  const certificate = keys.certificate(5);
  const anna = await rig.login('anna', { login: { certificate } });
  await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  bert.clear();
  assert.ok((await rig.login('anna', { login: { certificate } })).welcome);
  assert.deepEqual(bert.all('delta'), [], 'the same certificate is no news');
  const older = await rig.login('anna', { login: { certificate: keys.certificate(4) } });
  assert.equal(older.refusal, 'certificate-stale');
  const newer = keys.certificate(6);
  assert.ok((await rig.login('anna', { login: { certificate: newer } })).welcome);
  const [change] = bert.last('delta').changes;
  assert.ok(change?.op === 'member');
  assert.deepEqual(change.member.certificate, newer);
});

test('a view of as many members as may be, with all the largest fields, fits one message', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna', { login: { nick: '\u4e00'.repeat(64) } });
  await anna.create('lan');
  const [member] = anna.last('view').members;
  const largest = { ...member!, certificate: new Uint8Array(maxCertificateBytes) };
  const entryBytes = encodeCbor(largest).length;
  const rest = 2 * encodeCbor(anna.last('view')).length;
  const pendingBytes = maxPendingPerNetwork * 250;
  assert.ok(entryBytes * maxMembersPerNetwork + rest + pendingBytes < maxServerMessageBytes);
  const keys = new DeviceKeys('bert');
  const certificate = new Uint8Array(maxCertificateBytes + 1);
  certificate.set(keys.certificate());
  assert.equal(
    (await rig.login('bert', { login: { certificate } })).refusal,
    'certificate-invalid',
  );
});

test('presence: online, lost and unconfirmed, back, lost for good after the grace period', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  await anna.create('lan');
  let bert = await rig.login('bert');
  await bert.joined('lan');
  const id = bert.clientId;
  anna.clear();
  await bert.lose();
  assert.deepEqual(presences(anna), [`${id} unconfirmed`]);
  anna.clear();
  assert.equal(rig.coordinator.presenceOf(id), 'unconfirmed');
  await rig.advance(59_000);
  bert = await rig.login('bert');
  assert.deepEqual(presences(anna), [`${id} online`]);
  await bert.lose();
  assert.deepEqual(presences(anna), [`${id} online`, `${id} unconfirmed`]);
  await rig.advance(60_000);
  assert.deepEqual(presences(anna).at(-1), `${id} offline`);
  anna.clear();
  bert = await rig.login('bert');
  assert.deepEqual(presences(anna), [`${id} online`]);
  await bert.send({ t: 'logout' });
  assert.deepEqual(presences(anna), [`${id} online`, `${id} offline`], 'a goodbye needs no grace');
  assert.equal(bert.closedWith, 1000);
});

test('a client that does not answer pings is lost after 10 seconds; one that does stays', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const dead = await rig.login('dead', { pongs: false });
  await rig.advance(9_999);
  assert.equal(rig.coordinator.presenceOf(dead.clientId), 'online');
  await rig.advance(1);
  assert.equal(rig.coordinator.presenceOf(dead.clientId), 'unconfirmed');
  assert.equal(dead.closedWith, 1001);
  await rig.advance(600_000);
  assert.equal(rig.coordinator.presenceOf(anna.clientId), 'online');
  assert.equal(anna.all('ping').length, 41, 'one at login, then every 15 s');
});

test('a copied identity: the one that answers stays, both are told', async () => {
  await using rig = await CoordinatorRig.open();
  const first = await rig.login('anna');
  const second = await rig.login('anna', { login: { instance: instance(2) } });
  assert.equal(second.refusal, 'identity-in-use');
  assert.equal(second.closedWith, 1008);
  assert.equal(first.last('notice').code, 'identity-in-use');
  assert.equal(first.closedWith, undefined);
});

test('a copied identity: the one that is silent is replaced after three seconds', async () => {
  await using rig = await CoordinatorRig.open();
  const first = await rig.login('anna');
  first.pongs = false;
  const second = await rig.login('anna', { login: { instance: instance(2) } });
  const third = await rig.login('anna', { login: { instance: instance(3) } });
  assert.equal(third.refusal, 'login-in-progress');
  await rig.advance(2_999);
  assert.deepEqual(second.received, []);
  await rig.advance(1);
  assert.equal(second.welcome.clientId, first.clientId);
  assert.equal(first.closedWith, 4001);
  await first.lose();
  assert.equal(
    rig.coordinator.presenceOf(second.clientId),
    'online',
    'the old end changes nothing',
  );
});

test('a copied identity: when the older connection breaks meanwhile the newer is let in at once', async () => {
  await using rig = await CoordinatorRig.open();
  const first = await rig.login('anna');
  first.pongs = false;
  const second = await rig.login('anna', { login: { instance: instance(2) } });
  await first.lose();
  assert.equal(second.welcome.clientId, first.clientId);
});

test('a newcomer that goes away while it is challenged leaves the older one alone', async () => {
  await using rig = await CoordinatorRig.open();
  const first = await rig.login('anna');
  first.pongs = false;
  const second = await rig.login('anna', { login: { instance: instance(2) } });
  await second.lose();
  await rig.advance(4_000);
  assert.equal(first.closedWith, undefined);
  assert.deepEqual(second.received, []);
});

test('login brings up to date: a delta where the log reaches back, the view otherwise', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const revision = bert.last('view').revision;
  await bert.lose(true);
  const carl = await rig.login('carl');
  await carl.joined('lan');
  await anna.granted({ op: 'set-access', network, locked: true });
  await carl.granted({ op: 'leave', network });
  const dora = await rig.login('dora');
  await anna.granted({ op: 'set-access', network, locked: false });
  await dora.joined('lan');

  const back = await rig.login('bert', { login: { known: [{ network, revision }] } });
  const delta = back.last('delta');
  assert.equal(delta.from, revision);
  assert.equal(delta.active, true);
  assert.deepEqual(
    delta.changes.map((change) =>
      change.op === 'member' ? `member ${change.member.nick}` : `${change.op}`,
    ),
    ['facts', 'gone', 'member dora'],
    'only the outcome, each subject once',
  );
  assert.deepEqual(
    presences(back).sort(),
    [anna, dora, back].map(({ clientId }) => `${clientId} online`).sort(),
    'presence has no revision: told for all',
  );
  assert.deepEqual(back.last('synchronised').networks, [network]);
  const order = back.received.map(({ t }) => t).filter((t) => t !== 'ping');
  assert.equal(order[0], 'welcome');
  assert.equal(order.at(-1), 'synchronised');

  for (const held of [0, 10_000]) {
    const again = await rig.login('bert', {
      login: { known: [{ network, revision: held }] },
    });
    assert.equal(again.all('delta').length, 0);
    assert.equal(again.last('view').members.length, 3, `held ${held}`);
  }
  const current = await rig.login('bert', {
    login: { known: [{ network, revision: delta.to }] },
  });
  assert.deepEqual(current.last('delta').changes, []);
  assert.equal(current.last('delta').from, current.last('delta').to);
});

test('beyond the log the view is sent, and the log stays within its bound', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  await rig.store.commits.run(async (tx) => {
    for (let i = 0; i < 3; i++)
      await tx
        .updateTable('networks')
        .set({ revision: 5000 + i })
        .execute();
  });
  await anna.granted({ op: 'set-access', network, locked: true });
  await anna.granted({ op: 'set-access', network, locked: false });
  const log = await rig.store.db.selectFrom('network_changes').select('revision').execute();
  assert.deepEqual(
    log.map((row) => row.revision),
    [5003, 5004],
  );
  const near = await rig.login('anna', { login: { known: [{ network, revision: 5003 }] } });
  assert.equal(near.all('delta').length, 1);
  const gap = await rig.login('anna', { login: { known: [{ network, revision: 4000 }] } });
  assert.equal(gap.all('delta').length, 0, 'a log with a hole makes no delta');
  assert.equal(gap.all('view').length, 1);
});

test('who was removed while away is told why', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const kept = await anna.create('evicting');
  const doomed = await anna.create('doomed');
  const asked = await anna.create('asked');
  await anna.granted({ op: 'set-access', network: asked, approval: 'manual' });
  const bert = await rig.login('bert');
  for (const name of ['evicting', 'doomed', 'asked']) await bert.joined(name);
  const id = bert.clientId;
  await bert.lose(true);
  await anna.granted({ op: 'evict', network: kept, clientId: id });
  await anna.granted({ op: 'delete', network: doomed });
  await anna.granted({ op: 'reject', network: asked, clientId: id });
  const known = [kept, doomed, asked].map((network) => ({ network, revision: 2 }));
  const back = await rig.login('bert', { login: { known } });
  assert.deepEqual(
    Object.fromEntries(back.all('removed').map(({ network, reason }) => [network, reason])),
    { [kept]: 'evicted', [doomed]: 'deleted', [asked]: 'rejected' },
  );
  const documents = back.all('removed').map(({ network, deletion }) => [network, deletion]);
  const deletion = Object.fromEntries(documents)[doomed];
  assert.equal(peekDocument('deletion', deletion!)?.network, doomed);
  assert.deepEqual(back.last('synchronised').networks, []);
});

test('who was approved while away gets the view, whatever revision it held', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const { revision } = bert.last('view');
  await bert.lose(true);
  await anna.granted({ op: 'approve', network, clientId: bert.clientId });
  const back = await rig.login('bert', { login: { known: [{ network, revision }] } });
  assert.equal(back.last('view').state, 'member');
  assert.equal(back.last('view').members.length, 2);
});

test('resync brings the view; of a network one is not in: removed', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const bert = await rig.login('bert');
  anna.clear();
  await anna.send({ t: 'resync', network });
  assert.equal(anna.last('view').members.length, 1);
  await bert.send({ t: 'resync', network });
  assert.equal(bert.last('removed').network, network);
  assert.equal(bert.all('view').length, 0);
});

test('a resync that cannot be served ends the connection: the client waits for it and asks no more', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const flood = Array.from({ length: maxRequestsInWork + 1 }, () =>
    rig.coordinator.message(anna.session, { t: 'resync', network }, rig.now),
  );
  await Promise.all(flood);
  assert.equal(anna.closedWith, closeGoingAway);
});

test('statements are renewed daily while online, those of a network in one revision, and at login', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  await rig.advance(60_000);
  const bert = await rig.login('bert');
  await bert.joined('lan');
  anna.clear();
  await rig.advance(dayMs + 600_000);
  const [delta] = anna.all('delta');
  assert.equal(anna.all('delta').length, 1);
  assert.equal(delta?.changes.length, 2, 'both in one revision');
  const [change] = delta!.changes;
  assert.ok(change?.op === 'member');
  const statement = openDocument('membership', change.member.statement, (message, signature) =>
    crypto.ed25519Verify(rig.clusterKey, message, signature),
  );
  assert.equal(statement?.serial, delta!.to);
  assert.ok(statement!.notAfter > rig.now.wall + 6.9 * dayMs);
  await bert.lose(true);
  anna.clear();
  await rig.advance(2 * dayMs);
  for (const each of anna.all('delta'))
    for (const item of each.changes)
      assert.ok(item.op === 'member' && item.member.clientId === anna.clientId, 'not who is away');
  const back = await rig.login('bert', {
    login: { known: [{ network, revision: anna.last('delta').to }] },
  });
  const own = back
    .last('delta')
    .changes.find((item) => item.op === 'member' && item.member.clientId === back.clientId);
  assert.ok(own, 'renewed at login');
});

test('signals go only between those who take part in one network', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const carl = await rig.login('carl');
  const sealed = new Uint8Array([1, 2, 3]);
  await anna.send({ t: 'signal', to: bert.clientId, sealed, punch: false });
  assert.deepEqual(bert.last('signal'), { t: 'signal', from: anna.clientId, sealed });
  for (const to of [carl.clientId, '999-999-999', anna.clientId]) {
    await anna.send({ t: 'signal', to, sealed, punch: false });
    assert.equal(anna.last('undelivered').to, to);
  }
  assert.deepEqual(carl.all('signal'), []);
  await bert.granted({ op: 'go-offline', network });
  anna.clear();
  await anna.send({ t: 'signal', to: bert.clientId, sealed, punch: false });
  assert.equal(anna.last('undelivered').to, bert.clientId);
});

test('punching begins at the same moment at both ends, however far away they are', async () => {
  await using rig = await CoordinatorRig.open();
  const near = await rig.login('near', { pongs: false });
  await near.create('lan');
  const far = await rig.login('far', { pongs: false });
  rig.nowMs += 20;
  near.pongs = true;
  await rig.pump();
  rig.nowMs += 180;
  far.pongs = true;
  await rig.pump();
  await far.joined('lan');
  await far.send({ t: 'signal', to: near.clientId, sealed: new Uint8Array(1), punch: true });
  // One way: 10 ms to the near, 100 ms to the far one.
  assert.equal(far.last('punch').punchInMs, 0);
  assert.equal(near.last('signal').punchInMs, 90);
});

test('after a restart whoever was connected is unconfirmed, then offline; acknowledged state is there', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const carl = await rig.login('carl');
  await carl.joined('lan');
  await carl.send({ t: 'logout' });
  const revision = bert.last('view').revision;
  await rig.restart();
  assert.equal(rig.coordinator.presenceOf(bert.clientId), 'unconfirmed');
  assert.equal(rig.coordinator.presenceOf(carl.clientId), 'offline');
  const back = await rig.login('anna', { login: { known: [{ network, revision }] } });
  assert.ok(presences(back).includes(`${bert.clientId} unconfirmed`));
  await rig.advance(60_000);
  assert.equal(presences(back).at(-1), `${bert.clientId} offline`);
});

test('an operator removes a client: it is told, its networks pass on or end, its identity is unknown', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const shared = await anna.create('shared');
  const solo = await anna.create('solo');
  const bert = await rig.login('bert');
  await bert.joined('shared');
  const other = await bert.create('other');
  await anna.joined('other');
  bert.clear();
  const id = anna.clientId;
  await rig.coordinator.operate(rig.now, (tx, context) => removeClient(tx, context, id));
  assert.equal(anna.refusal, 'client-removed');
  assert.equal(anna.closedWith, 1008);
  const facts = bert.all('delta').flatMap((delta) => delta.changes);
  assert.ok(facts.some((change) => change.op === 'facts' && change.facts.owner === bert.clientId));
  assert.equal(facts.filter((change) => change.op === 'gone').length, 2);
  const left = await rig.store.db.selectFrom('networks').select('network_id').execute();
  assert.deepEqual(left.map((row) => row.network_id).sort(), [shared, other].sort());
  assert.ok(!left.some((row) => row.network_id === solo));
  const again = await rig.login('anna');
  assert.notEqual(again.clientId, id, 'enrolled anew');
  await assert.rejects(
    rig.coordinator.operate(rig.now, (tx, context) => removeClient(tx, context, id)),
    { code: 'client-not-found' },
  );
});

test('a request beyond the bound of one connection is refused, not queued', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const work = Array.from({ length: 100 }, (_, i) =>
    rig.coordinator.message(
      anna.session,
      { t: 'request', id: 10_000 + i, operation: { op: 'admission', name: 'none' } },
      rig.now,
    ),
  );
  await Promise.all(work);
  const codes = anna.all('response').map(({ result }) => (result.ok ? 'ok' : result.error.code));
  assert.equal(codes.filter((code) => code === 'rate-limited').length, 36);
  assert.equal(codes.filter((code) => code === 'network-not-found').length, 64);
});

test('who floods with changes waits and is then refused, over whatever connection; others are served', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  await anna.create('lan');
  const bert = await rig.login('bert');
  await bert.joined('lan');
  const nick = (i: number) => ({ op: 'set-nick', nick: `name ${i}` }) as const;
  for (let i = 0; i < changes.burst - 1; i++) await anna.granted(nick(i));
  assert.equal(anna.pausedMs, 0);
  await anna.granted(nick(-1));
  assert.equal(anna.pausedMs, changes.intervalMs, 'what is a little early is done, and waited for');
  const codes = await Promise.all(Array.from({ length: 60 }, (_, i) => anna.request(nick(i))));
  const granted = codes.filter((result) => result.ok).length;
  assert.equal(granted, maxChangeDelayMs / changes.intervalMs - 1);
  const again = await rig.login('anna');
  assert.equal(await again.refused(nick(1)), 'rate-limited', 'a new connection is no new burst');
  await bert.granted(nick(2));
  await again.granted({ op: 'admission', name: 'lan' });
  rig.nowMs += changes.intervalMs;
  await again.granted(nick(3));
});

test('who asks for views without end is told to come back later', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  const most = resyncs.burst + maxChangeDelayMs / resyncs.intervalMs;
  for (let i = 0; i < most; i++) await anna.send({ t: 'resync', network });
  assert.equal(anna.closedWith, undefined);
  await anna.send({ t: 'resync', network });
  assert.equal(anna.refusal, 'rate-limited');
  assert.ok(anna.last('refused').retryAfterMs! > maxChangeDelayMs);
});

test('when the database fails nothing is acknowledged and the client is told', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna');
  const network = await anna.create('lan');
  anna.clear();
  const { sql } = await import('kysely');
  const [breaks, mends] =
    rig.store.kind === 'sqlite'
      ? [
          "create trigger broken before update on networks begin select raise(rollback, 'no disk'); end",
          'drop trigger broken',
        ]
      : [
          'alter table networks add constraint broken check (locked = 0)',
          'alter table networks drop constraint broken',
        ];
  await sql.raw(breaks).execute(rig.store.db);
  assert.equal(await anna.refused({ op: 'set-access', network, locked: true }), 'server-storage');
  assert.deepEqual(anna.all('delta'), []);
  assert.ok(rig.failures.length > 0, 'the operator is told as well');
  await sql.raw(mends).execute(rig.store.db);
  await anna.granted({ op: 'set-access', network, locked: true });
});
