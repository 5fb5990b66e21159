import { isIP } from 'node:net';
import { BuriError } from '#core/errors.ts';
import { addressBytes } from '#wire/endpoint.ts';
import { authorityOf, type ConnectTarget } from '#wire/http-connect.ts';

/** An HTTP proxy through which the daemon makes its TCP connections. */
export interface HttpProxy extends ConnectTarget {
  /** TLS to the proxy itself. */
  readonly secure: boolean;
  /** For people: without user and password. */
  readonly text: string;
  /** Value of `Proxy-Authorization`; a function, so that whoever prints or logs a proxy prints no password. */
  readonly authorization: () => string | undefined;
}

/** Which connections go through which proxy. */
export interface ProxyChoice {
  proxyFor(target: ConnectTarget): HttpProxy | undefined;
  /** For people: the proxy, or undefined where none is used. */
  readonly text: string | undefined;
}

/** Everything goes directly. */
export const noProxy: ProxyChoice = { proxyFor: () => undefined, text: undefined };

/**
 * What was configured (`none`: no proxy, whatever the environment says), or else what the environment says to all programs.
 * BuriError: bad-proxy-url.
 */
export function chooseProxy(
  configured: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): ProxyChoice {
  if (configured === 'none') return noProxy;
  if (configured !== undefined && configured !== '') {
    const proxy = parseProxyUrl(configured);
    return { proxyFor: () => proxy, text: proxy.text };
  }
  const text = environment.https_proxy || environment.HTTPS_PROXY;
  if (text === undefined || text === '') return noProxy;
  const proxy = parseProxyUrl(text);
  const rules = parseNoProxy(environment.no_proxy || environment.NO_PROXY || '');
  return {
    proxyFor: (target) =>
      isLoopback(target.host) || rules.some((rule) => rule(target)) ? undefined : proxy,
    text: proxy.text,
  };
}

const maxUrlCharacters = 2000;
const defaultPort = 3128;

/** BuriError: bad-proxy-url. Its text never repeats what was given: a password may stand in it. */
export function parseProxyUrl(given: string): HttpProxy {
  const text = given.trim();
  if (text.length > maxUrlCharacters) throw bad('it is too long');
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') {
    throw bad(`proxies of the kind '${scheme}' are not supported`);
  }
  const match =
    /^(?:https?:\/\/)?(?:(.*)@)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?\/?$/is.exec(
      text,
    );
  if (match === null) throw bad('it cannot be understood');
  const [, userInfo, hostText = '', portText] = match;
  const host = hostText.replace(/^\[|\]$/g, '').toLowerCase();
  if (hostText.startsWith('[') && isIP(host) !== 6) throw bad('its address is none');
  const port = portText === undefined ? defaultPort : Number(portText);
  if (port < 1 || port > 65_535) throw bad('its port is none');
  const secure = scheme === 'https';
  return {
    ...{ host, port, secure },
    text: `${secure ? 'https' : 'http'}://${authorityOf({ host, port })}`,
    authorization: userInfo === undefined ? () => undefined : basic(userInfo),
  };
}

/** RFC 7617: neither may hold control characters, and a user no colon. */
function basic(userInfo: string): () => string {
  const colon = userInfo.indexOf(':');
  const user = decoded(colon < 0 ? userInfo : userInfo.slice(0, colon));
  const password = decoded(colon < 0 ? '' : userInfo.slice(colon + 1));

  if (user.includes(':') || /[\x00-\x1f\x7f]/.test(user + password)) {
    throw bad('user or password hold characters that cannot be sent');
  }
  const value = `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`;
  return () => value;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw bad("user or password hold a '%' that is no %XX (a '%' itself is %25)");
  }
}

type Rule = (target: ConnectTarget) => boolean;
const maxRules = 200;

/** As curl and Go read it: names with all below them, addresses, networks, each perhaps with a port; `*` is everything. */
function parseNoProxy(text: string): Rule[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== '');
  return words.slice(0, maxRules).map(ruleOf);
}

function ruleOf(word: string): Rule {
  if (word === '*') return () => true;
  const network = /^\[?([0-9a-fA-F:.]+)\]?\/([0-9]{1,3})$/.exec(word);
  if (network !== null) return networkRule(network[1] ?? '', Number(network[2]));
  const [, bracketed, plain, portText] =
    /^(?:\[([^\]]*)\]|([^:]*|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*))(?::([0-9]{1,5}))?$/.exec(
      word,
    ) ?? [];
  const port = portText === undefined ? undefined : Number(portText);
  const name = (bracketed ?? plain ?? '').toLowerCase().replace(/^\*?\./, '');
  if (name === '') return () => false;
  const address = addressBytes(name);
  return (target) => {
    if (port !== undefined && port !== target.port) return false;
    const host = target.host.toLowerCase().replace(/\.$/, '');
    if (address !== undefined) return sameBits(addressBytes(host), address, address.length * 8);
    return host === name || host.endsWith(`.${name}`);
  };
}

function networkRule(text: string, bits: number): Rule {
  const network = addressBytes(text);
  if (network === undefined || bits > network.length * 8) return () => false;
  return ({ host }) => sameBits(addressBytes(host), network, bits);
}

function sameBits(a: Uint8Array | undefined, b: Uint8Array, bits: number): boolean {
  if (a === undefined || a.length !== b.length) return false;
  for (let i = 0; i < bits; i++) {
    const mask = 0x80 >> (i & 7);
    if (((a[i >> 3] ?? 0) & mask) !== ((b[i >> 3] ?? 0) & mask)) return false;
  }
  return true;
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.[0-9.]+$/.test(host);

const bad = (why: string): BuriError =>
  new BuriError(
    'bad-proxy-url',
    `the proxy's URL does not do: ${why}. It looks like http://USER:PASSWORD@HOST:PORT ` +
      "or http://HOST:PORT; 'none' is no proxy",
  );
