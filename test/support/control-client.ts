/**
 * A control client without a daemon around it: real WebSocket, real Noise, every step at the test's command. What the server
 * sends is kept, and waited for by condition.
 */
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { FrameChannel } from '#core/control/frames.ts';
import { HandshakeState, type KeyPair } from '#core/noise/handshake-state.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import {
  type ClientMessage,
  controlPath,
  decodeServerMessage,
  encodeMessage,
  helloReply,
  maxServerMessageBytes,
  type Operation,
  type OperationResult,
  type ServerMessage,
  type ServerMessageOf,
} from '#wire/control.ts';
import { openDocument, signDocument } from '#wire/signed.ts';

const dayMs = 86_400_000;
/** One moment for all: two certificates of one serial are the same bytes. */
const farAway = Date.now() + 365 * dayMs;
/** Argon2id is not what is tested here: a verifier is any 32 bytes that both sides of a test agree on. */
const argon2 = { memoryKib: 65_536, passes: 3, parallelism: 1 };

export const bytesOf = (text: string): Uint8Array => crypto.sha256(new TextEncoder().encode(text));

/** Keys of a device, the same for the same name. */
export class DeviceKeys {
  readonly name: string;
  readonly identitySeed: Uint8Array;
  readonly identity: Uint8Array;
  readonly control: KeyPair;
  readonly tunnel: KeyPair;

  constructor(name: string) {
    this.name = name;
    this.identitySeed = bytesOf(`identity ${name}`);
    this.identity = crypto.ed25519PublicKey(this.identitySeed);
    this.control = keyPair(bytesOf(`control ${name}`));
    this.tunnel = keyPair(bytesOf(`tunnel ${name}`));
  }

  certificate(serial = 1, notAfter = farAway): Uint8Array {
    return signDocument(
      'device-certificate',
      {
        identity: this.identity,
        controlKey: this.control.publicKey,
        tunnelKey: this.tunnel.publicKey,
        serial,
        notAfter,
        suites: ['chacha20poly1305'],
        extensionVersion: 1,
      },
      (message) => crypto.ed25519Sign(this.identitySeed, message),
    );
  }
}

const keyPair = (privateKey: Uint8Array): KeyPair => ({
  privateKey,
  publicKey: crypto.x25519PublicKey(privateKey),
});

/** What a creator of a network sends; the password stands for what Argon2id would make of it. */
export const admissionFor = (password: string) => ({
  salt: bytesOf(`salt ${password}`).slice(0, 16),
  argon2,
  verifier: verifierFor(password),
  wrappedSecret: new Uint8Array(72).fill(7),
  hasPassword: password !== '',
});

export const verifierFor = (password: string): Uint8Array => bytesOf(`verifier ${password}`);

type Login = Extract<ClientMessage, { t: 'login' }>;

export interface ConnectOptions {
  readonly url: string;
  readonly keys: DeviceKeys;
  readonly login?: Partial<Login>;
  /** Answer pings. True when absent. */
  readonly pongs?: boolean;
  /** Another static key than the certificate's. */
  readonly control?: KeyPair;
  readonly capabilities?: readonly string[];
  readonly versions?: readonly number[];
}

export class RefusedError extends Error {
  readonly code: string;
  readonly retryAfterMs: number | undefined;

  constructor({ error, retryAfterMs }: ServerMessageOf<'refused'>) {
    super(`${error.code}: ${error.message}`);
    this.code = error.code;
    this.retryAfterMs = retryAfterMs;
  }
}

export class ControlClient implements AsyncDisposable {
  readonly keys: DeviceKeys;
  readonly socket: WebSocket;
  /** Everything received since the login, in order. */
  readonly received: ServerMessage[] = [];
  /** Frames as they were sent, for replays. */
  readonly sentFrames: Uint8Array[] = [];
  pongs: boolean;
  closedWith: number | undefined;
  readonly #channel: FrameChannel;
  #wakers: (() => void)[] = [];
  #nextId = 1;

