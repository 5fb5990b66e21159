/** A real server process and real control connections: login, and everything that must not log in. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import { controlPath, helloReply, type ServerMessageOf } from '#wire/control.ts';
import { openDocument, signDocument } from '#wire/signed.ts';
import {
  ControlClient,
  DeviceKeys,
  loginMessage,
  parseUrl,
  RefusedError,
} from '../support/control-client.ts';
import { ServerProcess } from '../support/server-process.ts';

let server: ServerProcess;
let counter = 0;
const keys = (name = 'device') => new DeviceKeys(`${name} ${++counter}`);
const login = (device: DeviceKeys, rest: object = {}) =>
  ControlClient.login({ url: server.url, keys: device, ...rest });
const refusalOf = async (work: Promise<unknown>): Promise<RefusedError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof RefusedError, `refused, not ${error}`);
  return error;
};

before(async () => {
  server = await ServerProcess.start({ args: ['--enrol', 'open'] });
});
after(async () => {
  await server[Symbol.asyncDispose]();
});

test('a device logs in, gets its id and addresses, and has them again the next time', async () => {
  const device = keys();
  const first = await login(device);
  const { clientId, ipv4, ipv6, nodeList } = first.welcome;
  assert.match(clientId, /^[0-9]{3}-[0-9]{3}-[0-9]{3}$/);
  assert.match(ipv4, /^100\.64\./);
  assert.match(ipv6, /^fd62:7572:6900::/);
  const list = openDocument('node-list', nodeList, (message, signature) =>
    crypto.ed25519Verify(parseUrl(server.url).key, message, signature),
  );
  assert.deepEqual(
    list?.nodes[0]?.stun,
    server.stunPorts.map((port) => `127.0.0.1:${port}`),
  );
  await first.next((message) => message.t === 'synchronised');
  await first[Symbol.asyncDispose]();
  await using again = await login(device);
  assert.deepEqual(
    [again.welcome.clientId, again.welcome.ipv4, again.welcome.ipv6],
    [clientId, ipv4, ipv6],
  );
});

test('a forged identity is refused: signed by another key, for another key, expired, older', async () => {
  const victim = keys('victim');
  await (await login(victim, { login: { certificate: victim.certificate(5) } }))[
    Symbol.asyncDispose
  ]();
  const attacker = keys('attacker');
  const forged = signDocument(
    'device-certificate',
    {
      identity: victim.identity,
      controlKey: attacker.control.publicKey,
      tunnelKey: attacker.tunnel.publicKey,
      serial: 9,
      notAfter: Date.now() + 1e9,
      suites: ['chacha20poly1305'],
      extensionVersion: 1,
    },
    (message) => crypto.ed25519Sign(attacker.identitySeed, message),
  );
  const table: Record<string, [Uint8Array, string, RegExp]> = {
    'signed by another key': [forged, 'certificate-invalid', /signature/],
    'the victim’s own, with the attacker’s control key': [
      victim.certificate(6),
      'certificate-invalid',
      /another control key/,
    ],
    garbage: [new Uint8Array(50), 'certificate-invalid', /malformed/],
  };
  for (const [name, [certificate, code, text]] of Object.entries(table)) {
    const refusal = await refusalOf(login(attacker, { login: { certificate } }));
    assert.equal(refusal.code, code, name);
    assert.match(refusal.message, text, name);
  }
  const old = await refusalOf(login(victim, { login: { certificate: victim.certificate(4) } }));
  assert.equal(old.code, 'certificate-stale');
  const expired = victim.certificate(7, Date.now() - 1000);
  const late = await refusalOf(login(victim, { login: { certificate: expired } }));
  assert.equal(late.code, 'certificate-invalid');
  assert.match(late.message, /expired/);
});

test('recorded login bytes are of no use to who replays them', async () => {
  const device = keys('recorded');
  const client = await login(device);
  const network = await client.create(`replayed ${counter}`);
  const recorded = [...client.sentFrames];
  await client[Symbol.asyncDispose]();
  const replay = await ControlClient.connect({ url: server.url, keys: keys('thief') });
  for (const frame of recorded) replay.socket.send(frame);
  assert.equal(await replay.closed(), 1002);
  assert.deepEqual(replay.received, []);
  const { networks } = (await server.operate('networks')) as { networks: { id: string }[] };
  assert.equal(networks.filter(({ id }) => id === network).length, 1);
  const { clients } = (await server.operate('clients')) as { clients: { nick: string }[] };
  assert.ok(!clients.some(({ nick }) => nick.startsWith('thief')));
});

test('the handshake alone makes no client', async () => {
  const device = keys('shy');
  const client = await ControlClient.connect({ url: server.url, keys: device });
  client.terminate();
  await client.closed();
  const { clients } = (await server.operate('clients')) as { clients: { nick: string }[] };
  assert.ok(!clients.some(({ nick }) => nick === device.name));
});

test('a copied identity is refused while the first daemon answers, and both are told', async () => {
  const device = keys('copied');
  await using first = await login(device);
  const other = { instance: new Uint8Array(16).fill(9) };
  const refusal = await refusalOf(login(device, { login: other }));
  assert.equal(refusal.code, 'identity-in-use');
  const notice = await first.next(
    (message): message is ServerMessageOf<'notice'> => message.t === 'notice',
  );
  assert.equal(notice.code, 'identity-in-use');
  assert.equal(first.closedWith, undefined);
});

test('another daemon with the same identity takes over when the first does not answer', async () => {
  const device = keys('dead');
  const first = await login(device, { pongs: false });
  const started = performance.now();
  await using second = await login(device, { login: { instance: new Uint8Array(16).fill(9) } });
  assert.ok(performance.now() - started >= 2_900, 'the first had three seconds');
  assert.equal(second.clientId, first.clientId);
  assert.equal(await first.closed(), 4001);
});

test('a reconnect of the same daemon replaces its old connection at once', async () => {
  const device = keys('reconnecting');
  const first = await login(device, { pongs: false });
  const started = performance.now();
  await using second = await login(device);
  assert.ok(performance.now() - started < 2_000);
  assert.equal(second.clientId, first.clientId);
  assert.equal(await first.closed(), 4001);
});

/** One WebSocket on which hand-made bytes are sent. */
async function rawSocket(): Promise<{
  socket: WebSocket;
  answers: Uint8Array[];
  closed: Promise<number>;
}> {
  const { host } = parseUrl(server.url);
  const socket = new WebSocket(`ws://${host}${controlPath}`);
  const answers: Uint8Array[] = [];
  socket.on('message', (data: Buffer) => answers.push(new Uint8Array(data)));
  socket.on('error', () => {});
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await new Promise((resolve) => socket.once('open', resolve));
  return { socket, answers, closed };
}

