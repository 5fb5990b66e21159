/**
 * One control connection, from hello to goodbye (protocol §4):
 *
 *   greeting ──hello──► handshaking ──Noise message 1──► proving ──login──► deciding ──welcome──► serving
 *       └─────────── unsupported, malformed, forged, out of turn, 10 s over ─────► closed ◄──────┘
 *       └─ silent for 5 s before the first handshake message ─┘
 */
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { FrameChannel } from '#core/control/frames.ts';
import { controlPrologue } from '#core/control/prologue.ts';
import type { Crypto } from '#core/crypto.ts';
import { Bucket } from '#core/limiter.ts';
import { HandshakeState, type KeyPair } from '#core/noise/handshake-state.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import {
  type ClientMessage,
  controlVersion,
  decodeClientMessage,
  encodeMessage,
  hello,
  maxClientMessageBytes,
  maxHelloBytes,
  type ServerMessage,
} from '#wire/control.ts';
import { relayCapability } from '#wire/relay-control.ts';
import type { LoginMessage } from '../coordinator/login.ts';
import type { RelayLoginMessage } from '../coordinator/relays/desk.ts';
import {
  bytesPerSession,
  closeTimeoutMs,
  greetingTimeoutMs,
  loginTimeoutMs,
  maxQueuedBytes,
  maxQueuedForSignals,
  messagesPerSession,
} from './limits.ts';

export interface SessionHandlers {
  /** `capabilities`: of the client's hello. */
  readonly onLogin: (
    controlKey: Uint8Array,
    message: LoginMessage | RelayLoginMessage,
    capabilities: readonly string[],
  ) => void;
  readonly onMessage: (message: Exclude<ClientMessage, { t: 'login' | 'relay-login' }>) => void;
  /** Once, whatever ended it; `clean` when the client said goodbye. */
  readonly onClosed: (clean: boolean) => void;
  /** The connection needs no place among the handshakes any more. */
  readonly onSettled: () => void;
  /** Something was dropped or refused, by name: counted. */
  readonly onFault: (fault: SessionFault) => void;
}

export type SessionFault =
  | 'malformed-hello'
  | 'version-unsupported'
  | 'handshake-forged'
  | 'frame-broken'
  | 'malformed-message'
  | 'login-timeout'
  | 'signal-dropped'
  | 'too-slow';

export interface SessionOptions {
  /** What the WebSocket is on: all that is sent in one turn is one write. */
  readonly stream: Pick<Duplex, 'cork' | 'uncork'>;
  readonly crypto: Crypto;
  readonly nodeKeyPair: KeyPair;
  readonly clusterKey: Uint8Array;
  readonly certificate: Uint8Array;
}

type State =
  | { readonly kind: 'greeting' }
  | { readonly kind: 'handshaking'; readonly noise: HandshakeState }
  | { readonly kind: 'proving'; readonly channel: FrameChannel; readonly controlKey: Uint8Array }
  | { readonly kind: 'deciding'; readonly channel: FrameChannel }
  | { readonly kind: 'serving'; readonly channel: FrameChannel }
  | { readonly kind: 'closed' };

const closeProtocolError = 1002;
const closedCleanly = 1000;

/** One message often goes to many: encoded once. */
const encodings = new WeakMap<ServerMessage, Uint8Array>();

/** The answer to hello: the same for all as long as the certificate is, and everybody may come at once. */
const replies = new WeakMap<
  Uint8Array,
  { readonly reply: Uint8Array; readonly hash: Uint8Array }
>();

function replyOf(crypto: Crypto, clusterKey: Uint8Array, certificate: Uint8Array) {
  const known = replies.get(certificate);
  if (known !== undefined) return known;
  const reply = encodeCbor({
    ...{ t: 'hello', version: controlVersion, capabilities: [relayCapability] },
    ...{ clusterKey, certificate },
  });
  const made = { reply, hash: crypto.blake2s(reply) };
  replies.set(certificate, made);
  return made;
}

