/** From observations to RFC 4787's terms (RFC 5780 §4.3, §4.4): pure. */
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import type { NatBehaviour } from '#wire/signal.ts';

export interface Observations {
  /** Endpoints of this machine, untranslated. */
  readonly local: readonly Endpoint[];
  /** What the first server saw. */
  readonly seen: Endpoint | undefined;
  /** What another port of the same server address saw. */
  readonly seenByOtherPort: Endpoint | undefined;
  /** What another server address saw. */
  readonly seenByOtherAddress: Endpoint | undefined;
  /**
   * Whether an answer from a port that was never sent to got in; undefined when that could not be tested.
   */
  readonly otherPortGetsIn: boolean | undefined;
  /** The same from another address and port. */
  readonly otherAddressGetsIn?: boolean | undefined;
}

export function classifyNat(observed: Observations): NatBehaviour {
  return { mapping: mappingOf(observed), filtering: filteringOf(observed) };
}

function mappingOf(observed: Observations): NatBehaviour['mapping'] {
  const { seen, seenByOtherPort, seenByOtherAddress, local } = observed;
  if (seen === undefined) return 'unknown';
  if (local.some((endpoint) => sameEndpoint(endpoint, seen))) return 'none';
  if (seenByOtherPort !== undefined && !sameEndpoint(seen, seenByOtherPort)) {
    return 'address-and-port-dependent';
  }
  if (seenByOtherAddress !== undefined && !sameEndpoint(seen, seenByOtherAddress)) {
    // Without the test of the other port the worse of the two is assumed.
    return seenByOtherPort === undefined ? 'address-and-port-dependent' : 'address-dependent';
  }
  const compared = seenByOtherPort !== undefined || seenByOtherAddress !== undefined;
  return compared ? 'endpoint-independent' : 'unknown';
}

/**
 * A server with one address can tell filters that look at ports from those that do not, but not whether they look at
 * addresses: then the stricter of the two is named.
 */
function filteringOf(observed: Observations): NatBehaviour['filtering'] {
  const { otherPortGetsIn, otherAddressGetsIn } = observed;
  const isUntranslated = mappingOf(observed) === 'none';
  if (otherAddressGetsIn === true) return isUntranslated ? 'none' : 'endpoint-independent';
  if (otherPortGetsIn === undefined) return 'unknown';
  if (!otherPortGetsIn) return 'address-and-port-dependent';
  return isUntranslated && otherAddressGetsIn === undefined ? 'none' : 'address-dependent';
}
