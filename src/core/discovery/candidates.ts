/** From what is known of this machine to the list that peers are told: pure. */
import { type AddressFamily, type Endpoint, familyOf, formatEndpoint } from '#wire/endpoint.ts';
import { type Candidate, type CandidateKind, maxCandidates } from '#wire/signal.ts';
import { classOf, inPrefix, type Prefix } from '../path/address-class.ts';

export interface LocalAddress {
  /** Name of the network interface. */
  readonly interface: string;
  readonly address: string;
}

export interface Gathered {
  readonly addresses: readonly LocalAddress[];
  /** Port of the main socket of each family. */
  readonly ports: ReadonlyMap<AddressFamily, number>;
  /** Public endpoints that servers saw, most trusted first. */
  readonly reflexive: readonly Endpoint[];
  /** UDP port that the user forwards by hand, on the public address. */
  readonly configuredPort: number | undefined;
  /** Where gateways lead to this machine, as they say. */
  readonly mapped: readonly Endpoint[];
  /** Prefixes inside the virtual LAN. */
  readonly virtual: readonly Prefix[];
}

/** Of each family; the rest of the 16 is for what servers saw. */
const maxHosts = { 4: 6, 6: 4 } as const;
const maxReflexive = 4;
const maxMapped = 4;

/** Bridges of container and machine emulators: their addresses exist on many machines and lead to none of them. */
const internalInterface =
  /^(lo|docker\d*|br-[0-9a-f]{12}|virbr\d+(-nic)?|lxcbr\d+|lxdbr\d+|incusbr\d+|podman\d+|cni\d+|flannel.*|cali.*|vmnet\d+|vboxnet\d+)$/;

const order: readonly CandidateKind[] = [
  'host',
  'configured',
  'mapped',
  'server-reflexive',
  'relay',
];

/** At most 16, without duplicates; IPv6 and local addresses first, because they are the better paths. */
export function gatherCandidates(gathered: Gathered): Candidate[] {
  const found = new Map<string, { candidate: Candidate; address: string }>();
  const add = (kind: CandidateKind, endpoint: Endpoint) => {
    const text = formatEndpoint(endpoint);
    if (found.has(text)) return;
    found.set(text, { candidate: { kind, endpoint: text }, address: endpoint.address });
  };
  for (const endpoint of hostEndpoints(gathered)) add('host', endpoint);
  const reflexive = gathered.reflexive.slice(0, maxReflexive);
  for (const endpoint of configuredEndpoints(gathered)) add('configured', endpoint);
  for (const endpoint of mappedEndpoints(gathered)) add('mapped', endpoint);
  for (const endpoint of reflexive) add('server-reflexive', endpoint);
  return [...found.values()]
    .sort(
      (a, b) =>
        familyOf(b.address) - familyOf(a.address) ||
        order.indexOf(a.candidate.kind) - order.indexOf(b.candidate.kind),
    )
    .map(({ candidate }) => candidate)
    .slice(0, maxCandidates);
}

/** Addresses of this machine that a peer might reach: not loopback, link-local, a bridge's or the virtual LAN's. */
export function hostAddresses(
  addresses: readonly LocalAddress[],
  virtual: readonly Prefix[],
): string[] {
  const usable = addresses
    .filter(({ interface: name }) => !internalInterface.test(name))
    .map(({ address }) => address)
    .filter((address) => classOf(address) !== 'unusable')
    .filter((address) => !virtual.some((prefix) => inPrefix(address, prefix)));
  return [...new Set(usable)];
}

function hostEndpoints({ addresses, ports, virtual }: Gathered): Endpoint[] {
  const hosts = hostAddresses(addresses, virtual);
  return ([6, 4] as const).flatMap((family) => {
    const port = ports.get(family);
    if (port === undefined) return [];
    const ofFamily = hosts.filter((address) => familyOf(address) === family);
    return ofFamily.slice(0, maxHosts[family]).map((address) => ({ address, port }));
  });
}

/**
 * Only of addresses that servers see us at, where any does: an outer address of a gateway that is not ours lies behind a further
 * NAT, or is a lie about somebody else.
 */
export function mappedEndpoints({ mapped, reflexive }: Pick<Gathered, 'mapped' | 'reflexive'>) {
  const seen = (family: AddressFamily) =>
    reflexive.filter(({ address }) => familyOf(address) === family);
  return mapped.slice(0, maxMapped).filter(({ address }) => {
    const ofFamily = seen(familyOf(address));
    return ofFamily.length === 0 || ofFamily.some((other) => other.address === address);
  });
}

/** Where no server answers, the gateway knows the public address. */
function configuredEndpoints({ reflexive, mapped, configuredPort }: Gathered): Endpoint[] {
  const seen = [...reflexive, ...mapped].find(({ address }) => familyOf(address) === 4);
  if (configuredPort === undefined || seen === undefined) return [];
  return [{ address: seen.address, port: configuredPort }];
}
