/** Tickets that are stolen, foreign, expired or revoked, against relays on real sockets and the real server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseServerUrl } from '#client/server-url.ts';
import { generateKeyPair } from '#core/noise/handshake-state.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Relay } from '#relay/relay.ts';
import { clientNumber } from '#wire/client-number.ts';
import type { ServerMessage } from '#wire/control.ts';
import { decodeRelay, sealRelay } from '#wire/relay.ts';
import { type RelayEntry, relayCapability } from '#wire/relay-control.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { type Credentials, Issuer } from '../support/relay-rig.ts';
import {
  bare,
  type RelayClient,
  Served,
  soon,
  UdpClient,
  WebSocketClient,
} from '../support/served-relay.ts';
import { ServerProcess } from '../support/server-process.ts';

/** How soon after it was decided nothing may pass any more. */
const revokedWithinMs = 1000;

/** How a relay answers an allocate that it has the proof of the address for; undefined: not at all. No answer is longer than its request. */
async function verdictOn(client: RelayClient, { ticket, key }: Credentials) {
  const request = {
    type: 'allocate',
    ...{ transaction: crypto.random(12), time: Date.now(), ticket },
  } as const;
  let sent = sealRelay(crypto, key, request);
  client.send(sent);
  let [bytes] = await answersOf(client);
  assert.ok((bytes?.length ?? 0) <= sent.length);
  const answer = bytes && decodeRelay(bytes);
  if (answer?.type === 'challenge') {
    sent = sealRelay(crypto, key, { ...request, cookie: answer.cookie });
    client.send(sent);
    [bytes] = await answersOf(client);
    assert.ok((bytes?.length ?? 0) <= sent.length);
  }
  const verdict = bytes && decodeRelay(bytes);
  return verdict?.type === 'error' ? verdict.code : verdict?.type;
}

async function answersOf(client: RelayClient): Promise<Buffer[]> {
  for (let i = 0; i < 30 && client.received.length === 0; i++) await sleep(10);
  return client.received.splice(0);
}

test('tickets that are foreign, expired, early, damaged or without their key get nobody in', async () => {
  await using served = new Served();
  const port = await served.listen();
  const mine = served.ticket(1);
  await using anna = await new UdpClient(served.udp).join(mine);
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  const { relay } = served.issuer;
  const damaged = mine.ticket.slice();
  damaged[damaged.length >> 1]! ^= 1;
  const hour = 3_600_000;
  const wrong: readonly (readonly [string, Credentials, string | undefined])[] = [
    ['of another cluster', new Issuer(relay).issue(1, soon), 'bad-ticket'],
    [
      'for another relay',
      served.ticket(1, { relayKey: generateKeyPair(crypto).publicKey }),
      'bad-ticket',
    ],
    ['expired', served.ticket(1, { notAfter: Date.now() - 1 }), 'expired-ticket'],
    ['of tomorrow', served.ticket(1, { notBefore: Date.now() + hour }), 'expired-ticket'],
    ['damaged', { ...mine, ticket: damaged }, 'bad-ticket'],
    ['cut off', { ...mine, ticket: mine.ticket.subarray(0, -1) }, 'bad-ticket'],
    ['stolen without its key', { ...mine, key: crypto.random(32) }, undefined],
    ['stolen, with the key of another one', { ...mine, key: served.ticket(3).key }, undefined],
  ];
  for (const [name, credentials, expected] of wrong) {
    await using thief = new UdpClient(served.udp);
    assert.equal(await verdictOn(thief, credentials), expected, `${name}, by UDP`);
    await using other = await WebSocketClient.open(port);
    assert.equal(await verdictOn(other, credentials), expected, `${name}, by WebSocket`);
  }
  anna.data(2, bare('a'));
  assert.deepEqual(await bert.next('data'), bare('a'));
});

/** A member's relay: its owner's control connection, and the real relay on loopback. */
async function volunteer(url: string, owner: ControlClient) {
  const keys = generateKeyPair(crypto);
  const { clusterKey } = parseServerUrl(url);
  const relay = new Relay({ crypto, clusterKey: clusterKey!, keys });
  const port = relay.listenUdp('127.0.0.1', 0);
  const offer = {
    ...{ relayKey: keys.publicKey, udp: [`0.0.0.0:${port}`], ws: [] },
    capacity: { allocations: 10, bytesPerSecond: 1e9 },
  };
  owner.send({ t: 'relay-offer', offer });
  const isListed = (message: ServerMessage) =>
    message.t === 'relay-state' && message.state === 'listed';
  await owner.next(isListed, 'being listed');
  let at = 0;
  const hear = setInterval(() => {
    for (; at < owner.received.length; at++) {
      const message = owner.received[at]!;
      if (message.t === 'relay-revoke') relay.revoke(message.revoked);
    }
  }, 5);
  return {
    relay,
    port,
    async [Symbol.asyncDispose]() {
      clearInterval(hear);
      await relay.close(0);
    },
  };
}

