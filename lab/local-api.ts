/** Verbs straight to a daemon's local API: for what happens so often that a command line each time would be felt. */
import { request } from 'node:http';
import {
  localApi,
  localError,
  type Verb,
  type VerbRequest,
  type VerbResponse,
} from '#wire/local-api.ts';

const timeoutMs = 60_000;

/** @throws Error with the daemon's code and text when it refuses */
export async function callDaemon<V extends Verb>(
  socketPath: string,
  verb: V,
  body: VerbRequest<V>,
): Promise<VerbResponse<V>> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const call = request(
    { socketPath, path: `/v1/${verb}`, method: 'POST', timeout: timeoutMs, agent: false },
    (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(Buffer.concat(chunks).toString()));
      response.on('error', reject);
    },
  );
  call.on('error', reject);
  call.on('timeout', () => call.destroy(new Error(`${verb}: no answer in ${timeoutMs} ms`)));
  call.setHeader('content-type', 'application/json');
  call.end(JSON.stringify(body));
  const answer: unknown = JSON.parse(await promise);
  const refusal = localError.safeParse(answer);
  if (refusal.success) {
    const { code, message } = refusal.data.error;
    throw new Error(`${verb}: ${message} (${code})`);
  }
  return localApi[verb].response.parse(answer) as VerbResponse<V>;
}
