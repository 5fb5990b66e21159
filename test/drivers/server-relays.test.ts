/** Relays against the real server process: enrolment, the check of their addresses, lists, operators' verbs. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { openTicketKey } from '#core/relay/ticket-key.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { createLog } from '#server/log.ts';
import { Server } from '#server/server.ts';
import type { ServerMessageOf } from '#wire/control.ts';
import { decodeRelay, encodePlainRelay, relayMacIsValid, sealRelay } from '#wire/relay.ts';
import { relayCapability } from '#wire/relay-control.ts';
import { peekDocument } from '#wire/signed.ts';
import { ControlClient, DeviceKeys } from '../support/control-client.ts';
import { buri, ServerProcess, temporaryDirectory } from '../support/server-process.ts';

let server: ServerProcess;
before(async () => {
  server = await ServerProcess.start({
    args: ['--relay-client-rate', '8M,500', '--roles', 'control,stun'],
  });
});
after(() => server[Symbol.asyncDispose]());

/** As much of a relay as a check needs; counts what it gets. */
class FakeRelay implements AsyncDisposable {
  readonly socket: Socket = createSocket('udp4');
  readonly keys: DeviceKeys;
  datagrams = 0;
  bytes = 0;
  released = 0;
  answers = true;

  constructor(name: string) {
    this.keys = new DeviceKeys(name);
    this.socket.on('message', (bytes, { port, address }) => {
      this.datagrams++;
      this.bytes += bytes.length;
      const answer = this.answers ? this.#answer(bytes) : undefined;
      if (answer !== undefined) this.socket.send(answer, port, address);
    });
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.socket.bind(0, '127.0.0.1', resolve));
    return this.socket.address().port;
  }

  #answer(bytes: Uint8Array): Uint8Array | undefined {
    const message = decodeRelay(bytes);
    if (message?.type === 'release') this.released++;
    if (message?.type !== 'allocate') return undefined;
    const { transaction } = message;
    const cookie = new Uint8Array(16).fill(1);
    if (message.cookie === undefined)
      return encodePlainRelay({ type: 'challenge', transaction, cookie });
    const ticket = peekDocument('relay-ticket', message.ticket);
    const key = ticket && openTicketKey(crypto, this.keys.control, ticket.sealedKey);
    if (key === undefined || !relayMacIsValid(crypto, key, bytes)) return undefined;
    return sealRelay(crypto, key, {
      ...{ type: 'allocated', transaction, token: 1n, lifetimeSeconds: 90 },
      observed: { address: '127.0.0.1', port: 1 },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.socket.close(() => resolve()));
  }
}

const offerOf = (relay: FakeRelay, udp: string[]) => ({
  relayKey: relay.keys.control.publicKey,
  ...{ udp, ws: [] },
  capacity: { allocations: 10, bytesPerSecond: 1e9 },
});

async function loggedIn(relay: FakeRelay, udp: string[], token?: string): Promise<ControlClient> {
  const client = await ControlClient.connect({ url: server.url, keys: relay.keys });
  const instance = new Uint8Array(16);
  const given = token === undefined ? {} : { token };
  const offer = offerOf(relay, udp);
  client.send({ t: 'relay-login', offer, instance, software: 'fake', ...given });
  await client.next(({ t }) => t === 'relay-state' || t === 'refused', 'an answer');
  return client;
}

const listener = (name: string, token?: string) =>
  ControlClient.login({
    ...{ url: server.url, keys: new DeviceKeys(name), capabilities: [relayCapability] },
    ...(token === undefined ? {} : { login: { token } }),
  });

test('a standalone relay enrols, is asked where it says it is, and listed to clients until it goes', async () => {
  await using relay = new FakeRelay('alone');
  const port = await relay.listen();
  const made = await server.operate('token', 'create', '--relay');
  assert.equal(made.kind, 'relay');
  await using anna = await listener('anna', await server.token());
  const control = await loggedIn(relay, [`0.0.0.0:${port}`, '127.0.0.1:9'], made.token as string);
  const state = await control.next<ServerMessageOf<'relay-state'>>(
    (message) => message.t === 'relay-state' && message.unreachable.length > 0,
    'what did not answer',
  );
  assert.deepEqual([state.state, state.unreachable], ['listed', ['127.0.0.1:9']]);
  assert.equal(relay.released, 1);
  const { relays } = await anna.next<ServerMessageOf<'relays'>>(
    (message) => message.t === 'relays' && message.relays.length > 0,
    'the relay',
  );
  const ticket = peekDocument('relay-ticket', relays[0]!.ticket);
  assert.equal(ticket?.bytesPerSecond, 1_000_000);
  assert.equal(ticket?.packetsPerSecond, 500);
  assert.deepEqual(openTicketKey(crypto, relay.keys.control, ticket!.sealedKey), relays[0]!.key);
  const listed = (await server.operate('relays')) as { relays: Record<string, unknown>[] };
  assert.deepEqual(
    listed.relays.map(({ id, state, kind, unreachable }) => [id, state, kind, unreachable]),
    [[state.id, 'listed', 'standalone', ['127.0.0.1:9']]],
  );
  control.send({ t: 'logout' });
  await anna.next(
    (message) => message.t === 'relays' && anna.last('relays')?.relays.length === 0,
    'an empty list',
  );
  await server.operate('remove', state.id);
  assert.deepEqual((await server.operate('relays')).relays, []);
});

