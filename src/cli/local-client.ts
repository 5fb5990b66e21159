/**
 * Client of the daemon's local API (`src/wire/local-api.ts`). Takes only types from there: the schemas are the daemon's
 * to check, and loading them would take longer than most requests.
 */
import type { ClientRequest, IncomingMessage } from 'node:http';
import { BuriError } from '#core/errors.ts';
import type { Verb, VerbRequest, VerbResponse } from '#wire/local-api.ts';
import { UsageError } from './failure.ts';

// An import would evaluate all that node:http exports, WebSocket and fetch too: 40 ms for nothing.
const { request: httpRequest } = process.getBuiltinModule('node:http');

export const defaultSocketPath = '/run/buri/buri.sock';
/** `sun_path` of a Unix socket address holds 108 bytes, the last of them zero. */
const maxSocketPathBytes = 107;
/** As in the local API; what is larger never leaves. */
const maxRequestBytes = 65_536;
/** A list of 256 networks with 16,384 members fits many times over in practice; beyond it something is wrong. */
const maxResponseBytes = 256 * 1024 * 1024;

/** The option, else `BURI_SOCKET`, else the default. */
export function socketPathOf(option: string | undefined): string {
  const path = option ?? (process.env.BURI_SOCKET || defaultSocketPath);
  if (path === '') throw new UsageError('--socket needs the path of the socket of the daemon');
  if (Buffer.byteLength(path) > maxSocketPathBytes) {
    throw new UsageError(
      `the socket path is ${Buffer.byteLength(path)} bytes long; Unix allows ${maxSocketPathBytes}`,
    );
  }
  return path;
}

/**
 * Asks the daemon. BuriError with the daemon's own code, or: daemon-not-running, socket-forbidden, daemon-timeout,
 * not-a-daemon, connection-lost, request-too-large.
 */
export async function callDaemon<V extends Verb>(
  socketPath: string,
  verb: V,
  body: VerbRequest<V>,
  timeoutMs: number,
): Promise<VerbResponse<V>> {
  const payload = Buffer.from(JSON.stringify(body));
  if (payload.length > maxRequestBytes) {
    throw new BuriError(
      'request-too-large',
      `the arguments take ${payload.length} bytes; the daemon accepts ${maxRequestBytes}`,
    );
  }
  const { status, text } = await exchange(socketPath, `/v1/${verb}`, payload, timeoutMs);
  return parsed(socketPath, verb, status, text) as VerbResponse<V>;
}

/** Asks for what does not end; the answer's body is to be read. BuriError as of `callDaemon`, within `streamTimeoutMs`. */
export function openStream(
  socketPath: string,
  path: string,
  body: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = requestTo(socketPath, path, Buffer.byteLength(body));
    const fail = (error: BuriError) => {
      reject(error);
      request.destroy();
    };
    const timer = setTimeout(
      () => fail(daemonTimeout(socketPath, streamTimeoutMs)),
      streamTimeoutMs,
    );
    const giveUp = () => request.destroy();
    signal.addEventListener('abort', giveUp);
    request.on('close', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
    });
    request.on('error', (error) => fail(connectionError(socketPath, error, request)));
    request.on('response', (response) => {
      clearTimeout(timer);
      if (response.statusCode === 200) {
        resolve(response);
        return;
      }
      collect(response, socketPath).then(({ status, text }) => {
        try {
          parsed(socketPath, path, status, text);
          fail(notADaemon(socketPath, `it answered with status ${status}`));
        } catch (error) {
          fail(error as BuriError);
        }
      }, fail);
    });
    request.end(body);
    if (signal.aborted) giveUp();
  });
}

const streamTimeoutMs = 15_000;

const requestTo = (socketPath: string, path: string, length: number): ClientRequest =>
  httpRequest({
    socketPath,
    path,
    method: 'POST',
    agent: false,
    headers: {
      'content-type': 'application/json',
      'content-length': length,
      host: 'buri',
      connection: 'close',
    },
  });

interface Answer {
  readonly status: number;
  readonly text: string;
}

function exchange(
  socketPath: string,
  path: string,
  payload: Buffer,
  timeoutMs: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = requestTo(socketPath, path, payload.length);
    const fail = (error: BuriError) => {
      clearTimeout(timer);
      reject(error);
      request.destroy();
    };
    const timer = setTimeout(() => fail(daemonTimeout(socketPath, timeoutMs)), timeoutMs);
    request.on('error', (error) => fail(connectionError(socketPath, error, request)));
    request.on('response', (response) => {
      collect(response, socketPath).then((answer) => {
        clearTimeout(timer);
        resolve(answer);
      }, fail);
    });
    request.end(payload);
  });
}

async function collect(response: IncomingMessage, socketPath: string): Promise<Answer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxResponseBytes) throw notADaemon(socketPath, 'its answer does not end');
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof BuriError) throw error;
    throw connectionLost(socketPath);
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() };
}

function parsed(socketPath: string, verb: string, status: number, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw notADaemon(socketPath, `it answered ${verb} with status ${status} and no JSON`);
  }
  if (!isObject(value)) throw notADaemon(socketPath, `it answered ${verb} with no JSON object`);
  if (isObject(value.error)) {
    const { code, message } = value.error;
    if (typeof code === 'string' && typeof message === 'string') throw new BuriError(code, message);
  }
  if (status !== 200) throw notADaemon(socketPath, `it answered ${verb} with status ${status}`);
  return value;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function connectionError(
  socketPath: string,
  error: NodeJS.ErrnoException,
  request: ClientRequest,
): BuriError {
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
    case 'ENOTDIR':
    case 'ENOTSOCK':
      return new BuriError(
        'daemon-not-running',
        `Buri's daemon does not answer at ${socketPath}; start it with 'systemctl start buri', ` +
          `or in the foreground with 'buri daemon --state DIR --socket ${socketPath}'`,
      );
    case 'EACCES':
    case 'EPERM':
      return new BuriError(
        'socket-forbidden',
        `no permission to use ${socketPath}; run the command as root, or join the group that ` +
          "may ('usermod -aG buri NAME' as root, then log in again)",
      );
    default:
      // llhttp's codes: what answers does not speak HTTP.
      if (error.code?.startsWith('HPE_')) return notADaemon(socketPath, 'it speaks no HTTP');
      if (request.socket?.connecting === false || error.code === 'ECONNRESET') {
        return connectionLost(socketPath);
      }
      return new BuriError(
        'daemon-not-running',
        `cannot connect to Buri's daemon at ${socketPath}: ${error.message}`,
      );
  }
}

const daemonTimeout = (socketPath: string, timeoutMs: number): BuriError =>
  new BuriError(
    'daemon-timeout',
    `Buri's daemon at ${socketPath} did not answer within ${timeoutMs / 1000} s; ` +
      "if this repeats, look into its log ('journalctl -u buri') and restart it",
  );

const connectionLost = (socketPath: string): BuriError =>
  new BuriError(
    'connection-lost',
    `Buri's daemon at ${socketPath} closed the connection before it had answered; ` +
      "see its log ('journalctl -u buri'), and 'buri status' for what was done",
  );

const notADaemon = (socketPath: string, what: string): BuriError =>
  new BuriError('not-a-daemon', `what answers at ${socketPath} is not Buri's daemon: ${what}`);
