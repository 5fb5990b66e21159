/** A daemon that does nothing but answer: requests are checked by the schemas of the local API, and so are its answers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { localApi, type Verb } from '#wire/local-api.ts';

export interface Received {
  readonly verb: string;
  readonly body: unknown;
}

/** What to answer: an object is checked by the schema; a function writes what it likes. */
export type Answer =
  | { readonly status?: number; readonly body: unknown }
  | ((request: IncomingMessage, response: ServerResponse) => void);

export class FakeDaemon implements AsyncDisposable {
  readonly socketPath: string;
  readonly received: Received[] = [];
  readonly answers: { [verb in Verb]?: Answer } = {};
  readonly #directory: string;
  readonly #server: Server;

  private constructor(directory: string) {
    this.#directory = directory;
    this.socketPath = join(directory, 'buri.sock');
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async start(): Promise<FakeDaemon> {
    const daemon = new FakeDaemon(mkdtempSync(join(tmpdir(), 'buri-cli-')));
    await new Promise<void>((resolve) => daemon.#server.listen(daemon.socketPath, resolve));
    return daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const verb = (request.url ?? '').replace(/^\/v1\//, '');
    const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
    this.received.push({ verb, body });
    const send = (status: number, value: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (request.method !== 'POST' || !Object.hasOwn(localApi, verb)) {
      send(404, { error: { code: 'no-such-verb', message: `${request.method} ${request.url}` } });
      return;
    }
    const checked = localApi[verb as Verb].request.safeParse(body);
    const answer = this.answers[verb as Verb];
    if (!checked.success) {
      send(400, { error: { code: 'schema', message: checked.error.message } });
    } else if (typeof answer === 'function') answer(request, response);
    else if (answer === undefined) {
      send(500, { error: { code: 'not-expected', message: verb } });
    } else {
      if ((answer.status ?? 200) === 200) localApi[verb as Verb].response.parse(answer.body);
      send(answer.status ?? 200, answer.body);
    }
  }
}
