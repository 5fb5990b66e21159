/** Relays, tickets and lists under virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTicketKey } from '#core/relay/ticket-key.ts';
import { monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { maxTicketBytes } from '#wire/relay.ts';
import { openDocument } from '#wire/signed.ts';
import {
  CoordinatorRig,
  type RigClient,
  relayOffer,
  relaySeed,
} from '../../../../test/support/coordinator-rig.ts';
import { removeClient } from '../../admin/actions.ts';
import { listRelays, removeRelay } from '../../admin/relays.ts';
import { relayListDelayMs, relayListsPerTurn, relayTicketLifetimeMs } from '../limits.ts';
import { relayIdOf } from './registry.ts';
import { relayRows } from './relay-store.ts';
import { issueTicket } from './tickets.ts';

const idOf = (name: string) => relayIdOf(crypto, relayOffer(name).relayKey);
const kindsAndIds = (client: RigClient) =>
  client.last('relays').relays.map(({ kind, id }) => [kind, id]);
const soon = relayListDelayMs + 100;
const listener = { relays: true };

async function listed(rig: CoordinatorRig, name = 'r1'): Promise<RigClient> {
  const relay = await rig.relay(name, { token: await rig.token(1, null, 'relay') });
  assert.equal(relay.refusal, undefined);
  return relay;
}

/** What the checker would answer. */
function answer(rig: CoordinatorRig, reachable: boolean): void {
  const check = rig.checks.at(-1);
  assert.ok(check);
  const unreachable = reachable ? [] : check.targets.map(({ listed }) => listed);
  rig.coordinator.relayChecked(check.relay, check.generation, unreachable, rig.now);
}

function ticketOf(rig: CoordinatorRig, client: RigClient, id: string) {
  const entry = client.last('relays').relays.find((relay) => relay.id === id);
  assert.ok(entry, `${client.name} is told of ${id}`);
  const ticket = openDocument('relay-ticket', entry.ticket, (message, signature) =>
    crypto.ed25519Verify(rig.clusterKey, message, signature),
  );
  assert.ok(ticket);
  return { entry, ticket };
}

test('a client that knows of relays is told of them with the welcome, and of none too', async () => {
  await using rig = await CoordinatorRig.open();
  const anna = await rig.login('anna', listener);
  assert.deepEqual(anna.last('relays').relays, []);
  assert.equal(anna.received[1]?.t, 'relays', 'straight after the welcome');
  const bert = await rig.login('bert');
  await listed(rig);
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), [['standalone', idOf('r1')]]);
  assert.deepEqual(bert.all('relays'), [], 'who has not the capability is not told');
});

test('a ticket names client, relay and limits, and its key opens for the relay alone', async () => {
  const relayLimits = { bytesPerSecond: 5_000_000, packetsPerSecond: 777 };
  await using rig = await CoordinatorRig.open({ relayLimits });
  await listed(rig);
  const anna = await rig.login('anna', listener);
  const id = idOf('r1');
  const { entry, ticket } = ticketOf(rig, anna, id);
  assert.deepEqual(entry.udp, ['192.0.2.9:3480'], 'where the relay connects from');
  assert.equal(ticket.relay, id);
  assert.equal(ticket.clientId, anna.clientId);
  assert.equal(ticket.notAfter, rig.now.wall + relayTicketLifetimeMs);
  assert.equal(ticket.bytesPerSecond, 1_000_000, "no more than the relay's own");
  assert.equal(ticket.packetsPerSecond, 777);
  const privateKey = relaySeed('r1');
  const pair = { privateKey, publicKey: crypto.x25519PublicKey(privateKey) };
  assert.deepEqual(openTicketKey(crypto, pair, ticket.sealedKey), entry.key);
});

