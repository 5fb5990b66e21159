import { WebSocket } from 'ws';
import type { z } from 'zod';
import { sameBytes } from '#core/bytes.ts';
import { FrameChannel } from '#core/control/frames.ts';
import { controlPrologue } from '#core/control/prologue.ts';
import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';
import { openNodeCertificate } from '#core/mesh/documents.ts';
import { HandshakeState } from '#core/noise/handshake-state.ts';
import { type WallMs, wallMs } from '#core/time.ts';
import type { Secret } from '#crypto/secret.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import {
  type ClientMessage,
  controlVersion,
  decodeServerMessage,
  encodeMessage,
  type hello,
  helloReply,
  maxHelloBytes,
  maxServerMessageBytes,
  type ServerMessage,
  type ServerMessageOf,
} from '#wire/control.ts';
import { relayCapability } from '#wire/relay-control.ts';
import type { NodeCertificate } from '#wire/signed.ts';
import { ControlError } from './control-error.ts';
import { connectTimeoutMs, maxUnsentBytes, silenceMs } from './limits.ts';
import { Mailbox } from './mailbox.ts';
import { noProxy, type ProxyChoice } from './proxy.ts';
import { clusterKeyText, type ServerUrl } from './server-url.ts';

export interface ConnectOptions {
  readonly url: ServerUrl;
  /** Through which proxy; default none. */
  readonly proxies?: ProxyChoice;
  readonly crypto: Crypto;
  /** The cluster's key; undefined at the first contact with a server whose URL carries none. */
  readonly pin: Uint8Array | undefined;
  readonly controlKey: Secret;
  /** Best time known. */
  readonly time: WallMs;
  /** The login message, made when it is its turn. */
  readonly login: () => Extract<ClientMessage, { t: 'login' | 'relay-login' }>;
  readonly signal: AbortSignal;
  /** Address of this machine to connect from; default: as the system chooses. */
  readonly localAddress?: string;
}

/** What of `Mailbox` a logged-in connection goes on with. */
export interface Handlers {
  readonly onMessage: (message: ServerMessage) => void;
  readonly onClosed: (reason: ControlError) => void;
}

/**
 * A control connection from hello to welcome (protocol §4). ControlError: server-unreachable, not-a-buri-server,
 * server-busy, version-unsupported, server-key-mismatch, server-certificate-invalid, login-timeout, connection-lost, those of
 * `openTunnel`, or the server's own code for a refused login.
 */
