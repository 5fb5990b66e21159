/** A relay on real sockets: UDP with and without offloads, IPv6, WebSocket and the bridge between them, floods, and its end. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTls } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { OffloadName } from '#engine/offloads.ts';
import { Relay } from '#relay/relay.ts';
import {
  decodeRelay,
  type RelayMessage,
  readDelivered,
  relayMacIsValid,
  relayPath,
  relayPrefix,
  sealRelay,
} from '#wire/relay.ts';
import { type Credentials, Issuer } from '../support/relay-rig.ts';
import { selfSigned } from '../support/self-signed.ts';

const bare = (text: string) => Buffer.concat([Uint8Array.of(4, 0, 0, 0), Buffer.alloc(40, text)]);
const soon = { notBefore: Date.now() - 60_000, notAfter: Date.now() + 3_600_000 };

/** A client by UDP or WebSocket, which does by hand what the client's machine does. */
abstract class Client implements AsyncDisposable {
  readonly received: Buffer[] = [];
  token = 0n;
  abstract send(bytes: Uint8Array): void;
  abstract [Symbol.asyncDispose](): Promise<void>;

  async next(what: string): Promise<Buffer> {
    for (let i = 0; this.received.length === 0; i++) {
      if (i === 500) throw new Error(`${what} did not come`);
      await sleep(10);
    }
    return this.received.shift()!;
  }

  async ask(bytes: Uint8Array): Promise<RelayMessage> {
    this.send(bytes);
    return decodeRelay(await this.next('an answer'))!;
  }

  async join({ ticket, key }: Credentials): Promise<this> {
    const message = {
      type: 'allocate',
      transaction: crypto.random(12),
      time: Date.now(),
      ticket,
    } as const;
    let answer = await this.ask(sealRelay(crypto, key, message));
    if (answer.type === 'challenge') {
      answer = await this.ask(sealRelay(crypto, key, { ...message, cookie: answer.cookie }));
    }
    assert.equal(answer.type, 'allocated');
    this.token = answer.type === 'allocated' ? answer.token : 0n;
    return this;
  }

  data(to: number, payload: Uint8Array): void {
    this.send(Buffer.concat([relayPrefix(this.token, to), payload]));
  }
}

class UdpClient extends Client {
  readonly #socket: Socket;
  readonly #port: number;
  readonly #host: string;

  constructor(port: number, host = '127.0.0.1') {
    super();
    this.#port = port;
    this.#host = host;
    this.#socket = createSocket({
      type: host.includes(':') ? 'udp6' : 'udp4',
      recvBufferSize: 4 << 20,
    });
    this.#socket.on('message', (bytes) => this.received.push(bytes));
  }

  send(bytes: Uint8Array): void {
    this.#socket.send(bytes, this.#port, this.#host);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }
}

class WebSocketClient extends Client {
  readonly socket: WebSocket;

  private constructor(socket: WebSocket) {
    super();
    this.socket = socket;
    socket.on('message', (bytes: Buffer) => this.received.push(bytes));
  }

  static async open(port: number, scheme = 'ws'): Promise<WebSocketClient> {
    const socket = new WebSocket(`${scheme}://127.0.0.1:${port}${relayPath}`, {
      ...{ perMessageDeflate: false, rejectUnauthorized: false },
    });
    await once(socket, 'open');
    return new WebSocketClient(socket);
  }

  send(bytes: Uint8Array): void {
    this.socket.send(bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate();
  }
}

/** A relay, its ports, and tickets for it. */
class Served implements AsyncDisposable {
  readonly issuer = new Issuer();
  readonly relay: Relay;
  readonly udp: number;
  readonly udp6: number;
  readonly #http;

  constructor(withoutOffloads: readonly OffloadName[] = [], isTls = false) {
    this.#http = isTls ? createTls(selfSigned()) : createServer();
    const { clusterKey, relay: keys } = this.issuer;
    this.relay = new Relay({ crypto, clusterKey, keys, withoutOffloads });
    this.udp = this.relay.listenUdp('127.0.0.1', 0);
    this.udp6 = this.relay.listenUdp('::1', 0);
    this.#http.on('upgrade', (request, socket, head) => this.relay.upgrade(request, socket, head));
  }