export class ControlSession {
  readonly #socket: WebSocket;
  readonly #options: SessionOptions;
  readonly #handlers: SessionHandlers;
  readonly #messages = new Bucket(messagesPerSession);
  readonly #bytes = new Bucket(bytesPerSession);
  #state: State = { kind: 'greeting' };
  #loginTimer: NodeJS.Timeout | undefined;
  #resumeTimer: NodeJS.Timeout | undefined;
  #ended = false;
  #corked = false;
  #capabilities: readonly string[] = [];

  constructor(socket: WebSocket, options: SessionOptions, handlers: SessionHandlers) {
    this.#socket = socket;
    this.#options = options;
    this.#handlers = handlers;
    this.#limitLogin(greetingTimeoutMs);
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('error', () => socket.terminate());
    socket.on('close', (code) => this.#closed(code === closedCleanly));
  }

  /** Logged in. */
  get isServing(): boolean {
    return this.#state.kind === 'serving';
  }

  /** Sends, or drops: a client that does not read is cut, rather than remembered for. */
  send(message: ServerMessage): void {
    const state = this.#state;
    if (state.kind !== 'deciding' && state.kind !== 'serving') return;
    const queued = this.#socket.bufferedAmount;
    if (message.t === 'signal' && queued > maxQueuedForSignals) {
      this.#handlers.onFault('signal-dropped');
      return;
    }
    if (queued > maxQueuedBytes) {
      this.#handlers.onFault('too-slow');
      this.#socket.terminate();
      return;
    }
    // What answers a login.
    if (message.t === 'welcome' || message.t === 'relay-state') this.#settle(state);
    let bytes = encodings.get(message);
    if (bytes === undefined) {
      bytes = encodeMessage(message);
      encodings.set(message, bytes);
    }
    this.#cork();
    for (const frame of state.channel.seal(bytes)) this.#socket.send(frame);
  }

  /** A login, or a commit that concerns many, sends a dozen small messages: a system call each would cost more than all the rest. */
  #cork(): void {
    if (this.#corked) return;
    const { stream } = this.#options;
    this.#corked = true;
    stream.cork();
    process.nextTick(() => {
      this.#corked = false;
      stream.uncork();
    });
  }

  /** Ends it after what was sent before. It may be long in going, and keeps nobody else out meanwhile. */
  close(code: number): void {
    clearTimeout(this.#loginTimer);
    this.#handlers.onSettled();
    this.#socket.resume();
    this.#socket.close(code);
    setTimeout(() => this.#socket.terminate(), closeTimeoutMs).unref();
  }

  /** Reads nothing more for so long: the client waits. */
  pause(ms: number): void {
    if (this.#ended || this.#resumeTimer !== undefined) return;
    this.#socket.pause();
    this.#resumeTimer = setTimeout(() => {
      this.#resumeTimer = undefined;
      this.#socket.resume();
    }, ms);
  }

  #limitLogin(ms: number): void {
    clearTimeout(this.#loginTimer);
    this.#loginTimer = setTimeout(() => this.#fault('login-timeout'), ms);
  }

  #settle(state: Extract<State, { channel: FrameChannel }>): void {
    clearTimeout(this.#loginTimer);
    this.#state = { kind: 'serving', channel: state.channel };
    this.#handlers.onSettled();
  }

  #closed(clean: boolean): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#loginTimer);
    clearTimeout(this.#resumeTimer);
    if (this.#state.kind === 'handshaking') this.#state.noise.erase();
    this.#state = { kind: 'closed' };
    this.#handlers.onClosed(clean);
  }

  #fault(fault: SessionFault): void {
    this.#handlers.onFault(fault);
    this.#state = { kind: 'closed' };
    this.close(closeProtocolError);
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#ended || this.#state.kind === 'closed') return;
    const bytes = asBytes(data);
    if (!isBinary) {
      this.#fault('malformed-message');
      return;
    }
    switch (this.#state.kind) {
      case 'greeting':
        this.#greet(bytes);
        return;
      case 'handshaking':
        this.#shake(this.#state.noise, bytes);
        return;
      case 'proving':
      case 'deciding':
      case 'serving':
        this.#throttle(bytes.length);
        this.#open(this.#state, bytes);
        return;
      default:
        this.#state satisfies never;
    }
  }

  #greet(bytes: Uint8Array): void {
    const greeting = hello.safeParse(decodeCbor(bytes, maxHelloBytes));
    if (!greeting.success) {
      this.#fault('malformed-hello');
      return;
    }
    if (!greeting.data.versions.includes(controlVersion)) {
      this.#handlers.onFault('version-unsupported');
      this.#socket.send(encodeCbor({ t: 'unsupported', versions: [controlVersion] }));
      this.#state = { kind: 'closed' };
      this.close(closedCleanly);
      return;
    }
    this.#capabilities = greeting.data.capabilities;
    const { crypto, nodeKeyPair, clusterKey, certificate } = this.#options;
    const { reply, hash } = replyOf(crypto, clusterKey, certificate);
    const prologue = controlPrologue(crypto, bytes, hash);
    const noise = new HandshakeState(crypto, {
      pattern: 'IK',
      role: 'responder',
      prologue,
      s: nodeKeyPair,
    });
    this.#state = { kind: 'handshaking', noise };
    this.#socket.send(reply);
  }

  /** Message 1 has no effect of any kind: it can be recorded and replayed, and then leads nowhere. */
  #shake(noise: HandshakeState, bytes: Uint8Array): void {
    const payload = noise.readMessage(bytes);
    const answer = payload?.length === 0 ? noise.writeMessage(new Uint8Array(0)) : undefined;
    const controlKey = noise.remoteStatic;
    if (answer === undefined || controlKey === undefined) {
      this.#fault('handshake-forged');
      return;
    }
    const channel = new FrameChannel({
      ...noise.split(),
      maxReceivedBytes: maxClientMessageBytes,
    });
    this.#state = { kind: 'proving', channel, controlKey };
    this.#limitLogin(loginTimeoutMs - greetingTimeoutMs);
    this.#socket.send(answer);
  }

