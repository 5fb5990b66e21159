/** Clients that are enrolled and mean harm, against a real server: what others neither hear of them nor they of others. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createConnection } from 'node:net';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { controlPath, type Operation, type ServerMessageOf } from '#wire/control.ts';
import {
  admissionFor,
  ControlClient,
  DeviceKeys,
  parseUrl,
  verifierFor,
} from '../support/control-client.ts';
import { ServerProcess } from '../support/server-process.ts';

const home = 'home';
const password = 'correct horse';
const mostGrowthBytes = 64 * 1024 * 1024;

let server: ServerProcess;
let network: string;
let anna: ControlClient;
let bert: ControlClient;
let mallory: ControlClient;

before(async () => {
  server = await ServerProcess.start({ args: ['--enrol', 'open', '--log-level', 'debug'] });
  const login = (name: string) =>
    ControlClient.login({ url: server.url, keys: new DeviceKeys(name) });
  [anna, bert, mallory] = [await login('anna'), await login('bert'), await login('mallory')];
  network = await anna.create(home, password);
  assert.ok((await bert.join(home, password)).ok);
  await mallory.create('of mallory');
});

after(async () => {
  for (const client of [anna, bert, mallory]) await client?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** Everything that anna has been sent up to now: an allowed signal sent after it has arrived. */
async function heardByAnna() {
  const mark = randomBytes(32);
  bert.send({ t: 'signal', to: anna.clientId, sealed: mark, punch: false });
  await anna.next(
    (message) => message.t === 'signal' && Buffer.from(message.sealed).equals(mark),
    'the signal of bert',
  );
  return anna.received.filter(
    ({ t }) => t === 'signal' || t === 'punch' || t === 'delta' || t === 'presence' || t === 'view',
  );
}

const isFrom = (client: ControlClient) => (message: { t: string }) =>
  message.t === 'signal' && (message as ServerMessageOf<'signal'>).from === client.clientId;

/** Sends a signal and waits for the answer that it was not delivered. */
async function undelivered(to: string): Promise<void> {
  const before = mallory.received.length;
  mallory.send({ t: 'signal', to, sealed: randomBytes(200), punch: true });
  await mallory.next(
    (message) =>
      mallory.received.indexOf(message) >= before &&
      message.t === 'undelivered' &&
      message.to === to,
    `a refusal to signal ${to}`,
  );
}

test('who shares no network with a client can neither signal to it nor learn that it exists', async () => {
  for (const to of [anna.clientId, bert.clientId, mallory.clientId, '999-999-999']) {
    await undelivered(to);
  }
  assert.ok(!(await heardByAnna()).some(isFrom(mallory)));
  assert.equal(mallory.last('punch'), undefined);
  const about = JSON.stringify(mallory.received.filter(({ t }) => t !== 'undelivered'));
  assert.ok(!about.includes(anna.clientId) && !about.includes(bert.clientId));
});

test('of a network that is not theirs strangers may know the salt and nothing else', async () => {
  const { ok: _, ...known } = await mallory.granted({ op: 'admission', name: home });
  assert.deepEqual(Object.keys(known).sort(), ['admission', 'network']);
  assert.equal(
    await mallory.refused({ op: 'join', name: home, verifier: verifierFor('guess') }),
    'invalid-password',
  );
  mallory.send({ t: 'resync', network });
  const answer = await mallory.next(
    (message) => (message.t === 'removed' || message.t === 'view') && message.network === network,
  );
  assert.equal(answer.t, 'removed');
});

test('nobody but the owner manages a network, and nobody hears of the attempts', async () => {
  const heard = (await heardByAnna()).length;
  const about = { network, clientId: bert.clientId };
  const operations: Operation[] = [
    { op: 'leave', network },
    { op: 'delete', network },
    { op: 'evict', ...about },
    { op: 'approve', ...about },
    { op: 'reject', ...about },
    { op: 'transfer', ...about },
    { op: 'transfer', network, clientId: mallory.clientId },
    { op: 'set-pass', network, admission: admissionFor('mine') },
    { op: 'set-access', network, locked: true, approval: 'manual' },
    { op: 'go-online', network },
    { op: 'go-offline', network },
  ];
  for (const operation of operations) {
    assert.match(await mallory.refused(operation), /^(not-member|not-owner|network-not-found)$/);
    const elsewhere = { ...operation, network: '999-999-999' } as Operation;
    assert.match(await mallory.refused(elsewhere), /^(not-member|not-owner|network-not-found)$/);
  }
  for (const operation of operations.filter(({ op }) => !/^(leave|go-)/.test(op))) {
    assert.equal(await bert.refused(operation), 'not-owner', `a member may not ${operation.op}`);
  }
  assert.equal((await heardByAnna()).length, heard + 1);
});

