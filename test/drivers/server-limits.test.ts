/** Bounds: slow readers, floods of messages, crowds of newcomers. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { maxHandshakesPerPrefix } from '#server/control/limits.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import { controlPath, maxSignalBytes } from '#wire/control.ts';
import { waitFor } from '../../lab/wait.ts';
import { ControlClient, DeviceKeys, parseUrl } from '../support/control-client.ts';
import { ServerProcess } from '../support/server-process.ts';

let server: ServerProcess;
before(async () => {
  server = await ServerProcess.start({ args: ['--enrol', 'open'] });
});
after(async () => {
  await server[Symbol.asyncDispose]();
});

const login = (name: string) =>
  ControlClient.login({ url: server.url, keys: new DeviceKeys(name) });

test('signals to a client that does not read are dropped, at a bounded memory', async () => {
  await using anna = await login('talker');
  await anna.create('slow');
  const slow = await login('slow reader');
  await slow.join('slow');
  await using bert = await login('reader');
  await bert.join('slow');
  slow.socket.pause();
  const before = await server.memoryBytes();
  const sealed = new Uint8Array(maxSignalBytes);
  for (let i = 0; i < 2_000; i++)
    anna.send({ t: 'signal', to: slow.clientId, sealed, punch: false });
  anna.send({ t: 'signal', to: bert.clientId, sealed, punch: false });
  await bert.next((message) => message.t === 'signal');
  const grown = (await server.memoryBytes()) - before;
  assert.ok(grown < 64 * 1024 * 1024, `grew by ${grown} bytes`);
  slow.terminate();
});

test('a client that asks and does not read is cut at the bound of its queue, and may come back', async () => {
  await using anna = await login('host of many');
  const network = await anna.create('crowded');
  for (let i = 0; i < 100; i++) {
    const member = await login(`member ${i}`);
    await member.join('crowded');
    member.terminate();
  }
  const slow = await login('greedy');
  await slow.join('crowded');
  const id = slow.clientId;
  const presence = async () => {
    const { clients } = (await server.operate('clients')) as {
      clients: { clientId: string; presence: string }[];
    };
    return clients.find(({ clientId }) => clientId === id)?.presence;
  };
  assert.equal(await presence(), 'online');
  slow.socket.pause();
  const before = await server.memoryBytes();
  for (let batch = 0; batch < 20; batch++) {
    for (let i = 0; i < 50; i++) slow.send({ t: 'resync', network });
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  let now = await presence();
  for (let attempt = 0; attempt < 20 && now === 'online'; attempt++) now = await presence();
  assert.equal(now, 'unconfirmed');
  const grown = (await server.memoryBytes()) - before;
  assert.ok(grown < 160 * 1024 * 1024, `grew by ${grown} bytes`);
  slow.terminate();
  await using again = await login('greedy');
  assert.equal(again.clientId, id);
  const view = await again.next((message) => message.t === 'view');
  assert.ok(view.t === 'view' && view.members.length === 102);
});

test('beyond its rate a client waits, and loses nothing', async () => {
  await using anna = await login('hasty');
  const started = performance.now();
  const work = Array.from({ length: 30 }, async (_, i) => {
    for (let j = 0; j < 50; j++) await anna.refused({ op: 'admission', name: `none ${i} ${j}` });
  });
  await Promise.all(work);
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds > 2, `1,500 messages took ${seconds} s: 1,000 at once, then 200 a second`);
});

/** WebSockets that say hello and no more, and what each is answered: `hello`, or the HTTP status. */
function crowd(count: number) {
  const { host } = parseUrl(server.url);
  const hello = encodeCbor({ t: 'hello', versions: [1], capabilities: [] });
  const answers = new Map<string, number>();
  const pauses: number[] = [];
  const sockets = Array.from({ length: count }, () => {
    const socket = new WebSocket(`ws://${host}${controlPath}`);
    const answered = (what: string) => answers.set(what, (answers.get(what) ?? 0) + 1);
    socket.on('open', () => socket.send(hello));
    socket.on('message', (data: Buffer) => {
      answered((decodeCbor(new Uint8Array(data), 8192) as { t: string }).t);
    });
    socket.on('unexpected-response', (request, { statusCode, headers }) => {
      answered(`${statusCode}`);
      pauses.push(Number(headers['retry-after']));
      request.destroy();
    });
    socket.on('error', () => {});
    return socket;
  });
  return { answers, pauses, sockets };
}

test('a crowd that does not log in waits for its turn, and does not keep others out for long', async () => {
  const { answers, sockets } = crowd(300);
  await waitFor('places to be taken', () => answers.get('hello') === maxHandshakesPerPrefix);
  const late = login('late');
  for (const socket of sockets.slice(0, 260)) socket.terminate();
  await waitFor('the next ones', () => (answers.get('hello') ?? 0) >= maxHandshakesPerPrefix + 40);
  assert.ok((await late).clientId);
  assert.equal(answers.get('503'), undefined);
  for (const socket of sockets) socket.terminate();
  (await late).terminate();
});

test('who comes too often from one address is told when to come back', async () => {
  const { answers, pauses, sockets } = crowd(500);
  await waitFor('refusals', () => (answers.get('503') ?? 0) > 0);
  assert.ok(pauses.every((seconds) => seconds >= 1 && seconds <= 60));
  for (const socket of sockets) socket.terminate();
});