test('tickets are renewed at half of their life, with a higher serial and another key', async () => {
  await using rig = await CoordinatorRig.open();
  await listed(rig);
  const anna = await rig.login('anna', listener);
  const before = ticketOf(rig, anna, idOf('r1'));
  anna.clear();
  await rig.advance(relayTicketLifetimeMs * 0.44);
  assert.deepEqual(anna.all('relays'), []);
  await rig.advance(relayTicketLifetimeMs * 0.07);
  const after = ticketOf(rig, anna, idOf('r1'));
  assert.equal(anna.all('relays').length, 1);
  assert.ok(after.ticket.serial > before.ticket.serial);
  assert.notDeepEqual(after.entry.key, before.entry.key);
});

test('a relay enrols with a token for relays, once; a token for devices is none', async () => {
  await using rig = await CoordinatorRig.open();
  assert.equal((await rig.relay('r1')).refusal, 'token-required');
  const forDevices = await rig.token(1);
  assert.equal((await rig.relay('r1', { token: forDevices })).refusal, 'token-invalid');
  const token = await rig.token(1, null, 'relay');
  const anna = await rig.login('anna', { login: { token } });
  assert.ok(anna.welcome, 'open enrolment asks for none');
  const relay = await rig.relay('r1', { token });
  assert.equal(relay.last('relay-state').state, 'listed');
  assert.ok(relay.last('relay-state').nodeList, 'where else it may log in');
  await relay.lose();
  assert.equal((await rig.relay('r1')).refusal, undefined, 'who is known needs none');
  assert.equal((await rig.relay('r2', { token })).refusal, 'token-used-up');
  assert.deepEqual(rig.failures, []);
});

test('nobody enrols a device with a token for relays', async () => {
  await using rig = await CoordinatorRig.open({ enrol: 'token' });
  const token = await rig.token(1, null, 'relay');
  assert.equal((await rig.login('anna', { login: { token } })).refusal, 'token-invalid');
});

test("a relay's key must be the connection's, and a key; a copy of a relay is refused", async () => {
  await using rig = await CoordinatorRig.open();
  const token = await rig.token(null, null, 'relay');
  const stolen = await rig.relay('r1', { token, controlKey: new Uint8Array(32).fill(1) });
  assert.equal(stolen.refusal, 'relay-invalid');
  const offer = { ...relayOffer('r1'), relayKey: new Uint8Array(32) };
  assert.equal((await rig.relay('r1', { token, offer })).refusal, 'relay-invalid');
  const first = await rig.relay('r1', { token });
  const copy = await rig.relay('r1', { instance: new Uint8Array(16).fill(1) });
  assert.equal(copy.refusal, 'relay-in-use');
  assert.equal(first.closedWith, undefined);
  const again = await rig.relay('r1');
  assert.equal(again.refusal, undefined, 'the same daemon comes back');
  assert.equal(first.closedWith, 4001);
});

test('a relay that is lost leaves the lists after the grace period, one that says goodbye at once', async () => {
  await using rig = await CoordinatorRig.open();
  let relay = await listed(rig);
  const anna = await rig.login('anna', listener);
  await relay.lose();
  await rig.advance(59_000);
  assert.equal(kindsAndIds(anna).length, 1);
  relay = await rig.relay('r1');
  await rig.advance(70_000);
  assert.equal(kindsAndIds(anna).length, 1, 'it came back in time');
  relay.pongs = false;
  await rig.advance(30_000);
  assert.equal(relay.closedWith, 1001, 'it answers no ping');
  await rig.advance(60_000 + soon);
  assert.deepEqual(kindsAndIds(anna), []);
  relay = await rig.relay('r1');
  await rig.advance(soon);
  assert.equal(kindsAndIds(anna).length, 1);
  await relay.send({ t: 'logout' });
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
});

test('after a restart of the server relays are listed until the grace period is over', async () => {
  await using rig = await CoordinatorRig.open();
  await listed(rig);
  await rig.restart();
  const anna = await rig.login('anna', listener);
  assert.deepEqual(kindsAndIds(anna), [['standalone', idOf('r1')]]);
  await rig.advance(60_000 + soon);
  assert.deepEqual(kindsAndIds(anna), []);
  assert.equal(listRelays(await relayRows(rig.store.db), [])[0]?.state, 'offline');
});

