/** The relay in this process as other nodes are to know it. */
import { familyOf, formatEndpoint, parseEndpoint } from '#wire/endpoint.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import { isUnspecified } from '../listen-address.ts';

/** Addresses of one relay. */
const maxRelayUdp = 8;

/** An unspecified address means where clients log in: that is somewhere else at another node. */
export function namedRelay(
  offer: RelayOffer,
  addresses: readonly string[],
  host: string,
): RelayOffer {
  const udp = offer.udp.flatMap((text) => {
    const endpoint = parseEndpoint(text);
    if (endpoint === undefined || !isUnspecified(endpoint.address)) return [text];
    return addresses
      .filter((address) => familyOf(address) === familyOf(endpoint.address))
      .map((address) => formatEndpoint({ address, port: endpoint.port }));
  });
  const ws = offer.ws.map((url) => url.replace('//0.0.0.0:', `//${host}:`));
  return { ...offer, udp: udp.slice(0, maxRelayUdp), ws };
}
