import { isIP } from 'node:net';
import { BuriError } from '#core/errors.ts';
import { controlPath } from '#wire/control.ts';

/** Where a client logs in: `buri://HOST[:PORT][#KEY]`, or `buris://` for a server that has a TLS certificate. */
export interface ServerUrl {
  /** Canonical text without the key: tells servers apart. */
  readonly text: string;
  readonly webSocketUrl: string;
  /** Ed25519 key of the cluster, where the URL carries it. */
  readonly clusterKey: Uint8Array | undefined;
}

export const defaultControlPort = 8443;

/** BuriError: bad-server-url. */
export function parseServerUrl(text: string): ServerUrl {
  const match =
    /^(buris?):\/\/(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?\/?(?:#(.*))?$/.exec(
      text.trim(),
    );
  if (match === null) throw bad(text);
  const [, scheme = '', host = '', portText, keyText] = match;
  const port = portText === undefined ? defaultControlPort : Number(portText);
  const bracketed = host.startsWith('[');
  if (port < 1 || port > 65_535 || (bracketed && isIP(host.slice(1, -1)) !== 6)) throw bad(text);
  const authority = `${host.toLowerCase()}:${port}`;
  return {
    text: `${scheme}://${authority}`,
    webSocketUrl: `${scheme === 'buris' ? 'wss' : 'ws'}://${authority}${controlPath}`,
    clusterKey: keyText === undefined ? undefined : clusterKeyOf(keyText),
  };
}

export const clusterKeyText = (key: Uint8Array): string => Buffer.from(key).toString('base64url');

function clusterKeyOf(text: string): Uint8Array {
  const key = Buffer.from(text, 'base64url');
  if (!/^[A-Za-z0-9_-]{43}$/.test(text) || key.length !== 32) {
    throw new BuriError(
      'bad-server-url',
      "the key after '#' is damaged: it has 43 letters, digits, '-' or '_'; copy the whole line " +
        "that 'buri server url' prints",
    );
  }
  return new Uint8Array(key);
}

const bad = (text: string): BuriError =>
  new BuriError(
    'bad-server-url',
    `${JSON.stringify(text.slice(0, 100))} is no server URL; it looks like ` +
      "buri://HOST:PORT#KEY, as 'buri server url' prints it on the server",
  );
