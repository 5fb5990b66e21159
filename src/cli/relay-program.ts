/**
 * A standalone relay: its directory, listeners, and the connection over which the server tells it whom not to serve. While that is away the
 * relay goes on with what it has.
 */
import { readFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { ControlError } from '#client/control-error.ts';
import { isRefusal } from '#client/control-link.ts';
import { RelayControl, type RelayControlOptions } from '#client/relay-control.ts';
import { parseServerUrl } from '#client/server-url.ts';
import { BuriError } from '#core/errors.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Relay } from '#relay/relay.ts';
import { listenError } from '#server/control/endpoint.ts';
import { DataDirectory } from '#server/data-directory.ts';
import { isUnspecified, parseListenAddress } from '#server/listen-address.ts';
import { createLog, type Log } from '#server/log.ts';
import { publicHost, resolvePublic } from '#server/public-address.ts';
import { relayPath } from '#wire/relay.ts';
import type { RelayFlags } from './relay.ts';
import { listenRelay, offeredUdp, offerOf } from './relay-listen.ts';

/** Serves until the signal. BuriError: what is in the way. */
export async function runRelay(flags: RelayFlags, signal: AbortSignal): Promise<void> {
  const log = createLog(flags.logLevel, 'buri-relay');
  const url = parseServerUrl(flags.server);
  const { clusterKey } = url;
  if (clusterKey === undefined)
    throw new BuriError(
      'bad-server-url',
      "--server must carry the server's key: copy the whole line that 'buri server url' prints",
    );
  using directory = DataDirectory.open(flags.data);
  const privateKey = directory.key('relay.key', crypto).bytes();
  const keys = { privateKey, publicKey: crypto.x25519PublicKey(privateKey) };
  const relay = new Relay({ crypto, clusterKey, keys });
  const stopListening = new AbortController();
  try {
    const bound = listenRelay(relay, flags.relay);
    const host = flags.public === undefined ? undefined : publicHost(flags.public, []);
    const known = host === undefined ? [] : await resolvePublic(host);
    const webSocketUrls =
      flags.listen === undefined
        ? []
        : [await listenTcp(relay, flags.listen, host?.host, flags, stopListening.signal)];
    const offer = offerOf(offeredUdp(bound, known), webSocketUrls);
    const { token } = flags;
    const controlled = registered(
      { crypto, url, pin: clusterKey, privateKey, token, offer },
      relay,
      log,
    );
    try {
      await Promise.race([controlled.failed, aborted(signal)]);
    } finally {
      log.info('ending');
      // Goodbye first: the server tells clients of other relays while this one goes on for a while.
      const goodbye = controlled.control.stop();
      await relay.close(signal.aborted ? undefined : 0);
      await goodbye;
    }
    log.info(relay.status(), 'ended');
  } finally {
    stopListening.abort();
    await relay.close(0);
  }
}

/** Keeps the relay registered. `failed` rejects when the server refuses it before it ever served. */
function registered(
  options: RelayControlOptions,
  relay: Relay,
  log: Log,
): { readonly control: RelayControl; readonly failed: Promise<never> } {
  const failed = Promise.withResolvers<never>();
  let hasServed = false;
  const onLost = (error: ControlError): void => {
    relay.setServer(false);
    if (!hasServed && isRefusal(error)) failed.reject(error);
    else log.warn({ code: error.code }, error.message);
  };
  const control = new RelayControl(options, {
    onConnected: (_clusterKey, state) => {
      const { udp, ws } = options.offer;
      log.info({ relay: state.id, udp, ws }, hasServed ? 'registered again' : 'ready');
      hasServed = true;
    },
    onLost,
    onRevoked: (revoked) => relay.revoke(revoked),
    onState: ({ id, state, unreachable, reason }) => {
      if (state === 'refused') log.error({ relay: id, reason }, 'the server refuses this relay');
      else if (unreachable.length === 0) log.info({ relay: id, state }, 'registered');
      else
        log.warn({ relay: id, unreachable }, 'the server gets no answer there: is the port open?');
    },
    onServerTime: (serverTime) => relay.setServer(true, serverTime - Date.now()),
  });
  control.start();
  return { control, failed: failed.promise };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** Returns the URL. */
async function listenTcp(
  relay: Relay,
  text: string,
  publicName: string | undefined,
  { tlsCert, tlsKey }: RelayFlags,
  signal: AbortSignal,
): Promise<string> {
  const address = parseListenAddress(text, '--listen');
  const isTls = tlsCert !== undefined && tlsKey !== undefined;
  const options = { maxHeaderSize: 8192, headersTimeout: 10_000, requestTimeout: 10_000 };
  const server = isTls
    ? createHttps({ ...options, ...readTls(tlsCert, tlsKey) })
    : createHttp(options);
  server.maxConnections = 8192;
  server.on('request', (_request, response) => {
    response.writeHead(426, { 'content-type': 'text/plain', connection: 'close' });
    response.end('This is a Buri relay.\n');
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    if (request.url?.split('?')[0] === relayPath) relay.upgrade(request, socket, head);
    else socket.end('HTTP/1.1 404 Not Found\r\n\r\n', () => socket.destroy());
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
  return `${isTls ? 'wss' : 'ws'}://${name}:${port}${relayPath}`;
}

function readTls(certificate: string, key: string) {
  try {
    return { cert: readFileSync(certificate), key: readFileSync(key) };
  } catch (error) {
    throw new BuriError(
      'tls-invalid',
      `cannot read the TLS certificate or key (${(error as Error).message}); check --tls-cert and --tls-key`,
      { cause: error },
    );
  }
}