test('who waits for approval sees no member, is seen by the owner alone, and signals to nobody', async () => {
  await anna.granted({ op: 'set-access', network, approval: 'manual' });
  const answer = await mallory.join(home, password);
  assert.ok(answer.ok && answer.state === 'pending');
  mallory.send({ t: 'resync', network });
  const view = await mallory.next<ServerMessageOf<'view'>>(
    (message) => message.t === 'view' && message.network === network,
  );
  assert.deepEqual([view.state, view.members, view.pending], ['pending', [], []]);
  await undelivered(anna.clientId);
  await undelivered(bert.clientId);
  assert.ok(!(await heardByAnna()).some(isFrom(mallory)));
  const told = (client: ControlClient) =>
    JSON.stringify(client.received).includes(mallory.clientId);
  assert.deepEqual([told(anna), told(bert)], [true, false]);
  await anna.granted({ op: 'reject', network, clientId: mallory.clientId });
  await anna.granted({ op: 'set-access', network, approval: 'auto' });
});

test('who was evicted signals to nobody from that moment on, whatever is on its way', async () => {
  assert.ok((await mallory.join(home, password)).ok);
  mallory.send({ t: 'signal', to: bert.clientId, sealed: randomBytes(64), punch: false });
  await bert.next(isFrom(mallory), 'the signal of a member');
  await anna.granted({ op: 'evict', network, clientId: mallory.clientId });
  const heard = anna.received.filter(isFrom(mallory)).length;
  for (let n = 0; n < 200; n++) {
    mallory.send({ t: 'signal', to: anna.clientId, sealed: randomBytes(64), punch: true });
  }
  await undelivered(bert.clientId);
  assert.equal((await heardByAnna()).filter(isFrom(mallory)).length, heard);
  assert.equal(await mallory.refused({ op: 'leave', network }), 'not-member');
});

test('a thousand connections of noise, of HTTP and of datagrams leave the server as it was', async () => {
  const { host } = parseUrl(server.url);
  const port = Number(host.split(':')[1]);
  const rounds = async (count: number) => {
    for (let n = 0; n < count; n += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 ? noise(host) : tcp(port))));
    }
    await datagrams(20 * count);
  };
  await rounds(200);
  const before = await server.memoryBytes();
  await rounds(1_000);
  const grown = (await server.memoryBytes()) - before;
  assert.ok(grown < mostGrowthBytes, `memory grew by ${Math.round(grown / 1024)} KiB`);
  assert.equal(await bert.refused({ op: 'admission', name: 'nowhere' }), 'network-not-found');
  await heardByAnna();
});

/** A WebSocket that sends a few messages of noise, until the server has had enough. */
function noise(host: string): Promise<void> {
  const socket = new WebSocket(`ws://${host}${controlPath}`);
  socket.on('error', () => {});
  socket.on('open', () => {
    for (let n = 0; n < 3; n++) socket.send(randomBytes(Math.random() * 3000));
  });
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

function tcp(port: number): Promise<void> {
  const socket = createConnection({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  socket.resume();
  socket.end(Math.random() < 0.5 ? randomBytes(500) : `GET ${controlPath} HTTP/1.1\r\n\r\n`);
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function datagrams(count: number): Promise<void> {
  const socket = createSocket('udp4');
  for (let n = 0; n < count; n++) {
    const bytes = randomBytes(Math.random() * 600);
    // Every other one begins as a STUN request does.
    if (n % 2 === 0 && bytes.length > 20) bytes.set([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    const port = server.stunPorts[n % server.stunPorts.length]!;
    await new Promise((resolve) => socket.send(bytes, port, '127.0.0.1', resolve));
  }
  socket.close();
}
