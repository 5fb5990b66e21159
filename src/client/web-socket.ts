import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { type ClientOptions, WebSocket } from 'ws';
import type { ProxyChoice } from './proxy.ts';
import { openTunnel } from './proxy-tunnel.ts';
import { isName, targetOf } from './web-socket-target.ts';

/**
 * A WebSocket to a server or relay, through the proxy where one is to be used. Whoever answers is known by keys inside: a
 * certificate of TLS adds privacy on the way, not trust, and is not checked.
 */
export function openWebSocket(
  url: string,
  proxies: ProxyChoice,
  options: ClientOptions,
): WebSocket {
  const target = targetOf(url);
  const proxy = proxies.proxyFor(target);
  const common: ClientOptions = {
    ...options,
    perMessageDeflate: false,
    rejectUnauthorized: false,
  };
  if (proxy === undefined) return new WebSocket(url, common);
  const ended = new AbortController();
  const open = async (): Promise<Duplex> => {
    const tunnel = await openTunnel(proxy, target, ended.signal);
    if (!url.startsWith('wss:')) return tunnel;
    return connectTls({
      socket: tunnel,
      ...(isName(target.host) ? { servername: target.host } : {}),
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    });
  };
  const createConnection = (_: unknown, done: (error: Error | null, stream?: Duplex) => void) => {
    open().then(
      (stream) => done(null, stream),
      (error: Error) => done(error),
    );
    // By callback only.
    return undefined;
  };
  const socket = new WebSocket(url, { ...common, createConnection } as unknown as ClientOptions);
  socket.once('close', () => ended.abort());
  return socket;
}
