import { WebSocket } from 'ws';
import { assert, BuriError } from '#core/errors.ts';
import { addressBytes, formatAddress } from '#wire/endpoint.ts';
import { ControlError } from './control-error.ts';
import { dialFailure } from './dial-failure.ts';
import { maxWaitingMessages, maxWebSocketMessageBytes, mostRetryAfterMs } from './limits.ts';
import type { ProxyChoice } from './proxy.ts';
import type { ServerUrl } from './server-url.ts';
import { openWebSocket } from './web-socket.ts';
import { targetOf } from './web-socket-target.ts';

/**
 * The WebSocket of a control connection as a queue: read one message at a time during the handshake, by a handler after it.
 * The first failure, from whichever side, is the one that is told.
 */
export class Mailbox {
  readonly socket: WebSocket;
  readonly #waiting: Uint8Array[] = [];
  /** IP address of the other side, once it answered, as far as it is known; in canonical text. */
  remoteAddress: string | undefined;
  /** IP address of this side. */
  localAddress: string | undefined;
  readonly #signal: AbortSignal;
  readonly #giveUp = () => this.fail(lost('the attempt was given up'));
  #failure: BuriError | undefined;
  #wake: (() => void) | undefined;
  #handle: ((bytes: Uint8Array) => void) | undefined;
  #end: ((reason: ControlError) => void) | undefined;

  /** @param localAddress address of this machine to connect from; undefined: as the system chooses. */
  constructor(
    url: ServerUrl,
    proxies: ProxyChoice,
    signal: AbortSignal,
    localAddress: string | undefined,
  ) {
    this.socket = openWebSocket(url.webSocketUrl, proxies, {
      maxPayload: maxWebSocketMessageBytes,
      localAddress,
    });
    this.socket.binaryType = 'nodebuffer';
    const target = targetOf(url.webSocketUrl);
    const isProxied = proxies.proxyFor(target) !== undefined;
    this.socket.on('upgrade', ({ socket }) => {
      // Behind a proxy only an address in the URL says where the server is: a name is looked up by the proxy.
      const text = isProxied ? target.host : (socket.remoteAddress?.split('%')[0] ?? '');
      const bytes = addressBytes(text);
      this.remoteAddress = bytes && formatAddress(bytes);
      this.localAddress = socket.localAddress?.split('%')[0];
    });
    this.socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary));
    this.socket.on('unexpected-response', (request, response) => {
      this.fail(turnedAway(url, response.statusCode, response.headers['retry-after']));
      request.destroy();
    });
    this.socket.on('error', (error) => this.fail(unreachable(url, error)));
    this.socket.on('close', () => this.fail(lost('the server closed the connection')));
    this.#signal = signal;
    signal.addEventListener('abort', this.#giveUp);
    if (signal.aborted) this.#giveUp();
  }

  async opened(): Promise<void> {
    if (this.socket.readyState === WebSocket.OPEN) return;
    await new Promise<void>((resolve) => {
      this.socket.once('open', resolve);
      this.#wake = resolve;
      if (this.#failure !== undefined) resolve();
    });
    this.#wake = undefined;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async next(): Promise<Uint8Array> {
    assert(this.#handle === undefined, 'a mailbox has one reader');
    while (this.#waiting.length === 0) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    return this.#waiting.shift()!;
  }

  /** From now on messages go to `handle`, beginning with those that wait; `end` is called once. */
  drain(handle: (bytes: Uint8Array) => void, end: (reason: ControlError) => void): void {
    this.#handle = handle;
    this.#end = end;
    for (const bytes of this.#waiting.splice(0)) this.#deliver(bytes);
    if (this.#failure !== undefined) this.#announce();
  }

  fail(reason: BuriError): void {
    if (this.#failure !== undefined) return;
    this.#ended(reason);
    this.#wake?.();
    if (this.#handle !== undefined) this.#announce();
  }

  /** Says goodbye by close code 1000 and waits a little for the other side to hear it. */
  async close(): Promise<void> {
    this.#end = undefined;
    if (this.#failure === undefined) this.#ended(lost('closed by this side'));
    if (this.socket.readyState === WebSocket.OPEN) {
      const closed = new Promise((resolve) => this.socket.once('close', resolve));
      this.socket.close(1000);
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, goodbyeMs))]);
    }
    this.socket.terminate();
  }

  /** The signal lives as long as the daemon is logged in: nothing of a connection may stay on it. */
  #ended(reason: BuriError): void {
    this.#failure = reason;
    this.#signal.removeEventListener('abort', this.#giveUp);
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#failure !== undefined) return;
    if (!isBinary) {
      this.fail(
        new ControlError('not-a-buri-server', 'the server sent text: it is no Buri server'),
      );
    } else if (this.#handle !== undefined) this.#deliver(data);
    else if (this.#waiting.length >= maxWaitingMessages) {
      this.fail(new ControlError('protocol-error', 'the server floods the connection'));
    } else {
      this.#waiting.push(data);
      this.#wake?.();
    }
  }

  #deliver(bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      this.#handle?.(bytes);
    } catch (error) {
      if (!(error instanceof BuriError)) throw error;
      this.fail(error);
    }
  }

  #announce(): void {
    const end = this.#end;
    this.#end = undefined;
    const reason = this.#failure;
    if (end === undefined || reason === undefined) return;
    end(reason instanceof ControlError ? reason : new ControlError(reason.code, reason.message));
  }
}

/** A loaded server may take its time; a goodbye that it does not hear leaves this client `unconfirmed` for a minute. */
const goodbyeMs = 3000;

const lost = (why: string): ControlError => new ControlError('connection-lost', why);

/** What went wrong below, in words that help. */
/** An HTTP answer instead of the upgrade. @param retryAfter seconds (RFC 9110 §10.2.3); a date is not looked at. */
function turnedAway(
  url: ServerUrl,
  status: number | undefined,
  retryAfter: string | undefined,
): ControlError {
  if (status !== 503)
    return new ControlError('not-a-buri-server', `what answers at ${url.text} is no Buri server`);
  const retryAfterMs = 1000 * Number(retryAfter);
  const isUsable = retryAfterMs >= 0 && retryAfterMs <= mostRetryAfterMs;
  return new ControlError(
    'server-busy',
    `the server at ${url.text} is busy now`,
    isUsable ? retryAfterMs : undefined,
  );
}

function unreachable(url: ServerUrl, error: Error): ControlError {
  if (error instanceof ControlError) return error;
  const why = dialFailure(error);
  return new ControlError(
    'server-unreachable',
    `cannot reach the server at ${url.text}: ${why}`,
    undefined,
    { cause: error },
  );
}
