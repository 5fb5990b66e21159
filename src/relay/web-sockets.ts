/**
 * The relay by WebSocket, for those whose UDP is blocked: each binary message is one datagram. What waits for a client that reads slowly
 * is bounded, and beyond that its datagrams are dropped, as UDP would.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { PrefixHoldings } from '#core/holdings.ts';
import { prefixesOf } from '#core/prefixes.ts';
import { addressBytes, formatAddress } from '#wire/endpoint.ts';
import { maxRelayDatagramBytes } from '#wire/relay.ts';
import {
  idleWebSocketMs,
  maxStrangersPerPrefix,
  maxStrangersPerWidePrefix,
  maxUnsentBytes,
  maxWaitingBytes,
  maxWebSockets,
  maxWebSocketsPerPrefix,
  maxWebSocketsPerWidePrefix,
  strangerPatienceMs,
} from './limits.ts';
import type { WebSocketSource } from './source.ts';

export interface WebSocketHandler {
  onDatagram(from: WebSocketSource, bytes: Uint8Array): void;
  /** Whether somebody holds an allocation over it. */
  isUsed(connection: number): boolean;
  onSlowReader(): void;
  /** Bounds what the kernel takes of a connection before it is sent. */
  limitUnsent(fd: number, bytes: number): void;
}

interface Line {
  readonly webSocket: WebSocket;
  readonly socket: Duplex;
}

export class WebSockets {
  readonly #handler: WebSocketHandler;
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: maxRelayDatagramBytes,
    perMessageDeflate: false,
    clientTracking: false,
  });
  readonly #open = new Map<number, Line>();
  /** Lines that hold back what was sent in this turn of the event loop. */
  readonly #corked: Duplex[] = [];
  readonly #perPrefix = new PrefixHoldings(maxWebSocketsPerPrefix, maxWebSocketsPerWidePrefix);
  readonly #strangers = new PrefixHoldings(maxStrangersPerPrefix, maxStrangersPerWidePrefix);
  #next = 1;
  #isClosed = false;

  constructor(handler: WebSocketHandler) {
    this.#handler = handler;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Takes over an HTTP upgrade for `/v1/relay`. False: it has turned the client away. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const endpoint = endpointOf(request);
    const prefixes = prefixesOf(endpoint?.address ?? '');
    const hasRoom =
      this.#open.size < maxWebSockets &&
      this.#perPrefix.hasRoom(prefixes) &&
      this.#strangers.hasRoom(prefixes);
    if (endpoint === undefined || !hasRoom || this.#isClosed) {
      socket.end('HTTP/1.1 503 Busy\r\n\r\n', () => socket.destroy());
      return false;
    }
    this.#limitUnsent(socket);
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      const connection = this.#next++;
      const from: WebSocketSource = { kind: 'ws', connection, endpoint };
      this.#open.set(connection, { webSocket, socket });
      this.#perPrefix.add(prefixes);
      this.#strangers.add(prefixes);
      let isStranger = true;
      const isKnown = (): void => {
        if (isStranger) this.#strangers.remove(prefixes);
        isStranger = false;
      };
      const look = (): void => {
        if (this.#handler.isUsed(connection)) isKnown();
        else webSocket.terminate();
      };
      const patience = setTimeout(look, strangerPatienceMs);
      const idle = setInterval(look, idleWebSocketMs);
      webSocket.on('error', () => webSocket.terminate());
      webSocket.on('close', () => {
        clearTimeout(patience);
        clearInterval(idle);
        isKnown();
        this.#open.delete(connection);
        this.#perPrefix.remove(prefixes);
      });
      webSocket.on('message', (data: Buffer, isBinary: boolean) => {
        if (!isBinary) webSocket.terminate();
        else {
          this.#handler.onDatagram(from, data);
          if (isStranger && this.#handler.isUsed(connection)) isKnown();
        }
      });
    });
    return true;
  }

  /** Sends one datagram, which may be a view of memory that is used again. False when it was dropped. */
  send(connection: number, header: Uint8Array | undefined, payload: Uint8Array): boolean {
    const line = this.#open.get(connection);
    if (line === undefined || line.webSocket.readyState !== line.webSocket.OPEN) return false;
    const { webSocket, socket } = line;
    if (webSocket.bufferedAmount > maxWaitingBytes) {
      this.#handler.onSlowReader();
      return false;
    }
    const bytes = header === undefined ? Buffer.from(payload) : Buffer.concat([header, payload]);
    this.#cork(socket);
    webSocket.send(bytes, { binary: true });
    return true;
  }

  /** What a turn of the event loop brings for a client leaves by one system call: that costs as much as twenty datagrams. */
  #cork(socket: Duplex): void {
    if (socket.writableCorked > 0) return;
    socket.cork();
    if (this.#corked.push(socket) > 1) return;
    setImmediate(() => {
      for (const corked of this.#corked.splice(0)) corked.uncork();
    });
  }

  /** So that the queue of a slow reader is the one here, which drops, and not megabytes in the kernel. TLS hands its connection through. */
  #limitUnsent(socket: Duplex): void {
    const { fd } = (socket as { _handle?: { fd?: number } })._handle ?? {};
    if (fd !== undefined && fd >= 0) this.#handler.limitUnsent(fd, maxUnsentBytes);
  }

  close(): void {
    this.#isClosed = true;
    const sockets = [...this.#open.values()].map(({ webSocket }) => webSocket);
    for (const webSocket of sockets) webSocket.close(1012);
    setTimeout(() => {
      for (const webSocket of sockets) webSocket.terminate();
    }, 1000).unref();
  }
}

function endpointOf({ socket }: IncomingMessage) {
  const bytes = addressBytes((socket.remoteAddress ?? '').replace(/%.*$/, ''));
  const port = socket.remotePort;
  return bytes === undefined || port === undefined
    ? undefined
    : { address: formatAddress(bytes), port };
}
