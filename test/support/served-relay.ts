/** A relay on real sockets, and clients that do by hand what the client's machine does. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTls } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { OffloadName } from '#engine/offloads.ts';
import { Relay } from '#relay/relay.ts';
import { decodeRelay, type RelayMessage, relayPath, relayPrefix, sealRelay } from '#wire/relay.ts';
import { type Credentials, Issuer } from './relay-rig.ts';
import { selfSigned } from './self-signed.ts';

export const bare = (text: string) =>
  Buffer.concat([Uint8Array.of(4, 0, 0, 0), Buffer.alloc(40, text)]);
export const soon = { notBefore: Date.now() - 60_000, notAfter: Date.now() + 3_600_000 };

/** A client by UDP or WebSocket. */
export abstract class RelayClient implements AsyncDisposable {
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

export class UdpClient extends RelayClient {
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

export class WebSocketClient extends RelayClient {
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
export class Served implements AsyncDisposable {
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
