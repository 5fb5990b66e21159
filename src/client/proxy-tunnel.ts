import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import {
  authorityOf,
  type ConnectAnswer,
  type ConnectTarget,
  connectRequest,
  readConnectAnswer,
} from '#wire/http-connect.ts';
import { ControlError } from './control-error.ts';
import { dialFailure } from './dial-failure.ts';
import { proxyTimeoutMs } from './limits.ts';
import type { HttpProxy } from './proxy.ts';

/**
 * A TCP connection to the target through the proxy, which looks the name up. ControlError: proxy-unreachable, proxy-broken,
 * proxy-timeout, proxy-authentication, proxy-refused, connection-lost when the signal ended it.
 */
export async function openTunnel(
  proxy: HttpProxy,
  target: ConnectTarget,
  signal: AbortSignal,
): Promise<Socket> {
  const socket = dial(proxy);
  try {
    return await exchange(socket, proxy, target, signal);
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function dial({ host, port, secure }: HttpProxy): Socket | TLSSocket {
  if (!secure) return connectTcp({ host, port });
  // Unlike the server's, whose key is checked inside, this certificate is all that stands between the password and others.
  return connectTls({ host, port, servername: host, ALPNProtocols: ['http/1.1'] });
}

function exchange(
  socket: Socket | TLSSocket,
  proxy: HttpProxy,
  target: ConnectTarget,
  signal: AbortSignal,
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  let received: Buffer = Buffer.alloc(0);
  const timer = setTimeout(() => reject(timedOut(proxy)), proxyTimeoutMs);
  const giveUp = () => reject(new ControlError('connection-lost', 'the attempt was given up'));
  const onError = (error: Error) => reject(unreachable(proxy, error));
  const onEnd = () => reject(broken(proxy, 'it closed the connection without an answer'));
  // Not by 'data', which would leave a stream behind that flows, or has been paused, before somebody else listens.
  const onReadable = () => {
    for (let bytes = socket.read(); bytes !== null; bytes = socket.read()) {
      received = Buffer.concat([received, bytes as Buffer]);
    }
    const answer = readConnectAnswer(received);
    if (answer.kind === 'partial') return;
    socket.off('readable', onReadable);
    if (answer.kind !== 'open') {
      reject(failure(proxy, target, answer));
      return;
    }
    const rest = received.subarray(answer.bodyAt);
    if (rest.length > 0) socket.unshift(rest);
    resolve(socket);
  };
  socket.once(proxy.secure ? 'secureConnect' : 'connect', () => {
    socket.write(connectRequest(target, proxy.authorization()), 'latin1');
  });
  socket.setNoDelay(true);
  socket.on('readable', onReadable).on('error', onError).on('end', onEnd).on('close', onEnd);
  signal.addEventListener('abort', giveUp);
  if (signal.aborted) giveUp();
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
    socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd);
    // Whoever gets the socket listens from its next tick on; until then an error must not be fatal.
    if (!socket.destroyed) socket.on('error', () => {});
    socket.off('error', onError);
  });
}

function failure(
  proxy: HttpProxy,
  target: ConnectTarget,
  answer: Exclude<ConnectAnswer, { kind: 'open' | 'partial' }>,
): ControlError {
  if (answer.kind === 'broken') return broken(proxy, answer.why);
  const { status, reason, schemes } = answer;
  // 401 is what tinyproxy says to a wrong password.
  if (status === 407 || status === 401) return unauthorised(proxy, schemes);
  const words = reason === '' ? `${status}` : `${status} ${reason}`;
  const hint =
    (status === 403 || status === 405) && target.port !== 443
      ? '; many proxies allow port 443 only: let the server listen on it too (--listen)'
      : '';
  return new ControlError(
    'proxy-refused',
    `the proxy ${proxy.text} does not connect to ${authorityOf(target)}: it says ${words}${hint}`,
  );
}

function unauthorised(proxy: HttpProxy, schemes: readonly string[]): ControlError {
  const given = proxy.authorization() !== undefined;
  const basicOffered = schemes.length === 0 || schemes.includes('basic');
  const why = !basicOffered
    ? `wants a login by ${schemes.join(' or ')}; Buri knows Basic only. A local proxy that knows the other (cntlm, px) helps`
    : given
      ? 'does not accept user and password'
      : 'wants user and password: give them as http://USER:PASSWORD@HOST:PORT';
  return new ControlError('proxy-authentication', `the proxy ${proxy.text} ${why}`);
}

const broken = (proxy: HttpProxy, why: string): ControlError =>
  new ControlError('proxy-broken', `what answers at ${proxy.text} is no HTTP proxy: ${why}`);

const timedOut = (proxy: HttpProxy): ControlError =>
  new ControlError(
    'proxy-timeout',
    `the proxy ${proxy.text} did not open a connection within ${proxyTimeoutMs / 1000} s`,
  );

function unreachable(proxy: HttpProxy, error: Error): ControlError {
  const why = dialFailure(error);
  return new ControlError(
    'proxy-unreachable',
    `cannot reach the proxy ${proxy.text}: ${why}`,
    undefined,
    { cause: error },
  );
}