  private constructor(socket: WebSocket, channel: FrameChannel, options: ConnectOptions) {
    this.socket = socket;
    this.keys = options.keys;
    this.pongs = options.pongs ?? true;
    this.#channel = channel;
    socket.removeAllListeners('message');
    socket.on('message', (data: Buffer) => this.#receive(data));
    socket.on('close', (code) => {
      this.closedWith = code;
      this.#wake();
    });
  }

  /** Connects and logs in. RefusedError when the server says no. */
  static async login(options: ConnectOptions): Promise<ControlClient> {
    const client = await ControlClient.connect(options);
    client.send(loginMessage(options));
    const answer = await client.next(
      (message) => message.t === 'welcome' || message.t === 'refused',
      'an answer to the login',
    );
    if (answer.t === 'refused') throw new RefusedError(answer);
    return client;
  }

  /** Up to the end of the handshake: the next message is the login. */
  static async connect(options: ConnectOptions): Promise<ControlClient> {
    const { host, key } = parseUrl(options.url);
    const scheme = options.url.startsWith('buris:') ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${host}${controlPath}`, {
      perMessageDeflate: false,
      rejectUnauthorized: false,
    });
    socket.binaryType = 'nodebuffer';
    const inbox = inboxOf(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
      socket.once('unexpected-response', (request, { statusCode, headers }) => {
        request.destroy();
        const isBusy = statusCode === 503;
        reject(
          isBusy
            ? new BusyError(1000 * Number(headers['retry-after']))
            : new Error(`answered ${statusCode}`),
        );
      });
    });
    const versions = [...(options.versions ?? [1])];
    const helloBytes = encodeCbor({
      ...{ t: 'hello', versions },
      capabilities: [...(options.capabilities ?? [])],
    });
    socket.send(helloBytes);
    const replyBytes = await inbox();
    const reply = helloReply.parse(decodeCbor(replyBytes, 8192));
    assert.equal(reply.t, 'hello', `answered ${JSON.stringify(reply)}`);
    assert.ok(reply.t === 'hello');
    assert.deepEqual(Buffer.from(reply.clusterKey), Buffer.from(key), 'another cluster key');
    const certificate = openDocument('node-certificate', reply.certificate, (message, signature) =>
      crypto.ed25519Verify(key, message, signature),
    );
    assert.ok(certificate, 'the node certificate is signed by the cluster key');
    const prologue = Buffer.concat([
      Buffer.from('buri control 1'),
      crypto.blake2s(helloBytes),
      crypto.blake2s(replyBytes),
    ]);
    const noise = new HandshakeState(crypto, {
      pattern: 'IK',
      role: 'initiator',
      prologue,
      s: options.control ?? options.keys.control,
      rs: certificate.nodeKey,
    });
    socket.send(noise.writeMessage(new Uint8Array(0))!);
    assert.equal(noise.readMessage(await inbox())?.length, 0, 'Noise message 2');
    const channel = new FrameChannel({
      ...noise.split(),
      maxReceivedBytes: maxServerMessageBytes,
    });
    return new ControlClient(socket, channel, options);
  }

  get welcome(): ServerMessageOf<'welcome'> {
    const welcome = this.received.find((message) => message.t === 'welcome');
    assert.ok(welcome, 'logged in');
    return welcome;
  }

  get clientId(): string {
    return this.welcome.clientId;
  }

  send(message: ClientMessage): void {
    this.sendBytes(encodeMessage(message));
  }

  /** Bytes in place of a message, properly sealed. */
  sendBytes(bytes: Uint8Array): void {
    for (const frame of this.#channel.seal(bytes)) {
      this.sentFrames.push(frame);
      this.socket.send(frame);
    }
  }

  /** One request, its response. */
  async request(operation: Operation): Promise<OperationResult> {
    const id = this.#nextId++;
    this.send({ t: 'request', id, operation });
    const answer = await this.next(
      (message) => message.t === 'response' && message.id === id,
      `a response to ${operation.op}`,
    );
    return (answer as ServerMessageOf<'response'>).result;
  }

  /** Like `request`, for what must be granted. */
  async granted(operation: Operation): Promise<Extract<OperationResult, { ok: true }>> {
    const result = await this.request(operation);
    assert.ok(result.ok, `${operation.op}: ${JSON.stringify(result)}`);
    return result;
  }

  /** The code of a refusal. */
  async refused(operation: Operation): Promise<string> {
    const result = await this.request(operation);
    assert.ok(!result.ok, `${operation.op} was granted`);
    return result.error.code;
  }

  async create(name: string, password = ''): Promise<string> {
    const admission = admissionFor(password);
    const { network } = await this.granted({ op: 'create', name, type: 'mesh', admission });
    return network!;
  }

  join(name: string, password = ''): Promise<OperationResult> {
    return this.request({ op: 'join', name, verifier: verifierFor(password) });
  }

  /** The first message, received already or yet to come, that fits. Fails when the connection ends before. */
  async next<M extends ServerMessage>(
    fits: ((message: ServerMessage) => message is M) | ((message: ServerMessage) => boolean),
    what = 'a message',
    timeoutMs = 10_000,
  ): Promise<M> {
    let index = 0;
    const patience = AbortSignal.timeout(timeoutMs);
    patience.addEventListener('abort', () => this.#wake());
    for (;;) {
      for (; index < this.received.length; index++) {
        const message = this.received[index]!;
        if (fits(message)) return message as M;
      }
      if (this.closedWith !== undefined)
        throw new Error(`${this.keys.name}: closed with ${this.closedWith}, not ${what}`);
      if (patience.aborted) throw new Error(`${this.keys.name}: ${what} did not come`);
      await new Promise<void>((resolve) => this.#wakers.push(resolve));
    }
  }

  /** The last message of a kind so far. */
  last<T extends ServerMessage['t']>(kind: T): ServerMessageOf<T> | undefined {
    return this.received.findLast((message) => message.t === kind) as
      | ServerMessageOf<T>
      | undefined;
  }

  /** Waits for the connection to end and returns the close code. */
  async closed(timeoutMs = 15_000): Promise<number> {
    const until = performance.now() + timeoutMs;
    while (this.closedWith === undefined) {
      if (performance.now() > until) throw new Error(`${this.keys.name}: not closed`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return this.closedWith;
  }

  /** Ends without goodbye, as a machine that lost its network. */
  terminate(): void {
    this.socket.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closedWith !== undefined) return;
    this.socket.close(1000);
    await this.closed().catch(() => this.socket.terminate());
  }

  #receive(data: Buffer): void {
    const opened = this.#channel.open(new Uint8Array(data));
    if (opened.kind === 'partial') return;
    assert.equal(opened.kind, 'message', 'a frame of the server opens');
    assert.ok(opened.kind === 'message');
    const message = decodeServerMessage(opened.bytes);
    assert.notEqual(typeof message, 'string', `the server sent: ${message}`);
    if (typeof message === 'string') return;
    if (message.t === 'ping' && this.pongs) this.send({ t: 'pong', id: message.id });
    this.received.push(message);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#wakers.splice(0)) wake();
  }
}

export class BusyError extends Error {
  readonly retryAfterMs: number;

  constructor(retryAfterMs: number) {
    super(`busy for ${retryAfterMs} ms`);
    this.retryAfterMs = retryAfterMs;
  }
}

export const loginMessage = ({ keys, login }: Pick<ConnectOptions, 'keys' | 'login'>): Login => ({
  t: 'login',
  certificate: keys.certificate(),
  instance: bytesOf(`instance ${keys.name}`).slice(0, 16),
  nick: keys.name,
  software: 'test',
  known: [],
  ...login,
});

/** `buri://HOST:PORT#KEY` */
export function parseUrl(url: string): { host: string; key: Uint8Array } {
  const match = /^buris?:\/\/([^#]+)#([A-Za-z0-9_-]{43})$/.exec(url);
  assert.ok(match, `a server URL: ${url}`);
  return { host: match[1]!, key: new Uint8Array(Buffer.from(match[2]!, 'base64url')) };
}

/** Messages one by one during the handshake. */
function inboxOf(socket: WebSocket): () => Promise<Uint8Array> {
  const waiting: Uint8Array[] = [];
  let ended: number | undefined;
  let wake: (() => void) | undefined;
  socket.on('message', (data: Buffer) => {
    waiting.push(new Uint8Array(data));
    wake?.();
  });
  socket.on('error', () => {});
  socket.on('close', (code) => {
    ended = code;
    wake?.();
  });
  return async () => {
    while (waiting.length === 0) {
      if (ended !== undefined) throw new Error(`closed with ${ended} during the handshake`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return waiting.shift()!;
  };
}
