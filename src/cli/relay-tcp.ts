/** The TCP listener of `buri relay`, and the end of it. */
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { prefixesOf } from '#core/prefixes.ts';
import type { Relay } from '#relay/relay.ts';
import { listenError, readTls } from '#server/control/endpoint.ts';
import { busy, Lobby, turnAway } from '#server/control/lobby.ts';
import { isUnspecified, parseListenAddress } from '#server/listen-address.ts';
import { relayPath } from '#wire/relay.ts';
import type { RelayFlags } from './relay.ts';

export interface TcpListener {
  readonly url: string;
  /** Reads the TLS files again. BuriError: tls-invalid. */
  reloadTls(): void;
}

export async function listenTcp(
  relay: Relay,
  text: string,
  publicName: string | undefined,
  { tlsCert, tlsKey }: Pick<RelayFlags, 'tlsCert' | 'tlsKey'>,
  signal: AbortSignal,
): Promise<TcpListener> {
  const address = parseListenAddress(text, '--listen');
  const tls =
    tlsCert === undefined || tlsKey === undefined
      ? undefined
      : { certificatePath: tlsCert, keyPath: tlsKey };
  const options = { maxHeaderSize: 8192, headersTimeout: 10_000, requestTimeout: 10_000 };
  const secure = tls && createHttps({ ...options, ...readTls(tls) });
  const server = secure ?? createHttp(options);
  server.maxConnections = 8192;
  const lobby = new Lobby();
  server.on('connection', (socket) => lobby.enter(socket));
  server.on('request', (_request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain', connection: 'close' });
    response.end('This is a Buri relay.\n');
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (request.url?.split('?')[0] !== relayPath) {
      turnAway(socket, '404 Not Found');
      return;
    }
    const retryMs = lobby.refusedForMs(prefixesOf(request.socket.remoteAddress ?? ''));
    if (retryMs > 0) {
      turnAway(socket, busy(retryMs));
      return;
    }
    lobby.leave(request.socket);
    relay.upgrade(request, socket, head);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, address)));
    const { host, port } = address;
    server.listen(host === undefined ? { port } : { host, port }, resolve);
  });
  server.on('error', () => {});
  signal.addEventListener('abort', () => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const own = address.host?.includes(':') ? `[${address.host}]` : address.host;
  const name = publicName ?? (own === undefined || isUnspecified(address.host) ? '0.0.0.0' : own);
  return {
    url: `${tls ? 'wss' : 'ws'}://${name}:${port}${relayPath}`,
    reloadTls: () => tls && secure?.setSecureContext(readTls(tls)),
  };
}
