/**
 * For whoever operates the server, on a listener of its own that clients never see:
 *
 *   GET /healthz   200 as long as the process answers
 *   GET /readyz    200 when clients can be served, else 503 and why
 *   GET /metrics   Prometheus text
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { listenError } from '../control/endpoint.ts';
import type { ListenAddress } from '../listen-address.ts';
import type { Metrics } from './metrics.ts';

/** What stands in the way of serving clients, by name; nothing: ready. */
export class Readiness {
  readonly #obstacles = new Map<string, string>();

  get isReady(): boolean {
    return this.#obstacles.size === 0;
  }

  get obstacles(): readonly string[] {
    return [...this.#obstacles].map(([name, why]) => `${name}: ${why}`);
  }

  /** @param why undefined: it is out of the way. */
  set(name: string, why: string | undefined): void {
    if (why === undefined) this.#obstacles.delete(name);
    else this.#obstacles.set(name, why);
  }
}

const maxConnections = 64;
const timeoutMs = 10_000;

export class OperationsEndpoint implements AsyncDisposable {
  readonly #server: Server;
  readonly port: number;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** BuriError: port-in-use, port-forbidden, address-unavailable. */
  static async open(
    address: ListenAddress,
    readiness: Readiness,
    metrics: Metrics,
  ): Promise<OperationsEndpoint> {
    const limits = { headersTimeout: timeoutMs, requestTimeout: timeoutMs, maxHeaderSize: 8_192 };
    const server = createServer(limits, (request, response) => {
      answer(request, response, readiness, metrics).catch(() => reply(response, 500, 'failed\n'));
    });
    server.maxConnections = maxConnections;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(error, address, '--metrics')));
      const { host, port } = address;
      server.listen(host === undefined ? { port } : { host, port }, resolve);
    });
    server.on('error', () => {});
    return new OperationsEndpoint(server, (server.address() as AddressInfo).port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  readiness: Readiness,
  metrics: Metrics,
): Promise<void> {
  const path = request.url?.split('?')[0];
  if (request.method !== 'GET' && request.method !== 'HEAD') reply(response, 405, 'GET only\n');
  else if (path === '/healthz') reply(response, 200, 'ok\n');
  else if (path === '/readyz') {
    if (readiness.isReady) reply(response, 200, 'ready\n');
    else reply(response, 503, `${readiness.obstacles.join('\n')}\n`);
  } else if (path === '/metrics') reply(response, 200, await metrics.text(), metrics.contentType);
  else reply(response, 404, 'there are /healthz, /readyz and /metrics\n');
}

function reply(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(text);
}
