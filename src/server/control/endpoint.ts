/** Where clients connect: HTTP or HTTPS listeners, the WebSocket upgrade, and the limits on newcomers. */
import { readFileSync } from 'node:fs';
import {
  createServer as createHttp,
  type Server as HttpServer,
  type IncomingMessage,
} from 'node:http';
import { createServer as createHttps, type Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { BuriError } from '#core/errors.ts';
import { canonicalAddress, type Prefixes, prefixesOf } from '#core/prefixes.ts';
import { controlPath } from '#wire/control.ts';
import { relayPath } from '#wire/relay.ts';
import type { ListenAddress } from '../listen-address.ts';
import type { UpgradeHandler } from '../relays/relay-host.ts';
import { AdmissionQueue } from './admission-queue.ts';
import {
  leastRetryMs,
  maxBacklog,
  maxConnections,
  maxHeaderBytes,
  requestTimeoutMs,
} from './limits.ts';
import { busy, Lobby, turnAway } from './lobby.ts';

/** Largest WebSocket message: one Noise message. */
const maxPayloadBytes = 65_535;

export interface TlsFiles {
  readonly certificatePath: string;
  readonly keyPath: string;
}

/** A newcomer as it is handed on. `settled` gives its place among the handshakes free; it may be called again. */
export interface Newcomer {
  readonly socket: WebSocket;
  /** What the WebSocket is on. */
  readonly stream: Duplex;
  readonly address: string;
  readonly prefixes: Prefixes;
  readonly settled: () => void;
}

export class ControlEndpoint {
  readonly #servers: (HttpServer | HttpsServer)[] = [];
  readonly #tls: TlsFiles | undefined;
  readonly #accept: (newcomer: Newcomer) => void;
  readonly #webSockets = new WebSocketServer({
    noServer: true,
    maxPayload: maxPayloadBytes,
    perMessageDeflate: false,
    clientTracking: false,
  });
  readonly #lobby = new Lobby();
  readonly #queue = new AdmissionQueue();
  #connections = 0;
  /** Who takes what comes to the relay's path. */
  onRelayUpgrade: UpgradeHandler | undefined;
  #state: 'preparing' | 'open' | 'closing' = 'preparing';

  constructor(tls: TlsFiles | undefined, accept: (newcomer: Newcomer) => void) {
    this.#tls = tls;
    this.#accept = accept;
  }

  /** BuriError: port-in-use, port-forbidden, address-unavailable, tls-invalid. Returns the port. */
  async listen(address: ListenAddress): Promise<number> {
    const options = {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
    };
    const server =
      this.#tls === undefined
        ? createHttp(options)
        : createHttps({ ...options, ...readTls(this.#tls) });
    server.maxConnections = maxConnections;
    server.on('connection', (socket) => this.#lobby.enter(socket));
    server.on('request', (_request, response) => {
      response.writeHead(426, { 'content-type': 'text/plain', connection: 'close' });
      response.end('This is a Buri server. Log in to it with `buri login`.\n');
    });
    server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(error, address)));
      const { host, port } = address;
      const backlog = maxBacklog;
      server.listen(host === undefined ? { port, backlog } : { host, port, backlog }, resolve);
    });
    server.on('error', () => {});
    this.#servers.push(server);
    return (server.address() as AddressInfo).port;
  }

  /** Lets clients in: the ports are held before, but what clients are told depends on all of them. */
  open(): void {
    this.#state = 'open';
  }

  /** Newcomers wait, or were told a moment ago to come back later. */
  get isCrowded(): boolean {
    return this.#queue.isCrowded;
  }

  /** Reads the TLS files again: certificates are renewed more often than servers are restarted. */
  reloadTls(): void {
    if (this.#tls === undefined) return;
    const material = readTls(this.#tls);
    for (const server of this.#servers) (server as HttpsServer).setSecureContext(material);
  }

  /** No newcomers from now on; connections that were upgraded stay until their owner ends them. */
  async close(): Promise<void> {
    this.#state = 'closing';
    this.#queue.close();
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    const path = request.url?.split('?')[0];
    const relay = this.#state === 'open' && path === relayPath ? this.onRelayUpgrade : undefined;
    if (path !== controlPath && relay === undefined) {
      turnAway(socket, '404 Not Found');
      return;
    }
    const address = canonicalAddress(request.socket.remoteAddress ?? '');
    const prefixes = prefixesOf(address);
    const retryMs = this.#refusedForMs(prefixes);
    if (retryMs > 0) {
      turnAway(socket, busy(retryMs));
      return;
    }
    if (relay !== undefined) {
      this.#lobby.leave(request.socket);
      relay(request, socket, head);
      return;
    }
    const leave = () => this.#queue.leave(waiting);
    const waiting = {
      prefixes,
      begin: (settled: () => void) => {
        // Nothing of the request stays with the connection.
        socket.off('close', leave);
        this.#begin(request, socket, head, { address, prefixes, settled });
      },
      giveUp: (ms: number) => turnAway(socket, busy(ms)),
    };
    socket.once('close', leave);
    this.#queue.enter(waiting);
  }

  /** How long a newcomer is to stay away; 0: it may come in, or wait for its turn. */
  #refusedForMs(prefixes: Prefixes): number {
    if (this.#state !== 'open' || this.#connections >= maxConnections) return leastRetryMs;
    return this.#lobby.refusedForMs(prefixes);
  }

  #begin(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    newcomer: Pick<Newcomer, 'address' | 'prefixes' | 'settled'>,
  ): void {
    this.#lobby.leave(request.socket);
    // Also of a request that is no proper one: `ws` answers it and closes the socket.
    socket.once('close', newcomer.settled);
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#connections++;
      webSocket.on('close', () => {
        this.#connections--;
      });
      this.#accept({ socket: webSocket, stream: socket, ...newcomer });
    });
  }
}

/** BuriError: tls-invalid. */
export function readTls({ certificatePath, keyPath }: TlsFiles) {
  try {
    return { cert: readFileSync(certificatePath), key: readFileSync(keyPath) };
  } catch (error) {
    throw new BuriError(
      'tls-invalid',
      `cannot read the TLS certificate or key (${(error as Error).message}); check --tls-cert and --tls-key`,
      { cause: error },
    );
  }
}

/** What an operator can do about a port that cannot be had. */
export function listenError(error: unknown, address: ListenAddress, option = '--listen'): Error {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'EADDRINUSE':
      return new BuriError(
        'port-in-use',
        `another program uses ${address.text}; stop it, or choose another port with ${option}`,
      );
    case 'EACCES':
    case 'EPERM':
      return new BuriError(
        'port-forbidden',
        `no permission to listen on ${address.text}; ports below 1024 need root or CAP_NET_BIND_SERVICE`,
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new BuriError(
        'address-unavailable',
        `${address.text} is no address of this machine; check ${option}`,
      );
    default:
      return new BuriError('listen-failed', `cannot listen on ${address.text} (${message})`, {
        cause: error,
      });
  }
}
