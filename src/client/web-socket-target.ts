import type { ConnectTarget } from '#wire/http-connect.ts';

/** Host and port of a `ws:` or `wss:` URL. */
export function targetOf(url: string): ConnectTarget {
  const { hostname, port, protocol } = new URL(url);
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'wss:' ? 443 : 80) : Number(port),
  };
}

/** Server name indication takes no addresses (RFC 6066 §3). */
export const isName = (host: string): boolean => !host.includes(':') && !/^[0-9.]+$/.test(host);
