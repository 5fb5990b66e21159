/**
 * Where PostgreSQL is: a URL as libpq has it, also with several hosts, of which one is the primary at a time. `pg` itself
 * knows one host only, so that the list is taken apart here.
 *
 *     postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?sslmode=…&sslrootcert=FILE
 *     postgres://USER@/DATABASE?host=/run/postgresql&port=5432           by a Unix socket
 */
import { BuriError } from '#core/errors.ts';
import { decodedPart } from '../url-part.ts';

export type SslMode = 'disable' | 'require' | 'verify-full';

export interface PostgresHost {
  /** A name, an address, or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
}

export interface PostgresUrl {
  readonly hosts: readonly PostgresHost[];
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  /** Undefined: `verify-full`, but for this machine itself. */
  readonly sslMode: SslMode | undefined;
  readonly sslRootCertificate: string | undefined;
  /** For people: without the password. */
  readonly text: string;
}

const defaultPort = 5432;
const maxHosts = 16;
const options = new Set(['host', 'port', 'sslmode', 'sslrootcert', 'target_session_attrs']);

export const isPostgresUrl = (text: string): boolean => /^postgres(ql)?:\/\//.test(text);

/** BuriError: store-invalid. Its text never holds the password. */
export function parsePostgresUrl(given: string): PostgresUrl {
  const match = /^postgres(?:ql)?:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(given);
  if (match === null) throw bad('it is no URL');
  const [, login = '', authority = '', path = '', query = ''] = match;
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys())
    if (!options.has(name)) throw bad(`it knows no option ${name}`);
  const [user = '', ...rest] = login.split(':');
  const database = decoded(path) || decoded(user);
  if (database === '') throw bad('it names no database');
  const names = authority === '' ? (parameters.get('host') ?? '') : authority;
  const ports = (parameters.get('port') ?? '').split(',');
  const hosts = names
    .split(',')
    .filter((part) => part !== '')
    .map((part, i) => hostOf(part, ports[i] || ports[0] || String(defaultPort)));
  if (hosts.length === 0) throw bad('it names no host');
  if (hosts.length > maxHosts) throw bad(`it names more than ${maxHosts} hosts`);
  const attributes = parameters.get('target_session_attrs') ?? 'read-write';
  if (attributes !== 'read-write' && attributes !== 'primary')
    throw bad('target_session_attrs is read-write here: the server writes');
  return {
    hosts,
    user: decoded(user) || 'buri',
    password: rest.length === 0 ? undefined : decoded(rest.join(':')),
    database,
    sslMode: sslModeOf(parameters.get('sslmode')),
    sslRootCertificate: parameters.get('sslrootcert') ?? undefined,
    text: `postgres://${hosts.map(({ host, port }) => `${host}:${port}`).join(',')}/${database}`,
  };
}

function hostOf(part: string, defaultPortText: string): PostgresHost {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]]+|\/.*)(?::([0-9]{1,5}))?$/.exec(decoded(part));
  const port = Number(match?.[2] ?? defaultPortText);
  if (match === null || !Number.isInteger(port) || port < 1 || port > 65_535)
    throw bad('a host is not of the form HOST or HOST:PORT');
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port };
}

function sslModeOf(text: string | null): SslMode | undefined {
  if (text === null) return undefined;
  if (text === 'disable' || text === 'require' || text === 'verify-full') return text;
  throw bad('sslmode is one of disable, require, verify-full');
}

const decoded = (text: string): string => decodedPart(text, bad);

const bad = (why: string) =>
  new BuriError(
    'store-invalid',
    `--store postgres://…: ${why}; it looks like postgres://USER:PASSWORD@HOST:5432,HOST:5432/DATABASE`,
  );