test('a volunteer that does not answer costs its address three datagrams, and is not listed', async () => {
  await using silent = new FakeRelay('silent');
  silent.answers = false;
  const port = await silent.listen();
  await using bert = await listener('bert', await server.token());
  bert.send({ t: 'relay-offer', offer: offerOf(silent, [`127.0.0.1:${port}`]) });
  await bert.next(
    (message) => message.t === 'relay-state' && message.state === 'unreachable',
    'unreachable',
  );
  assert.deepEqual([silent.datagrams, silent.bytes], [3, 3 * 68]);
  assert.deepEqual(bert.last('relays')?.relays, []);
});

test("a member's relay that answers is listed; one with a key that is not its own is not", async () => {
  await using relay = new FakeRelay('member');
  const port = await relay.listen();
  await using carl = await listener('carl', await server.token());
  const stolen = { ...offerOf(relay, [`0.0.0.0:${port}`]) };
  stolen.relayKey = new DeviceKeys('somebody else').control.publicKey;
  carl.send({ t: 'relay-offer', offer: stolen });
  await carl.next(
    (message) => message.t === 'relay-state' && message.state === 'unreachable',
    'unreachable',
  );
  carl.send({ t: 'relay-offer', offer: offerOf(relay, [`0.0.0.0:${port}`]) });
  const { relays } = await carl.next<ServerMessageOf<'relays'>>(
    (message) => message.t === 'relays' && message.relays.length > 0,
    'its own relay',
  );
  assert.equal(relays[0]?.kind, 'volunteer');
  assert.deepEqual(relays[0]?.udp, [`0.0.0.0:${port}`]);
});

test('a relay without a token, or out of turn, is turned away', async () => {
  await using relay = new FakeRelay('stranger');
  const refused = await loggedIn(relay, ['0.0.0.0:1']);
  assert.equal(refused.last('refused')?.error.code, 'token-required');
  assert.equal(await refused.closed(), 1008);
  await using dora = await listener('dora', await server.token());
  const offer = offerOf(relay, ['0.0.0.0:1']);
  dora.send({ t: 'relay-login', offer, instance: new Uint8Array(16), software: 'x' });
  assert.equal(await dora.closed(), 1002);
});

test('rates are read as they are written', async () => {
  for (const rate of ['fast', '0M', '100', '1k', '10M,0']) {
    const { code } = await buri('server', '--data', server.data, '--relay-client-rate', rate);
    assert.equal(code, 2, rate);
  }
});

test("a relay in the server's process: its key is kept, clients hear of it, its WebSockets come to it", async () => {
  const data = temporaryDirectory('relay-host');
  const options = {
    ...{ data, listen: ['127.0.0.1:0'], stun: [], public: '127.0.0.1', enrol: 'open' as const },
    ...{ pool4: '100.64.0.0/10', graceMs: 1000, log: createLog('error') },
  };
  let key: Uint8Array | undefined;
  for (const round of [1, 2]) {
    await using inside = await Server.start(options);
    const host = inside.relayHost;
    key ??= host.keyPair.publicKey;
    assert.deepEqual(host.keyPair.publicKey, key, `round ${round}`);
    const withdraw = host.register({
      offer: {
        ...{ udp: ['0.0.0.0:3480'], ws: [...host.webSocketUrls] },
        capacity: { allocations: 10, bytesPerSecond: 1e9 },
      },
      ...{ revoke: () => {}, software: 'test' },
    });
    await using anna = await ControlClient.login({
      ...{ url: inside.url, keys: new DeviceKeys('anna'), capabilities: [relayCapability] },
    });
    const { relays } = await anna.next<ServerMessageOf<'relays'>>(({ t }) => t === 'relays');
    const [relay] = relays;
    assert.ok(relay);
    assert.deepEqual([relay.id, relay.kind, relay.udp], [host.id, 'server', ['0.0.0.0:3480']]);
    const ticket = peekDocument('relay-ticket', relay.ticket)!;
    assert.deepEqual(openTicketKey(crypto, host.keyPair, ticket.sealedKey), relay.key);
    const url = relay.ws[0]!;
    await assert.rejects(once(new WebSocket(url), 'open'), /404/, 'nobody takes it yet');
    const upgraded = Promise.withResolvers<string | undefined>();
    host.onUpgrade((request, socket) => {
      upgraded.resolve(request.url);
      socket.destroy();
    });
    await assert.rejects(once(new WebSocket(url), 'open'));
    assert.equal(await upgraded.promise, '/v1/relay');
    withdraw();
    await using bert = await ControlClient.login({
      ...{ url: inside.url, keys: new DeviceKeys('bert'), capabilities: [relayCapability] },
    });
    await bert.next(({ t }) => t === 'relays');
    assert.deepEqual(bert.last('relays')?.relays, []);
  }
  rmSync(data, { recursive: true, force: true });
});
