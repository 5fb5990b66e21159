/** Relays over TCP: the loopback bridge between an engine's socket and a WebSocket, on real sockets. */
import assert from 'node:assert/strict';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { chooseProxy, noProxy, type ProxyChoice } from '#client/proxy.ts';
import { RelayBridges } from '#client/relay-bridge.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { FakeProxy } from '../support/http-proxy.ts';
import { selfSigned } from '../support/self-signed.ts';

interface World {
  readonly engine: UdpSocket;
  readonly bridges: RelayBridges;
  readonly states: (Endpoint | undefined)[];
  next(): Promise<Endpoint | undefined>;
}

async function worldOf(t: TestContext, proxies: ProxyChoice = noProxy): Promise<World> {
  const engine = createSocket('udp4');
  engine.bind(0, '127.0.0.1');
  await once(engine, 'listening');
  engine.setRecvBufferSize(4_000_000);
  const states: (Endpoint | undefined)[] = [];
  const seen: (() => void)[] = [];
  let taken = 0;
  const bridges = new RelayBridges({
    enginePort: engine.address().port,
    proxies,
    onBridge: (_, endpoint) => {
      states.push(endpoint);
      for (const wake of seen.splice(0)) wake();
    },
  });
  t.after(async () => {
    await bridges[Symbol.asyncDispose]();
    engine.close();
  });
  const next = async () => {
    while (states.length <= taken) await new Promise<void>((resolve) => seen.push(resolve));
    return states[taken++];
  };
  return { engine, bridges, states, next };
}

/** A relay that sends everything back. */
async function echo(t: TestContext, port = 0) {
  const server = new WebSocketServer({ host: '127.0.0.1', port });
  await once(server, 'listening');
  const clients: WebSocket[] = [];
  server.on('connection', (socket, request) => {
    assert.equal(request.url, '/v1/relay');
    clients.push(socket);
    socket.on('error', () => {}).on('message', (data) => socket.send(data));
  });
  const close = async () => {
    for (const client of server.clients) client.terminate();
    await new Promise((resolve) => server.close(resolve));
  };
  t.after(close);
  const { port: bound } = server.address() as AddressInfo;
  return { url: `ws://127.0.0.1:${bound}/v1/relay`, port: bound, clients, close };
}

async function answerTo({ engine }: World, port: number, datagram: Buffer): Promise<Buffer> {
  engine.send(datagram, port, '127.0.0.1');
  const [bytes, from] = await once(engine, 'message');
  assert.equal(from.port, port);
  return bytes as Buffer;
}

const filled = (length: number, seed = 1) =>
  Buffer.from(Uint8Array.from({ length }, (_, i) => i * seed));
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
};

test('datagrams of all sizes go to the relay and back, in order', async (t) => {
  const relay = await echo(t);
  const world = await worldOf(t);
  world.bridges.want('r-1', [relay.url]);
  const endpoint = await world.next();
  assert.equal(endpoint?.address, '127.0.0.1');
  for (const length of [1, 32, 125, 126, 1452, 1472, 9000, 16_384]) {
    const datagram = filled(length, length);
    assert.deepEqual(await answerTo(world, endpoint!.port, datagram), datagram, `${length}`);
  }
  const received: number[] = [];
  world.engine.on('message', (bytes) => received.push(bytes.readUInt32LE(0)));
  for (let i = 0; i < 300; i++) {
    const datagram = filled(i % 3 === 0 ? 100 : 1452);
    datagram.writeUInt32LE(i);
    world.engine.send(datagram, endpoint!.port, '127.0.0.1');
  }
  await until(() => received.length === 300);
  assert.deepEqual(received, [...Array(300).keys()]);
  assert.deepEqual(world.bridges.states(), [{ relay: 'r-1', urls: [relay.url], connected: true }]);
});

test('only the engine is served: others and what is too long are dropped and counted', async (t) => {
  const relay = await echo(t);
  const world = await worldOf(t);
  world.bridges.want('r-1', [relay.url]);
  const endpoint = await world.next();
  const other = createSocket('udp4');
  other.send(filled(100), endpoint!.port, '127.0.0.1');
  world.engine.send(filled(16_385), endpoint!.port, '127.0.0.1');
  await until(() => world.bridges.counters()['bridge-too-long'] === 1);
  assert.equal(world.bridges.counters()['bridge-foreign'], 1);
  assert.deepEqual(await answerTo(world, endpoint!.port, filled(10)), filled(10));
  assert.equal(world.bridges.counters()['bridge-out'], 1);
  other.close();
});

