/**
 * The CONNECT exchange with an HTTP proxy (RFC 9110 §9.3.6, RFC 9112 §3.2.3), which opens a way for bytes to another host.
 *
 *   CONNECT host:port HTTP/1.1 ␍␊ Host: host:port ␍␊ [Proxy-Authorization: Basic …] ␍␊ ␍␊
 *   HTTP/1.1 200 whatever ␍␊ headers ␍␊ ␍␊, then the bytes of the other host
 *
 * Interim answers (1xx) may come first. What a proxy says is bounded, and its words are cleaned before a person sees them.
 */

/** All answers together, headers included. */
export const maxConnectAnswerBytes = 16_384;
const maxReasonCharacters = 80;
const maxSchemes = 8;

export interface ConnectTarget {
  /** Name or address; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

export type ConnectAnswer =
  /** The end of the answer has not come yet. */
  | { readonly kind: 'partial' }
  /** Bytes from `bodyAt` on are the other host's. */
  | { readonly kind: 'open'; readonly bodyAt: number }
  | {
      readonly kind: 'refused';
      readonly status: number;
      readonly reason: string;
      /** Names of the ways to log in that the proxy offers, lower case. */
      readonly schemes: readonly string[];
    }
  | { readonly kind: 'broken'; readonly why: string };

export const authorityOf = ({ host, port }: ConnectTarget): string =>
  `${host.includes(':') ? `[${host}]` : host}:${port}`;

/** @param authorization value of the header, such as `Basic …` */
export function connectRequest(target: ConnectTarget, authorization?: string): string {
  const authority = authorityOf(target);
  const login = authorization === undefined ? '' : `Proxy-Authorization: ${authorization}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${login}\r\n`;
}

/** Reads what has come of an answer so far. */
export function readConnectAnswer(bytes: Uint8Array): ConnectAnswer {
  let at = 0;
  for (;;) {
    const end = endOfHead(bytes, at);
    if (end === undefined) return unfinished(bytes, at);
    const [statusLine = '', ...fields] = latin1(bytes, at, end).split('\r\n');
    const match = statusPattern.exec(statusLine);
    if (match === null) return notHttp;
    const status = Number(match[1]);
    if (status >= 200 && status < 300) return { kind: 'open', bodyAt: end + 4 };
    if (status >= 200) {
      return { kind: 'refused', status, reason: cleaned(match[2]), schemes: schemesOf(fields) };
    }
    // 101 would be another protocol; the others announce a later answer.
    if (status === 101) return { kind: 'broken', why: 'it switched to another protocol' };
    at = end + 4;
  }
}

const statusPattern = /^HTTP\/1\.[0-9] ([1-5][0-9]{2})(?: (.*))?$/s;
const prefix = 'HTTP/1.';
const notHttp = { kind: 'broken', why: 'it does not speak HTTP' } as const;

function unfinished(bytes: Uint8Array, at: number): ConnectAnswer {
  const begun = latin1(bytes, at, Math.min(bytes.length, at + prefix.length));
  if (!prefix.startsWith(begun)) return notHttp;
  if (bytes.length >= maxConnectAnswerBytes) {
    return { kind: 'broken', why: `its answer is longer than ${maxConnectAnswerBytes} bytes` };
  }
  return { kind: 'partial' };
}

/** Where the empty line begins that ends a head. */
function endOfHead(bytes: Uint8Array, from: number): number | undefined {
  const last = Math.min(bytes.length, maxConnectAnswerBytes) - 4;
  for (let i = from; i <= last; i++) {
    if (bytes[i] === 13 && bytes[i + 1] === 10 && bytes[i + 2] === 13 && bytes[i + 3] === 10) {
      return i;
    }
  }
  return undefined;
}

function schemesOf(fields: readonly string[]): string[] {
  const schemes = new Set<string>();
  for (const field of fields) {
    const match = /^proxy-authenticate:[ \t]*(.*)$/is.exec(field);
    for (const [, scheme = ''] of match?.[1]?.matchAll(
      /(?:^|,\s*)([A-Za-z][\w-]{0,19})(?=\s|,|$)/g,
    ) ?? []) {
      if (schemes.size < maxSchemes) schemes.add(scheme.toLowerCase());
    }
  }
  return [...schemes];
}

const latin1 = (bytes: Uint8Array, from: number, to: number): string =>
  String.fromCharCode(...bytes.subarray(from, to));

const cleaned = (text = ''): string =>
  text
    .replace(/[^\x20-\x7e]/g, '')
    .trim()
    .slice(0, maxReasonCharacters);
