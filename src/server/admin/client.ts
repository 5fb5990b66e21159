/** An operator's verb: by the socket of the running server, or on its data when none runs. */
import { existsSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join, resolve } from 'node:path';
import { BuriError } from '#core/errors.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { defaultGraceMs } from '../coordinator/limits.ts';
import { defaultPool4 } from '../coordinator/pool.ts';
import { openState } from '../state.ts';
import { type AdminRequest, type AdminVerb, runVerb } from './verbs.ts';

const timeoutMs = 20_000;
const maxResponseBytes = 64 * 1024 * 1024;

export interface AdminTarget {
  readonly data: string;
  readonly store?: string | undefined;
}

/** BuriError: no-server, when there is no such directory; server-silent; what the verb itself refuses. */
export async function callServer<V extends AdminVerb>(
  target: AdminTarget,
  verb: V,
  request: AdminRequest<V>,
): Promise<Record<string, unknown>> {
  const directory = resolve(target.data);
  if (!existsSync(directory))
    throw new BuriError('no-server', `there is no ${directory}; give the --data of the server`);
  const answer = await overSocket(join(directory, 'admin.sock'), verb, request);
  if (answer !== undefined) return answer;
  return await withoutServer({ ...target, data: directory }, verb, request);
}

/** Undefined when nobody listens there. */
async function overSocket(
  socketPath: string,
  verb: AdminVerb,
  body: object,
): Promise<Record<string, unknown> | undefined> {
  let text: string | undefined;
  try {
    text = await post(socketPath, verb, body);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED') return undefined;
    if (code === 'EACCES' || code === 'EPERM')
      throw new BuriError('no-permission', `no permission to use ${socketPath}; run as its owner`);
    throw new BuriError(
      'server-silent',
      `the server at ${socketPath} does not answer; see its log`,
      {
        cause: error,
      },
    );
  }
  const answer = JSON.parse(text) as Record<string, unknown> & {
    error?: { code: string; message: string };
  };
  if (answer.error !== undefined) throw new BuriError(answer.error.code, answer.error.message);
  return answer;
}

function post(socketPath: string, verb: string, body: object): Promise<string> {
  return new Promise((fulfil, reject) => {
    const request = httpRequest(
      { socketPath, path: `/v1/${verb}`, method: 'POST', timeout: timeoutMs },
      (response) => {
        const chunks: Buffer[] = [];
        let lengthBytes = 0;
        response.on('data', (chunk: Buffer) => {
          lengthBytes += chunk.length;
          if (lengthBytes > maxResponseBytes) request.destroy(new Error('too long an answer'));
          chunks.push(chunk);
        });
        response.on('end', () => fulfil(Buffer.concat(chunks).toString('utf8')));
        response.on('error', reject);
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', reject);
    request.end(JSON.stringify(body));
  });
}

/** The directory is locked meanwhile: a server that starts now is told so, rather than surprised. */
async function withoutServer<V extends AdminVerb>(
  target: AdminTarget,
  verb: V,
  request: AdminRequest<V>,
): Promise<Record<string, unknown>> {
  if (!existsSync(join(target.data, 'cluster.key')))
    throw new BuriError('no-server', `no server has run in ${target.data} yet; start it once`);
  let failure: unknown;
  await using state = await openState(nodeCrypto, {
    ...target,
    enrol: 'closed',
    pool4: defaultPool4,
    graceMs: defaultGraceMs,
    anyPool: true,
    emit: () => {},
    failed: (error) => {
      failure = error;
    },
  });
  const answer = await runVerb(verb, request, state, undefined);
  if (failure !== undefined) throw failure;
  return answer as Record<string, unknown>;
}