test('a relay in the same process is listed first; it hears of revocations', async () => {
  await using rig = await CoordinatorRig.open();
  await listed(rig);
  const anna = await rig.login('anna', listener);
  const heard: string[] = [];
  const withdraw = rig.coordinator.registerRelay(
    {
      ...{ id: 'node-1', software: 'rig', offer: relayOffer('own') },
      revoke: (revoked) => heard.push(...revoked.map(({ clientId }) => clientId)),
    },
    rig.now,
  );
  await rig.advance(soon);
  assert.deepEqual(
    kindsAndIds(anna).map(([kind]) => kind),
    ['server', 'standalone'],
  );
  const { clientId } = anna;
  await rig.coordinator.operate(rig.now, (tx, context) => removeClient(tx, context, clientId));
  assert.deepEqual(heard, [clientId]);
  withdraw();
  const bert = await rig.login('bert', listener);
  assert.deepEqual(kindsAndIds(bert), [['standalone', idOf('r1')]]);
});

test('a removed client is told to every relay, also to one that comes later, above its last ticket', async () => {
  await using rig = await CoordinatorRig.open();
  const relay = await listed(rig);
  const anna = await rig.login('anna', listener);
  const { serial } = ticketOf(rig, anna, idOf('r1')).ticket;
  const { clientId } = anna;
  await rig.coordinator.operate(rig.now, (tx, context) => removeClient(tx, context, clientId));
  const [revoked] = relay.last('relay-revoke').revoked;
  assert.equal(revoked?.clientId, clientId);
  assert.ok(revoked.serial > serial);
  const late = await listed(rig, 'r2');
  assert.deepEqual(late.last('relay-revoke').revoked, [revoked]);
  await rig.restart();
  const after = await rig.relay('r1');
  assert.deepEqual(after.last('relay-revoke').revoked, [revoked], 'it is on the disk');
});

/** Anna and Bert in a network, Carl in none; Bert volunteers and is reachable. */
async function volunteering(rig: CoordinatorRig) {
  const anna = await rig.login('anna', listener);
  const network = await anna.create('lan');
  const bert = await rig.login('bert', { ...listener, address: '192.0.2.77' });
  await bert.joined('lan');
  const carl = await rig.login('carl', listener);
  await bert.send({ t: 'relay-offer', offer: relayOffer('bert') });
  return { anna, bert, carl, network };
}

test('a volunteer is listed when it answers, to members of common networks only', async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert, carl } = await volunteering(rig);
  assert.equal(bert.last('relay-state').state, 'checking');
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), [], 'not before it has answered');
  assert.deepEqual(rig.checks.at(-1)?.targets, [
    { listed: '192.0.2.77:3480', ask: '192.0.2.77:3480' },
  ]);
  answer(rig, true);
  await rig.advance(soon);
  assert.equal(bert.last('relay-state').state, 'listed');
  assert.deepEqual(kindsAndIds(anna), [['volunteer', idOf('bert')]]);
  assert.deepEqual(kindsAndIds(bert), [['volunteer', idOf('bert')]], 'its own member as well');
  assert.deepEqual(kindsAndIds(carl), []);
  await carl.joined('lan');
  await rig.advance(soon);
  assert.equal(kindsAndIds(carl).length, 1, 'who comes into the network is told');
  await bert.send({ t: 'relay-offer' });
  await rig.advance(soon);
  for (const client of [anna, bert, carl]) assert.deepEqual(kindsAndIds(client), []);
});

test('a volunteer that does not answer is not listed; one that falls silent leaves after two checks', async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert } = await volunteering(rig);
  answer(rig, false);
  assert.equal(bert.last('relay-state').state, 'unreachable');
  await rig.advance(31_000);
  assert.equal(rig.checks.length, 2, 'it is asked again soon');
  answer(rig, true);
  await rig.advance(soon);
  assert.equal(kindsAndIds(anna).length, 1);
  await rig.advance(301_000);
  answer(rig, false);
  await rig.advance(soon);
  assert.equal(kindsAndIds(anna).length, 1, 'once may be bad luck');
  await rig.advance(31_000);
  answer(rig, false);
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
});