test('a line that breaks is made again, by the same port', async (t) => {
  const relay = await echo(t);
  const world = await worldOf(t);
  world.bridges.want('r-1', ['ws://127.0.0.1:1/v1/relay', relay.url]);
  const first = await world.next();
  await relay.close();
  assert.equal(await world.next(), undefined);
  assert.ok(world.bridges.states()[0]?.error);
  world.engine.send(filled(10), first!.port, '127.0.0.1');
  await until(() => world.bridges.counters()['bridge-out-closed'] === 1);
  await echo(t, relay.port);
  let again = await world.next();
  while (again === undefined) again = await world.next();
  assert.equal(again.port, first!.port);
  assert.deepEqual(await answerTo(world, again.port, filled(50)), filled(50));
});

test('TLS and a proxy change nothing', async (t) => {
  const https = createHttpsServer(selfSigned()).listen(0, '127.0.0.1');
  await once(https, 'listening');
  const server = new WebSocketServer({ server: https });
  server.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  t.after(() => {
    for (const client of server.clients) client.terminate();
    https.close();
  });
  await using proxy = await FakeProxy.start();
  const world = await worldOf(t, chooseProxy(`http://a:b@127.0.0.1:${proxy.port}`, {}));
  world.bridges.want('r-1', [`wss://127.0.0.1:${(https.address() as AddressInfo).port}/v1/relay`]);
  const endpoint = await world.next();
  assert.ok(endpoint, JSON.stringify(world.bridges.states()));
  assert.deepEqual(await answerTo(world, endpoint.port, filled(1452)), filled(1452));
  assert.match(proxy.heads[0] ?? '', /Proxy-Authorization: Basic YTpi\r\n/);
});

test('what is no relay is given up with a reason, and tried again', async (t) => {
  const answers = ['HTTP/1.1 404 Not Found\r\n\r\n', 'SSH-2.0-x\r\n', 'HTTP/1.1 101 S\r\n\r\n'];
  let connections = 0;
  const server = createTcpServer((socket) => {
    const answer = answers[connections++];
    socket
      .on('error', () => {})
      .on('data', () => (answer === undefined ? socket.end() : socket.write(answer)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const world = await worldOf(t);
  world.bridges.want('r-1', [`ws://127.0.0.1:${(server.address() as AddressInfo).port}/v1/relay`]);
  const reasons: (string | undefined)[] = [];
  for (let i = 0; i < 4; i++) {
    assert.equal(await world.next(), undefined);
    reasons.push(world.bridges.states()[0]?.error?.code);
  }
  assert.deepEqual(reasons, ['relay-broken', 'relay-broken', 'relay-broken', 'relay-unreachable']);
});

test('a relay that sends nonsense loses the connection, and pings are answered', async (t) => {
  const relay = await echo(t);
  const world = await worldOf(t);
  world.bridges.want('r-1', [relay.url]);
  await world.next();
  const [socket] = relay.clients;
  socket?.ping('hello');
  const [payload] = await once(socket!, 'pong');
  assert.equal(String(payload), 'hello');
  socket?.send('text');
  assert.equal(await world.next(), undefined);
  assert.match(world.bridges.states()[0]?.error?.message ?? '', /nonsense/);
});

test('a relay that takes nothing costs datagrams, not memory', async (t) => {
  const relay = await echo(t);
  const world = await worldOf(t);
  world.bridges.want('r-1', [relay.url]);
  const endpoint = await world.next();
  const [socket] = relay.clients;
  socket?.pause();
  const before = process.memoryUsage.rss();
  const datagram = filled(1452);
  for (let i = 0; i < 30_000; i++) {
    world.engine.send(datagram, endpoint!.port, '127.0.0.1');
    if (i % 200 === 199) await new Promise((resolve) => setImmediate(resolve));
  }
  const dropped = () => {
    const counters = world.bridges.counters();
    return (counters['bridge-out-full'] ?? 0) + (counters['bridge-out-late'] ?? 0);
  };
  await until(() => dropped() > 10_000);
  assert.ok(process.memoryUsage.rss() - before < 60_000_000);
  socket?.resume();
  const answered = once(world.engine, 'message');
  await until(() => {
    world.engine.send(filled(9), endpoint!.port, '127.0.0.1');
    return world.bridges.counters()['bridge-in']! > 0;
  });
  await answered;
});

test('an unwanted bridge is gone with its connection, and nothing of the thread stays', async (t) => {
  const relay = await echo(t);
  const world = await worldOf(t);
  world.bridges.want('r-1', [relay.url]);
  world.bridges.want('r-2', [relay.url]);
  await world.next();
  await world.next();
  const ended = relay.clients.map((client) => once(client, 'close'));
  world.bridges.unwant('r-1');
  world.bridges.unwant('r-2');
  await Promise.all(ended);
  assert.deepEqual(world.bridges.states(), []);
  world.bridges.want('r-3', [relay.url]);
  const endpoint = await world.next();
  assert.deepEqual(await answerTo(world, endpoint!.port, filled(10)), filled(10));
});
