/** Where NATS is: `nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT]`, `tls://…` for TLS. */
import { BuriError } from '#core/errors.ts';
import { decodedPart } from '../url-part.ts';

export interface NatsUrl {
  readonly servers: readonly string[];
  readonly tls: boolean;
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** For people: without the password. */
  readonly text: string;
}

const maxServers = 32;

/** BuriError: fabric-invalid. Its text never holds the password. */
export function parseNatsUrl(given: string): NatsUrl {
  const match = /^(nats|tls):\/\/(?:([^@/:]*)(?::([^@/]*))?@)?([^/?#@]+)\/?$/.exec(given);
  if (match === null) throw bad('it is no URL');
  const [, scheme, user, password, hosts = ''] = match;
  const servers = hosts.split(',').map((part) => {
    const host = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?$/.exec(part);
    const port = Number(host?.[2] ?? 4222);
    if (host === null || port < 1 || port > 65_535) throw bad('a host is not HOST or HOST:PORT');
    return `${host[1]}:${port}`;
  });
  if (servers.length > maxServers) throw bad(`it names more than ${maxServers} hosts`);
  return {
    servers,
    tls: scheme === 'tls',
    user: user === undefined ? undefined : decoded(user),
    password: password === undefined ? undefined : decoded(password),
    text: `${scheme}://${servers.join(',')}`,
  };
}

const decoded = (text: string): string => decodedPart(text, bad);

const bad = (why: string) =>
  new BuriError(
    'fabric-invalid',
    `--fabric: ${why}; it looks like nats://HOST:4222,HOST:4222 or nats://USER:PASSWORD@HOST:4222`,
  );
