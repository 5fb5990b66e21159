/**
 * The operator's way to a running server: HTTP/1.1 over a Unix socket (0600) in its data directory, `POST /v1/VERB` with a
 * JSON object, answered by a JSON object or `{"error":{"code","message"}}`.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { BuriError } from '#core/errors.ts';
import type { ServerState } from '../state.ts';
import { isAdminVerb, type Running, runVerb } from './verbs.ts';

const maxRequestBytes = 16_384;
/** Longest path of a Unix socket on Linux, with its terminating zero left out. */
const maxSocketPathBytes = 107;

export class AdminSocket {
  readonly #server: Server;
  readonly #path: string;

  private constructor(server: Server, path: string) {
    this.#server = server;
    this.#path = path;
  }

  /** Any socket there is a dead server's: the directory is locked. BuriError: data-path-too-long. */
  static async open(path: string, state: ServerState, running: Running): Promise<AdminSocket> {
    if (Buffer.byteLength(path) > maxSocketPathBytes)
      throw new BuriError(
        'data-path-too-long',
        `${path} is longer than a socket's path may be (${maxSocketPathBytes} bytes); choose a shorter --data`,
      );
    rmSync(path, { force: true });
    const server = createServer((request, response) => {
      answer(request, response, state, running).catch((error) =>
        reply(response, 500, failure(error)),
      );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
    return new AdminSocket(server, path);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeIdleConnections();
    });
    rmSync(this.#path, { force: true });
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  state: ServerState,
  running: Running,
): Promise<void> {
  const verb = /^\/v1\/([a-z-]+)$/.exec(request.url ?? '')?.[1];
  if (request.method !== 'POST' || verb === undefined || !isAdminVerb(verb)) {
    reply(response, 404, failure(new BuriError('unknown-verb', 'the server knows no such verb')));
    return;
  }
  try {
    reply(response, 200, await runVerb(verb, await bodyOf(request), state, running));
  } catch (error) {
    reply(response, error instanceof BuriError ? 400 : 500, failure(error));
  }
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let lengthBytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    lengthBytes += chunk.length;
    if (lengthBytes > maxRequestBytes)
      throw new BuriError('request-too-long', 'too long a request');
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new BuriError('bad-request', 'the request is no JSON');
  }
}

const failure = (error: unknown) => ({
  error: {
    code: error instanceof BuriError ? error.code : 'internal',
    message: error instanceof Error ? error.message : String(error),
  },
});

function reply(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(body));
}
