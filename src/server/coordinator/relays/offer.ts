/** What a relay's offer comes to: addresses that it did not know, and those that it may not name (protocol §11). */
import { familyOf, formatEndpoint, parseEndpoint } from '#wire/endpoint.ts';
import type { RelayOffer } from '#wire/relay-control.ts';

export interface ResolvedOffer {
  readonly udp: readonly string[];
  readonly ws: readonly string[];
  /** Of the offer, as it named them: not where the relay says it is. */
  readonly refused: readonly string[];
}

/**
 * Puts the address that the relay's control connection comes from in place of an unspecified one. A relay on the machine
 * of the server itself keeps the unspecified address: clients know where they logged in.
 *
 * @param own only that address will do: a member must not send others, nor the server, to somebody else's.
 */
export function resolveOffer(
  offer: Pick<RelayOffer, 'udp' | 'ws'>,
  source: string | undefined,
  own: boolean,
): ResolvedOffer {
  const udp = new Set<string>();
  const ws = new Set<string>();
  const refused: string[] = [];
  for (const text of offer.udp) {
    const endpoint = parseEndpoint(text);
    const address = endpoint && resolved(endpoint.address, source, own);
    if (endpoint === undefined || address === undefined) refused.push(text);
    else udp.add(formatEndpoint({ address, port: endpoint.port }));
  }
  for (const text of offer.ws) {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const host = url?.hostname.replace(/^\[|\]$/g, '') ?? '';
    const named = parseEndpoint(host.includes(':') ? `[${host}]:1` : `${host}:1`)?.address;
    if (url === undefined || (own && named === undefined)) continue;
    if (named === undefined) {
      ws.add(text);
      continue;
    }
    const address = resolved(named, source, own);
    if (address === undefined) continue;
    const authority = familyOf(address) === 6 ? `[${address}]` : address;
    ws.add(`${url.protocol}//${authority}${url.port === '' ? '' : `:${url.port}`}${url.pathname}`);
  }
  return { udp: [...udp], ws: [...ws], refused };
}

/** Where the server itself asks: an unspecified address that was kept is where the relay connects from. */
export function checkTarget(text: string, source: string | undefined): string | undefined {
  const endpoint = parseEndpoint(text);
  if (endpoint === undefined) return undefined;
  if (!isUnspecified(endpoint.address)) return text;
  const address = source ?? (familyOf(endpoint.address) === 6 ? '::1' : '127.0.0.1');
  if (familyOf(address) !== familyOf(endpoint.address)) return undefined;
  return formatEndpoint({ address, port: endpoint.port });
}

function resolved(address: string, source: string | undefined, own: boolean): string | undefined {
  if (!isUnspecified(address)) return own && address !== source ? undefined : address;
  if (source === undefined || isLoopback(source)) return address;
  return familyOf(source) === familyOf(address) ? source : undefined;
}

const isUnspecified = (address: string) => address === '0.0.0.0' || address === '::';
const isLoopback = (address: string) => address === '::1' || address.startsWith('127.');
