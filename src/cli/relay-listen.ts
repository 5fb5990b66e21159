/** What `buri relay` and the role `relay` of `buri server` share: sockets from the command line, and the offer that comes of them. */
import { BuriError } from '#core/errors.ts';
import { maxAllocations } from '#relay/limits.ts';
import type { Relay } from '#relay/relay.ts';
import { isUnspecified, parseListenAddress } from '#server/listen-address.ts';
import { addressBytes, type Endpoint, formatAddress, formatEndpoint } from '#wire/endpoint.ts';
import type { RelayOffer } from '#wire/relay-control.ts';

/** What one core forwards; clients are spread by it one day. */
const bytesPerSecond = 250_000_000;

export const relayCapacity = { allocations: maxAllocations, bytesPerSecond } as const;

/** Binds `HOST:PORT`; without a host IPv4 and, where the machine has it, IPv6. BuriError: address-invalid, port-in-use, … */
export function listenRelay(relay: Relay, text: string): Endpoint[] {
  const { host, port } = parseListenAddress(text, '--relay');
  const bytes = host === undefined ? undefined : addressBytes(host);
  if (host !== undefined && bytes === undefined)
    throw new BuriError('address-invalid', `--relay ${text}: expected an address, not a name`);
  const addresses = bytes === undefined ? ['0.0.0.0', '::'] : [formatAddress(bytes)];
  const bound: Endpoint[] = [];
  for (const address of addresses) {
    try {
      const [first] = bound;
      bound.push({ address, port: relay.listenUdp(address, first?.port ?? port) });
    } catch (error) {
      const isOptional = bound.length > 0 && codeOf(error) === 'address-unavailable';
      if (!isOptional) throw relayError(error, text);
    }
  }
  return bound;
}

/**
 * Where clients are told to come. An unspecified address means to them: where they log in, or where the relay's own connection
 * comes from.
 *
 * @param known addresses by which the machine is reached, of each family that is to be offered; none: nothing is known of either
 */
export function offeredUdp(bound: readonly Endpoint[], known: readonly string[]): string[] {
  const family = (address: string) => address.includes(':');
  const endpoints = bound.flatMap(({ address, port }) => {
    if (!isUnspecified(address)) return [formatEndpoint({ address, port })];
    const mine = known.filter((one) => family(one) === family(address));
    return (known.length === 0 ? [address] : mine).map((one) =>
      formatEndpoint({ address: one, port }),
    );
  });
  return [...new Set(endpoints)].slice(0, 8);
}

export const offerOf = (udp: string[], ws: readonly string[]): Omit<RelayOffer, 'relayKey'> => ({
  ...{ udp, ws: ws.slice(0, 8), capacity: relayCapacity },
});

const codeOf = (error: unknown): string => (error instanceof BuriError ? error.code : '');

function relayError(error: unknown, text: string): unknown {
  switch (codeOf(error)) {
    case 'port-in-use':
      return new BuriError(
        'port-in-use',
        `another program uses UDP ${text}; stop it, or choose another port with --relay`,
      );
    case 'port-forbidden':
      return new BuriError(
        'port-forbidden',
        `no permission to use UDP ${text}; ports below 1024 need root or CAP_NET_BIND_SERVICE`,
      );
    case 'address-unavailable':
      return new BuriError(
        'address-unavailable',
        `${text} is no address of this machine; check --relay`,
      );
    default:
      return error;
  }
}
