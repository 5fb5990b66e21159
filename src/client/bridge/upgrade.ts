import { createHash, randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { BuriError } from '#core/errors.ts';
import { authorityOf } from '#wire/http-connect.ts';
import { acceptInput, readUpgradeAnswer, upgradeRequest } from '#wire/web-socket.ts';
import { dialFailure } from '../dial-failure.ts';
import { upgradeTimeoutMs } from '../limits.ts';
import type { HttpProxy } from '../proxy.ts';
import { openTunnel } from '../proxy-tunnel.ts';
import { isName, targetOf } from '../web-socket-target.ts';

export interface Upgraded {
  /** Frames come from and go to this one. */
  readonly stream: Socket | TLSSocket;
  /** The connection below it. */
  readonly tcp: Socket;
  /** Frames that came with the answer. */
  readonly rest: Uint8Array;
}

/**
 * Opens a WebSocket, and gives its connection away for frames to be moved by hand. BuriError: relay-unreachable, relay-broken,
 * relay-timeout, and those of `openTunnel`.
 */
export async function upgrade(
  url: string,
  proxy: HttpProxy | undefined,
  signal: AbortSignal,
): Promise<Upgraded> {
  const tcp = await dialTcp(url, proxy, signal);
  tcp.setNoDelay(true);
  // Relays are known by keys inside, as servers are: a certificate adds privacy, not trust.
  const { host } = targetOf(url);
  const stream = url.startsWith('wss:')
    ? connectTls({
        socket: tcp,
        rejectUnauthorized: false,
        ALPNProtocols: ['http/1.1'],
        ...(isName(host) ? { servername: host } : {}),
      })
    : tcp;
  try {
    const rest = await exchange(stream, url, signal);
    return { stream, tcp, rest };
  } catch (error) {
    stream.destroy();
    tcp.destroy();
    throw error;
  }
}

async function dialTcp(url: string, proxy: HttpProxy | undefined, signal: AbortSignal) {
  const target = targetOf(url);
  if (proxy !== undefined) return await openTunnel(proxy, target, signal);
  const socket = connectTcp({ host: target.host, port: target.port });
  await settled(socket, signal, (resolve) => socket.once('connect', resolve));
  return socket;
}

function exchange(stream: Socket | TLSSocket, url: string, signal: AbortSignal) {
  const { pathname, search } = new URL(url);
  const key = randomBytes(16).toString('base64');
  const accept = createHash('sha1').update(acceptInput(key)).digest('base64');
  const authority = authorityOf(targetOf(url));
  stream.write(upgradeRequest(authority, `${pathname}${search}`, key), 'latin1');
  let received: Buffer = Buffer.alloc(0);
  return settled<Uint8Array>(stream, signal, (resolve, reject) => {
    const onReadable = () => {
      for (let bytes = stream.read(); bytes !== null; bytes = stream.read()) {
        received = Buffer.concat([received, bytes as Buffer]);
      }
      const answer = readUpgradeAnswer(received, accept);
      if (answer.kind === 'partial') return;
      stream.off('readable', onReadable);
      if (answer.kind === 'open') resolve(received.subarray(answer.bodyAt));
      else if (answer.kind === 'refused') {
        reject(new BuriError('relay-broken', `the relay at ${url} says ${answer.status}`));
      } else reject(new BuriError('relay-broken', `what answers at ${url} is no relay`));
    };
    stream.on('readable', onReadable);
  });
}

/** Waits for what `begin` waits for, or for an error, the end, the time or the signal. */
async function settled<Result>(
  stream: Socket | TLSSocket,
  signal: AbortSignal,
  begin: (resolve: (result: Result) => void, reject: (error: BuriError) => void) => void,
): Promise<Result> {
  const { promise, resolve, reject } = Promise.withResolvers<Result>();
  const fail = (why: string) => reject(new BuriError('relay-unreachable', why));
  const onError = (error: Error) => fail(dialFailure(error));
  const onClose = () => fail('it closed the connection');
  const onAbort = () => fail('the attempt was given up');
  const timer = setTimeout(() => {
    reject(new BuriError('relay-timeout', `it did not answer within ${upgradeTimeoutMs / 1000} s`));
  }, upgradeTimeoutMs);
  stream.on('error', onError).on('close', onClose);
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  try {
    begin(resolve, reject);
    return await promise;
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    stream.off('close', onClose).on('error', () => {});
    stream.off('error', onError);
  }
}