  async listen(): Promise<number> {
    this.#http.listen(0, '127.0.0.1');
    await once(this.#http, 'listening');
    return (this.#http.address() as AddressInfo).port;
  }

  ticket(client: number, changes = {}): Credentials {
    return this.issuer.issue(client, { ...soon, ...changes });
  }

  count(counter: Parameters<Relay['switchboard']['counters']['get']>[0]): number {
    return this.relay.switchboard.counters.get(counter);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.relay.close(0);
    this.#http.close();
    this.#http.closeAllConnections();
  }
}

for (const without of [[], ['udp-segment', 'udp-gro']] as const) {
  describe(`by UDP ${without.length === 0 ? 'with' : 'without'} offloads`, () => {
    test('transport messages arrive bare, everything else behind its sender', async () => {
      await using served = new Served(without);
      await using anna = await new UdpClient(served.udp).join(served.ticket(1));
      await using bert = await new UdpClient(served.udp6, '::1').join(served.ticket(2));
      anna.data(2, bare('a'));
      assert.deepEqual(await bert.next('data'), bare('a'));
      bert.data(1, Buffer.alloc(148, 'h'));
      const delivered = readDelivered(await anna.next('data'));
      assert.deepEqual([delivered?.from, delivered?.payload.length], [2, 148]);
    });

    test('a burst arrives whole and in order', async () => {
      await using served = new Served(without);
      await using anna = await new UdpClient(served.udp).join(served.ticket(1));
      await using bert = await new UdpClient(served.udp).join(served.ticket(2));
      for (let i = 0; i < 2000; i++) {
        const packet = Buffer.alloc(i % 7 === 0 ? 600 : 1200);
        packet.writeUInt32BE(0x04000000);
        packet.writeUInt32BE(i, 4);
        anna.data(2, packet);
        if (i % 50 === 49) await sleep(1);
      }
      for (let i = 0; i < 2000; i++) assert.equal((await bert.next(`${i}`)).readUInt32BE(4), i);
    });

    test('a padded probe passes as it is, with its sender', async () => {
      await using served = new Served(without);
      await using anna = await new UdpClient(served.udp).join(served.ticket(1));
      await using bert = await new UdpClient(served.udp).join(served.ticket(2));
      const probe = Buffer.concat([Uint8Array.of(0x42, 0x55, 0x52, 1), Buffer.alloc(1296, 'p')]);
      anna.data(2, probe);
      const delivered = readDelivered(await bert.next('the probe'));
      assert.deepEqual(Buffer.from(delivered!.payload), probe);
    });
  });
}

test('clients by WebSocket and by UDP reach each other', async () => {
  await using served = new Served();
  const port = await served.listen();
  await using anna = await (await WebSocketClient.open(port)).join(served.ticket(1));
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using carl = await (await WebSocketClient.open(port)).join(served.ticket(3));
  anna.data(2, bare('a'));
  assert.deepEqual(await bert.next('data'), bare('a'));
  bert.data(1, bare('b'));
  assert.deepEqual(await anna.next('data'), bare('b'));
  bert.data(1, Buffer.alloc(148, 'h'));
  assert.equal(readDelivered(await anna.next('data'))?.from, 2);
  carl.data(1, Buffer.alloc(148, 'c'));
  assert.equal(readDelivered(await anna.next('data'))?.from, 3);
});

test('a client moves from WebSocket to UDP by one refresh, with the same token', async () => {
  await using served = new Served();
  await using first = await WebSocketClient.open(await served.listen());
  const mine = served.ticket(1);
  await first.join(mine);
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using then = new UdpClient(served.udp);
  const refresh = {
    type: 'refresh',
    token: first.token,
    transaction: crypto.random(12),
    time: Date.now(),
  } as const;
  let answer = await then.ask(sealRelay(crypto, mine.key, refresh));
  assert.equal(answer.type, 'challenge');
  const cookie = answer.type === 'challenge' ? answer.cookie : new Uint8Array(16);
  answer = await then.ask(sealRelay(crypto, mine.key, { ...refresh, cookie }));
  assert.equal(answer.type, 'refreshed');
  bert.data(1, bare('x'));
  assert.deepEqual(await then.next('data'), bare('x'));
});

/** To the client with the first ticket, until some of it is dropped because it reads slowly. */
async function flood(served: Served, from: UdpClient): Promise<void> {
  const payload = Buffer.concat([bare('s'), Buffer.alloc(1200)]);
  for (let i = 0; served.count('dropped-slow-reader') === 0; i++) {
    assert.ok(i < 100_000, 'nothing was dropped');
    from.data(1, payload);
    if (i % 50 === 49) await sleep(1);
  }
}

test('who reads slowly by WebSocket costs a bounded queue, and nobody else anything', async () => {
  await using served = new Served();
  await using slow = await (await WebSocketClient.open(await served.listen())).join(
    served.ticket(1),
  );
  await using anna = await new UdpClient(served.udp).join(served.ticket(2));
  await using bert = await new UdpClient(served.udp).join(served.ticket(3));
  slow.socket.pause();
  await flood(served, anna);
  anna.data(3, bare('n'));
  assert.deepEqual(await bert.next('data'), bare('n'));
});

for (const scheme of ['ws', 'wss']) {
  test(`what waits for a slow reader waits where it is bounded, not in the kernel (${scheme})`, async () => {
    await using served = new Served([], scheme === 'wss');
    const port = await served.listen();
    await using slow = await (await WebSocketClient.open(port, scheme)).join(served.ticket(1));
    await using anna = await new UdpClient(served.udp).join(served.ticket(2));
    slow.socket.pause();
    await flood(served, anna);
    // What is with the kernel: a window of the reader, and what is not sent yet.
    const queued = queuedBytes(port);
    assert.ok(queued < 1_000_000, `${queued} bytes`);
  });
}

/** Of the connection to a port of 127.0.0.1, from its side. */
function queuedBytes(port: number): number {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n');
  const row = rows
    .map((line) => line.trim().split(/ +/))
    .find((row) => {
      return row[1] === local && row[3] === '01';
    });
  return Number.parseInt(row?.[4]?.split(':')[0] ?? '', 16);
}

test('one client that floods leaves another its service', async () => {
  await using served = new Served();
  const slow = { packetsPerSecond: 100, bytesPerSecond: 10_000_000 };
  await using mallory = await new UdpClient(served.udp).join(served.ticket(66, slow));
  await using anna = await new UdpClient(served.udp).join(served.ticket(1));
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  let arrived = 0;
  for (let i = 0; i < 100; i++) {
    for (let k = 0; k < 100; k++) mallory.data(2, bare('m'));
    anna.data(2, bare('a'));
    await sleep(5);
  }
  await sleep(200);
  for (const bytes of bert.received) if (bytes[4] === 97) arrived++;
  assert.ok(arrived >= 95, `${arrived} of 100 arrived`);
  assert.ok(served.count('dropped-packet-rate') > 5000);
});

test('whoever is no client gets nothing through and less back than was sent', async () => {
  await using served = new Served();
  await using anna = await new UdpClient(served.udp).join(served.ticket(1));
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using stranger = new UdpClient(served.udp);
  stranger.token = anna.token;
  stranger.data(2, bare('s'));
  stranger.token = 1n;
  stranger.data(2, bare('s'));
  for (const size of [0, 1, 7, 8, 20, 21, 68, 1400]) {
    const junk = Buffer.alloc(size, 'j');
    stranger.send(junk);
    if (size >= 8)
      stranger.send(Buffer.concat([Uint8Array.of(0x42, 0x55, 0x52, 2, 9, 0, 0, 0), junk]));
  }
  anna.data(2, bare('a'));
  assert.deepEqual(await bert.next('data'), bare('a'));
  assert.equal(bert.received.length, 0);
  // It is told that the allocation is elsewhere, which is of no use without the key.
  assert.equal((await stranger.next('challenge')).length, 36);
  assert.equal(stranger.received.length, 0);
  assert.equal(served.count('dropped-wrong-source'), 1);
  assert.equal(served.count('dropped-unknown-token'), 1);
});

test('at its end it tells its clients and serves them until they have gone', async () => {
  await using served = new Served();
  const mine = served.ticket(1);
  await using anna = await new UdpClient(served.udp).join(mine);
  const theirs = served.ticket(2);
  await using bert = await new UdpClient(served.udp).join(theirs);
  const closed = served.relay.close(5000);
  const told = await anna.next('the news');
  assert.equal(decodeRelay(told)?.type, 'draining');
  assert.ok(relayMacIsValid(crypto, mine.key, told));
  await bert.next('the news');
  anna.data(2, bare('l'));
  assert.deepEqual(await bert.next('data'), bare('l'));
  const began = performance.now();
  for (const [client, { key }] of [
    [anna, mine],
    [bert, theirs],
  ] as const) {
    const release = {
      type: 'release',
      token: client.token,
      transaction: crypto.random(12),
      time: Date.now(),
    } as const;
    client.send(sealRelay(crypto, key, release));
  }
  await closed;
  assert.ok(performance.now() - began < 4000);
});