  #open(state: Extract<State, { channel: FrameChannel }>, bytes: Uint8Array): void {
    const opened = state.channel.open(bytes);
    if (opened.kind === 'partial') return;
    if (opened.kind === 'broken') {
      this.#fault('frame-broken');
      return;
    }
    const message = decodeClientMessage(opened.bytes);
    if (typeof message === 'string') this.#reject(message);
    else if (message.t === 'login' || message.t === 'relay-login') {
      if (state.kind !== 'proving') this.#reject(`${message.t} is out of turn`);
      else {
        this.#state = { kind: 'deciding', channel: state.channel };
        this.#handlers.onLogin(state.controlKey, message, this.#capabilities);
      }
    } else if (state.kind === 'serving') this.#handlers.onMessage(message);
    else this.#reject(`${message.t} is out of turn`);
  }

  /** An authenticated client that sends nonsense is told which, once. */
  #reject(what: string): void {
    if (this.#state.kind === 'proving')
      this.#state = { kind: 'deciding', channel: this.#state.channel };
    this.send({
      t: 'refused',
      error: {
        code: 'protocol-error',
        message: `the server did not understand the client (${what}); update the older of the two`,
      },
    });
    this.#fault('malformed-message');
  }

  /** Beyond its rate a client is not read: it waits in its own socket buffers. */
  #throttle(lengthBytes: number): void {
    const nowMs = performance.now();
    const waitMs = Math.max(this.#messages.take(nowMs), this.#bytes.take(nowMs, lengthBytes));
    if (waitMs > 0) this.pause(waitMs);
  }
}

function asBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(data);
}
