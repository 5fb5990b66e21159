/**
 * The one table of NAT names. The laboratory builds them from nftables, the world simulation from a
 * model; both must behave as the row says. Terms: RFC 4787 (mapping §4.1, filtering §5), measured
 * as RFC 5780 §4 does.
 */

/** How an inside endpoint's public endpoint depends on where it sends. `none`: no translation. */
export type Mapping =
  | 'none'
  | 'endpoint-independent'
  | 'address-dependent'
  | 'address-and-port-dependent'
  | 'blocked';

/** Whom the inside must have sent to before a packet is let in. `none`: everything is let in. */
export type Filtering =
  | 'none'
  | 'endpoint-independent'
  | 'address-dependent'
  | 'address-and-port-dependent'
  | 'blocked';

/**
 * Which public port a new mapping gets; a block is a carrier's share of ports for one subscriber
 * (RFC 7422).
 */
export type PortAllocation = 'preserving' | 'random' | 'random-in-block' | 'sequential';

export interface NatKindRow {
  readonly name: string;
  readonly mapping: Mapping;
  readonly filtering: Filtering;
  /** Undefined where nothing is translated. */
  readonly allocation: PortAllocation | undefined;
  /** False for what nftables cannot make; only the simulation has it then. */
  readonly nftables: boolean;
  readonly description: string;
}

export const natKinds = [
  {
    name: 'none',
    mapping: 'none',
    filtering: 'none',
    allocation: undefined,
    nftables: true,
    description: 'public addresses, routed, nothing filtered',
  },
  {
    name: 'host-firewall',
    mapping: 'none',
    filtering: 'address-and-port-dependent',
    allocation: undefined,
    nftables: true,
    description: 'public addresses; the host itself drops what it did not ask for',
  },
  {
    name: 'full-cone',
    mapping: 'endpoint-independent',
    filtering: 'endpoint-independent',
    allocation: 'preserving',
    nftables: true,
    description: 'whoever knows a mapped port gets in',
  },
  {
    name: 'address-restricted',
    mapping: 'endpoint-independent',
    filtering: 'address-dependent',
    allocation: 'preserving',
    nftables: true,
    description: 'an address that was sent to gets in, from any port',
  },
  {
    name: 'port-restricted',
    mapping: 'endpoint-independent',
    filtering: 'address-and-port-dependent',
    allocation: 'preserving',
    nftables: true,
    description: 'the ordinary home router: only an endpoint that was sent to gets in',
  },
  {
    name: 'symmetric',
    mapping: 'address-and-port-dependent',
    filtering: 'address-and-port-dependent',
    allocation: 'random',
    nftables: true,
    description: 'a fresh random port for every destination',
  },
  {
    name: 'symmetric-block',
    mapping: 'address-and-port-dependent',
    filtering: 'address-and-port-dependent',
    allocation: 'random-in-block',
    nftables: true,
    description: 'a carrier: a fresh port for every destination, from a block of 512',
  },
  {
    name: 'symmetric-sequential',
    mapping: 'address-and-port-dependent',
    filtering: 'address-and-port-dependent',
    allocation: 'sequential',
    nftables: false,
    description: 'the next port for every destination',
  },
  {
    name: 'udp-blocked',
    mapping: 'blocked',
    filtering: 'blocked',
    allocation: undefined,
    nftables: true,
    description: 'TCP is translated, UDP never passes',
  },
] as const satisfies readonly NatKindRow[];

type Row = (typeof natKinds)[number];
export type NatKind = Row['name'];
/** The kinds that the laboratory can build. */
export type LabNatKind = Extract<Row, { nftables: true }>['name'];

/** Ports of `symmetric-block`: the first, and how many (RFC 7422 shows such blocks). */
export const portBlock = { first: 30_208, size: 512 } as const;

export const labNatKinds: readonly LabNatKind[] = natKinds
  .filter((row) => row.nftables)
  .map((row) => row.name as LabNatKind);

export function natKind(name: NatKind): NatKindRow {
  return natKinds.find((row) => row.name === name) as NatKindRow;
}
