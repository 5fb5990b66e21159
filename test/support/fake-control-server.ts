/** A server that follows the control protocol as far as a test lets it, and then does what the test says. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { parseServerUrl } from '#client/server-url.ts';
import { FrameChannel } from '#core/control/frames.ts';
import { HandshakeState } from '#core/noise/handshake-state.ts';
import { wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Secret } from '#crypto/secret.ts';
import { encodeCbor } from '#wire/cbor.ts';
import {
  decodeClientMessage,
  encodeMessage,
  maxClientMessageBytes,
  type ServerMessage,
} from '#wire/control.ts';
import { type NodeCertificate, signDocument } from '#wire/signed.ts';
import { keyOf } from './cluster.ts';

const day = 86_400_000;

export const clusterSeed = keyOf('fake cluster');
export const clusterKey = crypto.ed25519PublicKey(clusterSeed);
const nodePrivateKey = keyOf('fake node');

export function nodeCertificate(change: Partial<NodeCertificate> = {}, seed = clusterSeed) {
  const now = Date.now();
  return signDocument(
    'node-certificate',
    {
      nodeId: 'fake',
      nodeKey: crypto.x25519PublicKey(nodePrivateKey),
      serial: 1,
      notBefore: now - day,
      notAfter: now + day,
      ...change,
    },
    (message) => crypto.ed25519Sign(seed, message),
  );
}

export const helloReply = (change: object = {}): Uint8Array =>
  encodeCbor({
    t: 'hello',
    version: 1,
    capabilities: [],
    clusterKey,
    certificate: nodeCertificate(),
    ...change,
  });

export const welcome = (): ServerMessage => ({
  t: 'welcome',
  clientId: '000-000-001',
  ipv4: '100.64.0.1',
  ipv6: 'fd62:7572:6900::6440:1',
  pool4: '100.64.0.0/10',
  pool6: 'fd62:7572:6900::/96',
  serverTime: Date.now(),
  nodeList: new Uint8Array(1),
  graceMs: 60_000,
  software: 'fake',
});

/** For `connect`: a client that logs in. */
export const connectOptions = (url: string, pin: Uint8Array | undefined = clusterKey) => ({
  url: parseServerUrl(url),
  crypto,
  pin,
  controlKey: new Secret(keyOf('control')),
  time: wallMs(Date.now()),
  login: () => ({
    t: 'login' as const,
    certificate: new Uint8Array(10),
    instance: new Uint8Array(16),
    nick: 'anna',
    software: 'test',
    known: [],
  }),
  signal: new AbortController().signal,
});

/** One connection of a client, after the handshake: messages in and out, or raw bytes. */
export interface FakeConnection {
  readonly socket: WebSocket;
  readonly channel: FrameChannel;
  send(message: ServerMessage): void;
}

export interface FakeServerOptions {
  /** The answer to `hello`; anything. */
  readonly reply?: Uint8Array;
  /** The answer to Noise message 1 in place of message 2. */
  readonly noise?: Uint8Array;
  /** After the login message has come. */
  readonly onLogin?: (connection: FakeConnection) => void;
}

export class FakeControlServer implements AsyncDisposable {
  readonly #server: WebSocketServer;
  /** Connections that reached the server. */
  connections = 0;

  private constructor(server: WebSocketServer) {
    this.#server = server;
  }

  static async start(options: FakeServerOptions): Promise<FakeControlServer> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    const fake = new FakeControlServer(server);
    server.on('connection', (socket) => {
      fake.connections++;
      socket.on('error', () => {});
      serve(socket, options).catch(() => socket.terminate());
    });
    return fake;
  }

  get url(): string {
    return `buri://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function serve(socket: WebSocket, options: FakeServerOptions): Promise<void> {
  const hello = await message(socket);
  const reply = options.reply ?? helloReply();
  socket.send(reply);
  const first = await message(socket);
  const noise = new HandshakeState(crypto, {
    pattern: 'IK',
    role: 'responder',
    prologue: Buffer.concat([
      Buffer.from('buri control 1'),
      crypto.blake2s(hello),
      crypto.blake2s(reply),
    ]),
    s: { privateKey: nodePrivateKey, publicKey: crypto.x25519PublicKey(nodePrivateKey) },
  });
  if (noise.readMessage(first) === undefined) throw new Error('bad Noise message');
  const second = noise.writeMessage(new Uint8Array(0))!;
  if (options.noise !== undefined) {
    socket.send(options.noise);
    return;
  }
  const channel = new FrameChannel({
    ...noise.split(),
    maxReceivedBytes: maxClientMessageBytes,
  });
  socket.send(second);
  const opened = channel.open(await message(socket));
  if (opened.kind !== 'message') throw new Error('no login');
  const login = decodeClientMessage(opened.bytes);
  if (typeof login === 'string' || !/^(relay-)?login$/.test(login.t)) throw new Error('no login');
  options.onLogin?.({
    socket,
    channel,
    send: (sent) => {
      for (const frame of channel.seal(encodeMessage(sent))) socket.send(frame);
    },
  });
}

const message = async (socket: WebSocket): Promise<Uint8Array> => {
  const [data] = await once(socket, 'message');
  return data as Buffer;
};