test('a client of another version is told which versions the server speaks', async () => {
  const { socket, answers, closed } = await rawSocket();
  socket.send(encodeCbor({ t: 'hello', versions: [7, 9], capabilities: [] }));
  await closed;
  assert.deepEqual(helloReply.parse(decodeCbor(answers[0]!, 4096)), {
    t: 'unsupported',
    versions: [1],
  });
});

test('malformed hellos, handshakes and frames end the connection and nothing else', async () => {
  const greeting = encodeCbor({ t: 'hello', versions: [1], capabilities: [] });
  const table: Record<string, (string | Uint8Array)[]> = {
    'empty hello': [new Uint8Array()],
    'truncated hello': [greeting.subarray(0, -1)],
    'hello with a field too many of the wrong kind': [encodeCbor({ t: 'hello', versions: 'x' })],
    'hello too long': [new Uint8Array(4096)],
    text: ['hello'],
    'no handshake': [greeting, new Uint8Array(10)],
    'random handshake': [greeting, crypto.random(96)],
    'handshake cut': [greeting, crypto.random(95)],
    'low-order ephemeral key': [greeting, new Uint8Array(96)],
  };
  for (const [name, messages] of Object.entries(table)) {
    const { socket, closed } = await rawSocket();
    for (const message of messages) socket.send(message);
    assert.equal(await closed, 1002, name);
  }
  await using still = await login(keys());
  assert.ok(still.clientId);
});

test('random and truncated frames after the handshake end that connection only', async () => {
  await using bystander = await login(keys('bystander'));
  for (let round = 0; round < 20; round++) {
    const client = await login(keys('noisy'));
    const frame = crypto.random(round * 50);
    client.socket.send(frame);
    assert.equal(await client.closed(), 1002);
  }
  await bystander.create(`after noise ${counter}`);
});

test('well-sealed nonsense is answered with the reason', async () => {
  const messages: Record<string, Uint8Array> = {
    'no CBOR': crypto.random(40),
    'unknown message': encodeCbor({ t: 'sudo' }),
    'unknown operation': encodeCbor({ t: 'request', id: 1, operation: { op: 'sudo' } }),
    'a name with control characters': encodeCbor({
      t: 'request',
      id: 1,
      operation: { op: 'admission', name: 'a\u0007b' },
    }),
    'a name of 10 kB': encodeCbor({
      t: 'request',
      id: 1,
      operation: { op: 'admission', name: 'x'.repeat(10_000) },
    }),
    'a second login': encodeCbor(loginMessage({ keys: keys() })),
  };
  for (const [name, bytes] of Object.entries(messages)) {
    const client = await login(keys('odd'));
    client.sendBytes(bytes);
    const refused = await client.next(
      (message): message is ServerMessageOf<'refused'> => message.t === 'refused',
      name,
    );
    assert.equal(refused.error.code, 'protocol-error', name);
    assert.equal(await client.closed(), 1002, name);
  }
});

test('a message before the login is out of turn', async () => {
  const client = await ControlClient.connect({ url: server.url, keys: keys() });
  client.send({ t: 'logout' });
  await client.next((message) => message.t === 'refused');
  assert.equal(await client.closed(), 1002);
});

test('who says nothing is cut after five seconds, who does not log in after the handshake as soon', {
  timeout: 20_000,
}, async () => {
  const started = performance.now();
  const { closed } = await rawSocket();
  await using stranger = await ControlClient.connect({ url: server.url, keys: keys() });
  assert.equal(await closed, 1002);
  assert.equal(await stranger.closed(), 1002);
  const tookMs = performance.now() - started;
  assert.ok(tookMs > 4_500 && tookMs < 8_000, `${tookMs} ms`);
});

test('what is no control connection is told so', async () => {
  const { host } = parseUrl(server.url);
  const page = await fetch(`http://${host}/`);
  assert.equal(page.status, 426);
  assert.match(await page.text(), /buri login/);
  const elsewhere = new WebSocket(`ws://${host}/v2/other`);
  const error = await new Promise<Error>((resolve) => elsewhere.once('error', resolve));
  assert.match(error.message, /404/);
});
