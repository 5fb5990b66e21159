import { execFile } from 'node:child_process';
import { chmod, chown, lstat, mkdir, unlink } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import fastify, { type FastifyInstance } from 'fastify';
import { BuriError } from '#core/errors.ts';
import {
  localApi,
  maxLocalRequestBytes,
  type Verb,
  type VerbRequest,
  type VerbResponse,
} from '#wire/local-api.ts';
import type { Volunteer } from './volunteer.ts';
import { addVolunteerRoute } from './volunteer-api.ts';

/** One function for each verb. It throws a BuriError for what was refused or failed. */
export type Verbs = {
  readonly [V in Verb]: (request: VerbRequest<V>, signal: AbortSignal) => Promise<VerbResponse<V>>;
};

/** Group whose members may control the daemon beside root. */
const groupName = 'buri';

/** The longest verb waits for 600 s; see `waitSeconds`. */
const requestTimeoutMs = 660_000;

/** Serves the local API on a Unix socket. BuriError: socket-in-use, socket-unusable. */
export class LocalApi implements AsyncDisposable {
  readonly #server: FastifyInstance;
  readonly #path: string;

  private constructor(server: FastifyInstance, path: string) {
    this.#server = server;
    this.#path = path;
  }

  static async listen(
    path: string,
    verbs: Verbs,
    onFault: (error: unknown) => void,
    volunteer?: Volunteer,
  ): Promise<LocalApi> {
    await makeRoom(path);
    const server = serverOf(verbs, onFault);
    if (volunteer !== undefined) addVolunteerRoute(server, volunteer);
    // Born without rights for others: between listening and chmod nobody else gets in.
    const umask = process.umask(0o177);
    try {
      await server.listen({ path });
    } catch (error) {
      throw unusable(path, error);
    } finally {
      process.umask(umask);
    }
    await grantGroup(path);
    return new LocalApi(server, path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
    await unlink(this.#path).catch(() => {});
  }
}

function serverOf(verbs: Verbs, onFault: (error: unknown) => void): FastifyInstance {
  const server = fastify({
    bodyLimit: maxLocalRequestBytes,
    requestTimeout: requestTimeoutMs,
    forceCloseConnections: true,
    return503OnClosing: false,
  });
  for (const verb of Object.keys(localApi) as Verb[]) addRoute(server, verb, verbs);
  server.setNotFoundHandler((request, reply) => {
    const message = `there is no ${request.method} ${request.url.slice(0, 100)}`;
    return reply.code(404).send({ error: { code: 'unknown-verb', message } });
  });
  server.setErrorHandler((error: Error & { statusCode?: number }, _, reply) => {
    if (error instanceof BuriError) {
      return reply.code(409).send({ error: { code: error.code, message: error.message } });
    }
    const status = error.statusCode ?? 500;
    if (status < 500) {
      return reply.code(status).send({ error: { code: 'bad-request', message: error.message } });
    }
    onFault(error);
    const message = "the daemon failed inside; its log says more ('journalctl -u buri')";
    return reply.code(500).send({ error: { code: 'internal-error', message } });
  });
  return server;
}

function addRoute<V extends Verb>(server: FastifyInstance, verb: V, verbs: Verbs): void {
  server.post(`/v1/${verb}`, async (request, reply) => {
    const parsed = localApi[verb].request.safeParse(request.body === undefined ? {} : request.body);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      const message = `${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'malformed'}`;
      return reply.code(400).send({ error: { code: 'bad-request', message } });
    }
    const gone = new AbortController();
    request.raw.socket.once('close', () => gone.abort());
    return await verbs[verb](parsed.data as VerbRequest<V>, gone.signal);
  });
}

/** The directory exists, and what lies at the path is no socket that somebody answers on. */
async function makeRoom(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const there = await lstat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (there === undefined) return;
    if (!there.isSocket()) {
      throw new BuriError('socket-unusable', `${path} exists and is no socket; remove it`);
    }
    if (await answers(path)) {
      throw new BuriError(
        'socket-in-use',
        `another daemon answers at ${path}; stop it, or choose another --socket`,
      );
    }
    await unlink(path);
  } catch (error) {
    throw error instanceof BuriError ? error : unusable(path, error);
  }
}

const answers = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = createConnection({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });

/** Root and, where it exists, the group `buri`. */
async function grantGroup(path: string): Promise<void> {
  const group = await groupId();
  if (group === undefined) return;
  try {
    await chown(path, process.getuid?.() ?? 0, group);
    await chmod(path, 0o660);
  } catch {
    // Not allowed to give it away: it stays with its owner.
  }
}

async function groupId(): Promise<number | undefined> {
  try {
    const { stdout } = await promisify(execFile)('getent', ['group', groupName]);
    const id = Number(stdout.split(':')[2]);
    return Number.isInteger(id) ? id : undefined;
  } catch {
    return undefined;
  }
}

function unusable(path: string, error: unknown): BuriError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why =
    code === 'EACCES' || code === 'EPERM'
      ? 'no permission'
      : code === 'EROFS'
        ? 'the file system is read-only'
        : (code ?? message);
  return new BuriError(
    'socket-unusable',
    `cannot serve at ${path} (${why}); run as root, or choose another --socket`,
    { cause: error },
  );
}