test('an answer to a check of an earlier offer, or of no relay, says nothing', async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert } = await volunteering(rig);
  const [first] = rig.checks;
  await bert.send({ t: 'relay-offer', offer: relayOffer('bert', ['0.0.0.0:9999']) });
  rig.coordinator.relayChecked(first!.relay, first!.generation, [], rig.now);
  rig.coordinator.relayChecked('r-nobody', 1, [], rig.now);
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
});

test("a member cannot name a victim, nor more than fits, nor another's key, nor offer without end", async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert } = await volunteering(rig);
  answer(rig, true);
  const asked = rig.checks.length;
  const victims = ['198.51.100.1:53', '198.51.100.2:53'];
  await anna.send({ t: 'relay-offer', offer: relayOffer('anna', victims) });
  const refused = anna.last('relay-state');
  assert.equal(refused.state, 'refused');
  assert.deepEqual(refused.unreachable, victims);
  assert.equal(rig.checks.length, asked, 'the victim is not even asked');
  const mixed = [...victims, '0.0.0.0:3480'];
  await anna.send({ t: 'relay-offer', offer: relayOffer('anna', mixed) });
  assert.deepEqual(rig.checks.at(-1)?.targets, [
    { listed: '192.0.2.1:3480', ask: '192.0.2.1:3480' },
  ]);
  await anna.send({ t: 'relay-offer', offer: relayOffer('bert') });
  assert.match(anna.last('relay-state').reason ?? '', /same key/);
  const flood = rig.checks.length;
  for (let i = 0; i < 1000; i++)
    await anna.send({ t: 'relay-offer', offer: relayOffer(`anna ${i}`) });
  assert.ok(rig.checks.length - flood <= 5);
  assert.match(anna.last('relay-state').reason ?? '', /too many/);
  assert.equal([...rig.coordinator.relays].length, 2, 'one a member');
  assert.equal(bert.last('relay-state').state, 'listed');
});

test('who is evicted loses the volunteers of the network, and they lose its tickets', async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert, carl, network } = await volunteering(rig);
  answer(rig, true);
  await carl.joined('lan');
  await rig.advance(soon);
  const { serial } = ticketOf(rig, carl, idOf('bert')).ticket;
  const { clientId } = carl;
  await anna.granted({ op: 'evict', network, clientId });
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(carl), []);
  const [revoked] = bert.last('relay-revoke').revoked;
  assert.equal(revoked?.clientId, clientId);
  assert.ok(revoked.serial > serial);
  await carl.joined('lan');
  await rig.advance(soon);
  assert.ok(ticketOf(rig, carl, idOf('bert')).ticket.serial > revoked.serial, 'a new one is good');
});

test('who is evicted while offline is told to the volunteers too', async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert, carl, network } = await volunteering(rig);
  answer(rig, true);
  await carl.joined('lan');
  await rig.advance(soon);
  const { clientId } = carl;
  await carl.lose();
  await rig.advance(120_000);
  await anna.granted({ op: 'evict', network, clientId });
  assert.equal(bert.last('relay-revoke').revoked[0]?.clientId, clientId);
});

test('a volunteer goes with its member, and stays for the grace period', async () => {
  await using rig = await CoordinatorRig.open();
  const { anna, bert } = await volunteering(rig);
  answer(rig, true);
  await rig.advance(soon);
  await bert.lose();
  await rig.advance(59_000);
  assert.equal(kindsAndIds(anna).length, 1);
  const back = await rig.login('bert', { ...listener, address: '192.0.2.77' });
  await back.send({ t: 'relay-offer', offer: relayOffer('bert') });
  assert.equal(back.last('relay-state').state, 'listed', 'it is known');
  await rig.advance(soon);
  await back.send({ t: 'logout' });
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
  assert.deepEqual(await relayRows(rig.store.db), []);
});