const credentialsOf = ({ clientId }: ControlClient, { ticket, key }: RelayEntry): Credentials => ({
  ...{ client: clientNumber(clientId)!, ticket, key },
});

const entryOf = async (client: ControlClient): Promise<RelayEntry> => {
  const isListed = (message: ServerMessage) =>
    message.t === 'relays' && message.relays.some(({ kind }) => kind === 'volunteer');
  await client.next(isListed, 'the relay');
  return client.last('relays')!.relays.find(({ kind }) => kind === 'volunteer')!;
};

/** Data every 20 ms until nothing has come for a while; how long after now the last one came. */
async function lastedMs(from: RelayClient, to: RelayClient, client: number): Promise<number> {
  const began = performance.now();
  let lastAt = began;
  while (performance.now() - lastAt < 2 * revokedWithinMs) {
    from.data(client, bare('x'));
    await sleep(20);
    if (to.received.splice(0).length > 0) lastAt = performance.now();
    assert.ok(performance.now() - began < 10_000, 'it goes on and on');
  }
  return lastAt - began;
}

for (const how of ['evicted', 'removed'] as const) {
  test(`who is ${how} is off a member's relay within a second, and its unexpired ticket is void`, async () => {
    await using server = await ServerProcess.start({
      args: ['--enrol', 'open', '--roles', 'control,stun'],
    });
    const arrive = (nick: string) =>
      ControlClient.login({
        ...{ url: server.url, keys: new DeviceKeys(`${how} ${nick}`) },
        capabilities: [relayCapability],
      });
    await using owner = await arrive('owner');
    await using anna = await arrive('anna');
    await using bert = await arrive('bert');
    await using outsider = await arrive('outsider');
    const network = await owner.create('home');
    for (const member of [anna, bert]) assert.ok((await member.join('home')).ok);
    await outsider.create('elsewhere');
    await using served = await volunteer(server.url, owner);
    const [annas, berts] = [await entryOf(anna), await entryOf(bert)];
    const stolen = credentialsOf(anna, annas);
    const hers = await new UdpClient(served.port).join(stolen);
    await using his = await new UdpClient(served.port).join(credentialsOf(bert, berts));
    hers.data(clientNumber(bert.clientId)!, bare('a'));
    assert.deepEqual(await his.next('data'), bare('a'));
    assert.deepEqual(outsider.last('relays')?.relays ?? [], [], 'others are not told of it');

    if (how === 'removed') await server.operate('remove', anna.clientId);
    else await owner.granted({ op: 'evict', network, clientId: anna.clientId });
    const ms = await lastedMs(hers, his, clientNumber(bert.clientId)!);
    assert.ok(ms < revokedWithinMs, `${ms.toFixed()} ms`);
    hers.received.length = 0;
    assert.equal(await verdictOn(hers, stolen), 'revoked-ticket');
    if (how === 'evicted') {
      const isEmpty = () => anna.last('relays')?.relays.length === 0;
      await anna.next(isEmpty, 'a list without it');
    }
    // The others stay.
    assert.equal(await verdictOn(his, credentialsOf(bert, berts)), 'allocated');
    await hers[Symbol.asyncDispose]();
  });
}

test('a ticket that was stolen with its key moves the allocation, and the owner moves it back', async () => {
  await using served = new Served();
  const mine = served.ticket(1);
  await using anna = await new UdpClient(served.udp).join(mine);
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using thief = await new UdpClient(served.udp).join(mine);
  bert.data(1, bare('b'));
  assert.deepEqual(await thief.next('what is sealed for somebody else'), bare('b'));
  // The owner's next refresh says so, and it allocates again.
  const refresh = {
    type: 'refresh',
    ...{ token: anna.token, transaction: crypto.random(12), time: Date.now() },
  } as const;
  const answer = await anna.ask(sealRelay(crypto, mine.key, refresh));
  assert.equal(answer.type === 'error' && answer.code, 'unknown-token');
  await anna.join(mine);
  bert.data(1, bare('c'));
  assert.deepEqual(await anna.next('its data again'), bare('c'));
  assert.equal(thief.received.length, 0);
  // What is sent with the token that was, from wherever it was, reaches nobody.
  thief.data(2, bare('t'));
  anna.data(2, bare('a'));
  assert.deepEqual(await bert.next('data'), bare('a'));
});
