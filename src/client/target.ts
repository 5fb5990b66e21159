import { sameBytes } from '#core/bytes.ts';
import { BuriError } from '#core/errors.ts';
import { parseServerUrl, type ServerUrl } from './server-url.ts';
import type { Settings } from './settings.ts';

/** Where to log in, and as whom it is believed. */
export interface Target {
  readonly url: ServerUrl;
  readonly pin: Uint8Array | undefined;
  readonly token: string | undefined;
}

/** The server of the URL, else that of last time. BuriError: no-server-url, bad-server-url. */
export function targetOf(
  { url: text, token }: { readonly url?: string; readonly token?: string },
  { server }: Settings,
): Target {
  if (text === undefined) {
    if (server === undefined) {
      throw new BuriError(
        'no-server-url',
        "no server is known yet; give its URL, which 'buri server url' prints on the server",
      );
    }
    return { url: parseServerUrl(server.url), pin: server.clusterKey, token };
  }
  const url = parseServerUrl(text);
  const known = server?.url === url.text ? server.clusterKey : undefined;
  return { url, pin: url.clusterKey ?? known, token };
}

/** Whether it is the server that this device is enrolled at: told by its key, for it may have moved to another address. */
export const isServer = (
  { server }: Settings,
  { url, pin }: Pick<Target, 'url' | 'pin'>,
): boolean =>
  server !== undefined &&
  (pin === undefined ? server.url === url.text : sameBytes(server.clusterKey, pin));

/** Whether the member machine, which was built for one of them, fits the other. */
export function isSameSelf(a: Settings['self'], b: NonNullable<Settings['self']>): boolean {
  return a !== undefined && a.clientId === b.clientId && a.pool4 === b.pool4 && a.pool6 === b.pool6;
}