export async function connect(options: ConnectOptions): Promise<ControlConnection> {
  const { url, proxies = noProxy, signal, localAddress } = options;
  const mailbox = new Mailbox(url, proxies, signal, localAddress);
  const timer = setTimeout(() => mailbox.fail(timedOut(options.url)), connectTimeoutMs);
  try {
    await mailbox.opened();
    const { clusterKey, channel, notAfter } = await handshake(mailbox, options);
    const login = options.login();
    send(mailbox.socket, channel, login);
    let answer: ServerMessage | undefined;
    while (answer === undefined) answer = open(channel, await mailbox.next());
    if (answer.t === 'refused') throw refusal(answer);
    if (answer.t !== 'welcome' && answer.t !== 'relay-state')
      throw protocolFault('no welcome after the login');
    if ((answer.t === 'welcome') !== (login.t === 'login'))
      throw protocolFault('a welcome for another kind of login');
    if (answer.serverTime > notAfter) throw invalidCertificate("it ends before the server's time");
    return new ControlConnection({ mailbox, channel, clusterKey, notAfter, answer });
  } catch (error) {
    mailbox.socket.terminate();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

interface LoggedIn {
  readonly mailbox: Mailbox;
  readonly channel: FrameChannel;
  readonly clusterKey: Uint8Array;
  /** End of the server's certificate: what it says later than that is not believed. */
  readonly notAfter: number;
  readonly answer: LoginAnswer;
}

/** What answers a login: of a client, of a relay. */
export type LoginAnswer = ServerMessageOf<'welcome'> | ServerMessageOf<'relay-state'>;

/** A logged-in connection. Messages that arrive before `start` are kept. */
export class ControlConnection {
  readonly clusterKey: Uint8Array;
  readonly answer: LoginAnswer;
  readonly #mailbox: Mailbox;
  readonly #channel: FrameChannel;
  readonly #notAfter: number;
  #lastHeard = performance.now();
  #watch: NodeJS.Timeout | undefined;

  constructor({ mailbox, channel, clusterKey, notAfter, answer }: LoggedIn) {
    this.#mailbox = mailbox;
    this.#channel = channel;
    this.#notAfter = notAfter;
    this.clusterKey = clusterKey;
    this.answer = answer;
  }

  /** `onClosed` is called once, whoever ended it, except after `close`. */
  start({ onMessage, onClosed }: Handlers): void {
    const end = (reason: ControlError) => {
      clearInterval(this.#watch);
      this.#mailbox.socket.terminate();
      onClosed(reason);
    };
    this.#watch = setInterval(() => {
      if (performance.now() - this.#lastHeard > silenceMs) {
        this.#mailbox.fail(new ControlError('connection-lost', 'the server has fallen silent'));
      }
    }, silenceMs / 10);
    this.#mailbox.socket.on('pong', () => this.#heard());
    this.#mailbox.drain((bytes) => {
      this.#heard();
      const message = open(this.#channel, bytes);
      if (message === undefined) return;
      if (message.t === 'ping') {
        if (message.serverTime > this.#notAfter) throw outlived();
        this.send({ t: 'pong', id: message.id });
      }
      if (message.t === 'refused') this.#mailbox.fail(refusal(message));
      else onMessage(message);
    }, end);
  }

  /** Of a client's connection. */
  get welcome(): ServerMessageOf<'welcome'> {
    assert(this.answer.t === 'welcome', "a client's connection");
    return this.answer;
  }

  /** IP address of the node that this is a connection to. */
  get serverAddress(): string | undefined {
    return this.#mailbox.remoteAddress;
  }

  /** False when the connection is gone or so far behind that it is given up. */
  send(message: ClientMessage): boolean {
    const { socket } = this.#mailbox;
    if (socket.readyState !== WebSocket.OPEN) return false;
    if (socket.bufferedAmount > maxUnsentBytes) {
      this.#mailbox.fail(new ControlError('connection-lost', 'the server takes no messages'));
      return false;
    }
    send(socket, this.#channel, message);
    return true;
  }

  /** Ends it without a goodbye. */
  drop(why: string): void {
    this.#mailbox.fail(new ControlError('connection-lost', why));
  }

  /** The network may have changed: `onSilence` is called when the server does not answer within `withinMs`. */
  probe(withinMs: number, onSilence: () => void): void {
    const before = this.#lastHeard;
    if (this.#mailbox.socket.readyState === WebSocket.OPEN) this.#mailbox.socket.ping();
    setTimeout(() => {
      if (this.#lastHeard === before) onSilence();
    }, withinMs).unref();
  }

  /** Where it comes from, as this machine sees it. */
  get localAddress(): string | undefined {
    return this.#mailbox.localAddress;
  }

  /** Ends it with a goodbye: the server shows this client as offline at once. */
  async close(): Promise<void> {
    clearInterval(this.#watch);
    await this.#mailbox.close();
  }

  #heard(): void {
    this.#lastHeard = performance.now();
  }
}

async function handshake(mailbox: Mailbox, options: ConnectOptions) {
  const { crypto } = options;
  const greeting: z.infer<typeof hello> = {
    t: 'hello',
    versions: [controlVersion],
    capabilities: [relayCapability],
  };
  const helloBytes = encodeCbor(greeting);
  mailbox.socket.send(helloBytes);
  const replyBytes = await mailbox.next();
  const reply = helloReply.safeParse(decodeCbor(replyBytes, 2 * maxHelloBytes + 4096));
  if (!reply.success) throw notBuri(options.url);
  if (reply.data.t === 'unsupported') throw unsupported(reply.data.versions);
  if (reply.data.version !== controlVersion) throw unsupported([reply.data.version]);
  const { clusterKey, certificate } = reply.data;
  const { nodeKey, notAfter } = checkServer(options, clusterKey, certificate);
  const privateKey = options.controlKey.bytes();
  const noise = new HandshakeState(crypto, {
    pattern: 'IK',
    role: 'initiator',
    prologue: controlPrologue(crypto, helloBytes, crypto.blake2s(replyBytes)),
    s: { privateKey, publicKey: crypto.x25519PublicKey(privateKey) },
    rs: nodeKey,
  });
  const first = noise.writeMessage(new Uint8Array(0));
  if (first === undefined) throw invalidCertificate('its node key is no key');
  mailbox.socket.send(first);
  if (noise.readMessage(await mailbox.next()) === undefined) {
    throw invalidCertificate('it does not hold the key that its certificate names');
  }
  const channel = new FrameChannel({ ...noise.split(), maxReceivedBytes: maxServerMessageBytes });
  return { clusterKey, channel, notAfter };
}

/** The node's certificate, after it was checked against the pin. */
function checkServer(
  { crypto, pin, time, url }: ConnectOptions,
  clusterKey: Uint8Array,
  certificate: Uint8Array,
): NodeCertificate {
  if (pin !== undefined && !sameBytes(pin, clusterKey)) {
    throw new ControlError(
      'server-key-mismatch',
      `the server at ${url.text} shows the key ${clusterKeyText(clusterKey)}, not the expected ` +
        `${clusterKeyText(pin)}: it is another server, or somebody is in between. If its operator ` +
        "confirms the new key, log in with the URL that 'buri server url' prints",
    );
  }
  const opened = openNodeCertificate(crypto, clusterKey, certificate, time);
  if (opened.ok) return opened.document;
  switch (opened.fault) {
    case 'certificate-early':
    case 'certificate-expired': {
      const when = opened.fault === 'certificate-early' ? 'not valid yet' : 'expired';
      const clock = new Date(time).toISOString();
      throw invalidCertificate(`it is ${when} (this computer's clock says ${clock})`);
    }
    case 'certificate-malformed':
    case 'certificate-forged':
      throw invalidCertificate('it is not signed by the cluster key');
    default:
      opened.fault satisfies never;
      throw invalidCertificate('unknown');
  }
}

function send(socket: WebSocket, channel: FrameChannel, message: ClientMessage): void {
  for (const frame of channel.seal(encodeMessage(message))) socket.send(frame);
}

/** A whole message, or undefined while more frames must come. */
function open(channel: FrameChannel, bytes: Uint8Array): ServerMessage | undefined {
  const opened = channel.open(bytes);
  if (opened.kind === 'partial') return undefined;
  if (opened.kind === 'broken') throw protocolFault(opened.reason);
  const message = decodeServerMessage(opened.bytes);
  if (typeof message === 'string') throw protocolFault(message);
  return message;
}

const refusal = ({ error, retryAfterMs }: ServerMessageOf<'refused'>): ControlError =>
  new ControlError(error.code, error.message, retryAfterMs);

const protocolFault = (what: string): ControlError =>
  new ControlError(
    'protocol-error',
    `the server sent something that cannot be understood (${what}); update Buri on both sides`,
  );

const outlived = (): ControlError =>
  new ControlError('connection-lost', "the server's time has left behind its certificate");

const invalidCertificate = (why: string): ControlError =>
  new ControlError('server-certificate-invalid', `the server's certificate does not hold: ${why}`);

const notBuri = (url: ServerUrl): ControlError =>
  new ControlError('not-a-buri-server', `what answers at ${url.text} is no Buri server`);

const unsupported = (versions: readonly number[]): ControlError =>
  new ControlError(
    'version-unsupported',
    `the server speaks protocol ${versions.join(', ') || 'unknown'}, this program ` +
      `${controlVersion}; update the older of the two`,
  );

const timedOut = (url: ServerUrl): ControlError =>
  new ControlError(
    'login-timeout',
    `the server at ${url.text} did not complete the login within ${connectTimeoutMs / 1000} s`,
  );

/** The wall clock, or the latest authenticated server time when that is later (protocol §3). */
export const bestTime = (serverTimeMs: number): WallMs =>
  wallMs(Math.max(Date.now(), serverTimeMs));