test('the operator removes a relay: it is told, it leaves the lists, it needs a token again', async () => {
  await using rig = await CoordinatorRig.open();
  const relay = await listed(rig);
  const anna = await rig.login('anna', listener);
  const id = idOf('r1');
  const [entry] = listRelays(await relayRows(rig.store.db), rig.coordinator.relays);
  assert.deepEqual([entry?.id, entry?.state, entry?.kind], [id, 'listed', 'standalone']);
  await rig.coordinator.operate(rig.now, (tx) => removeRelay(tx, id));
  assert.equal(relay.refusal, 'relay-removed');
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
  assert.equal((await rig.relay('r1')).refusal, 'token-required');
  await assert.rejects(
    rig.coordinator.operate(rig.now, (tx) => removeRelay(tx, id)),
    /relay-not|no relay/,
  );
});

test('a relay that changes its addresses is listed with the new ones', async () => {
  await using rig = await CoordinatorRig.open();
  const relay = await listed(rig);
  const anna = await rig.login('anna', listener);
  await relay.send({ t: 'relay-offer', offer: relayOffer('r1', ['192.0.2.200:5']) });
  await rig.advance(soon);
  assert.deepEqual(ticketOf(rig, anna, idOf('r1')).entry.udp, ['192.0.2.200:5']);
  await relay.send({ t: 'relay-offer', offer: relayOffer('other') });
  assert.equal(relay.refusal, 'relay-invalid', 'but not its key');
});

test('a relay that takes its offer back and makes it again is listed, and hears of revocations', async () => {
  await using rig = await CoordinatorRig.open();
  const relay = await listed(rig);
  const anna = await rig.login('anna', listener);
  await relay.send({ t: 'relay-offer' });
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
  await relay.send({ t: 'relay-offer', offer: relayOffer('r1') });
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), [['standalone', idOf('r1')]]);
  const { clientId } = anna;
  await rig.coordinator.operate(rig.now, (tx, context) => removeClient(tx, context, clientId));
  assert.equal(relay.last('relay-revoke').revoked[0]?.clientId, clientId);
});

test('many clients are told of a new relay a few at a time', async () => {
  await using rig = await CoordinatorRig.open();
  const clients: RigClient[] = [];
  for (let i = 0; i < 100; i++) clients.push(await rig.login(`client ${i}`, listener));
  await listed(rig);
  const told = () => clients.filter((client) => kindsAndIds(client).length === 1).length;
  await rig.advance(relayListDelayMs + 1);
  assert.equal(told(), relayListsPerTurn);
  await rig.advance(1_000);
  assert.equal(told(), clients.length);
});

test('the largest ticket fits the datagram', () => {
  const { ticket } = issueTicket(
    crypto,
    (message) => crypto.ed25519Sign(new Uint8Array(32).fill(1), message),
    { id: 'x'.repeat(64), relayKey: relayOffer('r1').relayKey },
    { clientId: '999-999-999', identity: new Uint8Array(32) },
    {
      now: { monotonic: monotonicMs(1), wall: wallMs(253_402_300_799_999) },
      serial: Number.MAX_SAFE_INTEGER,
      bytesPerSecond: Number.MAX_SAFE_INTEGER,
      packetsPerSecond: Number.MAX_SAFE_INTEGER,
    },
  )!;
  assert.ok(ticket.length <= maxTicketBytes, `${ticket.length}`);
});

test('a volunteer that does not come back with its member after a restart leaves the lists', async () => {
  await using rig = await CoordinatorRig.open();
  await volunteering(rig);
  answer(rig, true);
  await rig.restart();
  const anna = await rig.login('anna', listener);
  await rig.login('bert', { ...listener, address: '192.0.2.77' });
  await rig.advance(soon);
  assert.equal(kindsAndIds(anna).length, 1, 'its member is there');
  for (let i = 0; i < 2; i++) {
    await rig.advance(31_000);
    answer(rig, false);
  }
  await rig.advance(soon);
  assert.deepEqual(kindsAndIds(anna), []);
});
