/**
 * The one table of NAT names. The laboratory builds them from nftables and, where that cannot make a
 * kind, from a NAT of its own (`native/userspace-nat.c`); the world simulation from a model. All must
 * behave as the row says. Terms: RFC 4787 (mapping §4.1, filtering §5), measured as RFC 5780 §4 does.
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

export type MappingProtocol = 'pcp' | 'nat-pmp' | 'upnp';

/** What one translator does. */
export interface NatBox {
  readonly mapping: Mapping;
  readonly filtering: Filtering;
  /** Undefined where nothing is translated. */
  readonly allocation: PortAllocation | undefined;
}

export interface NatKindRow extends NatBox {
  readonly name: string;
  /** What translates UDP in the laboratory; `carrier` and `home` may differ in it. */
  readonly madeBy: 'nftables' | 'userspace';
  /** From one port of a sequential allocation to the next: 1 when absent. */
  readonly step?: number;
  /** Mappings that others behind the same NAT make. */
  readonly foreignPerSecond?: number;
  /** How long an idle mapping lives, where that is what the kind is about. */
  readonly timeoutSeconds?: number;
  /** Two hosts behind the NAT reach each other by their public endpoints (RFC 4787 §6). */
  readonly hairpin?: boolean;
  /** Absent: hosts have IPv4 only. IPv6 is filtered as by `host-firewall`, never translated. */
  readonly ipv6?: 'dual' | 'only';
  /**
   * The router takes in what nobody asked for, as Linux does without a rule against it: the packet
   * gets nowhere, but whoever sends from that port to that sender later is given another port.
   */
  readonly unsolicited?: 'accepted';
  /** How hosts may ask the router for a port. */
  readonly portMapping?: readonly MappingProtocol[];
  /** Two translators in a row; the row itself says what both together do. */
  readonly carrier?: { readonly outer: NatBox; readonly inner: NatBox };
  readonly description: string;
}

const restricted = {
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
  allocation: 'preserving',
} as const satisfies NatBox;
const carrierBox = { ...restricted, allocation: 'random-in-block' } as const satisfies NatBox;
const symmetric = {
  mapping: 'address-and-port-dependent',
  filtering: 'address-and-port-dependent',
  allocation: 'random',
} as const satisfies NatBox;
const symmetricBlock = { ...symmetric, allocation: 'random-in-block' } as const satisfies NatBox;

export const natKinds = [
  {
    name: 'none',
    ...{ mapping: 'none', filtering: 'none', allocation: undefined, madeBy: 'nftables' },
    description: 'public addresses, routed, nothing filtered',
  },
  {
    name: 'host-firewall',
    ...{ mapping: 'none', filtering: 'address-and-port-dependent', allocation: undefined },
    madeBy: 'nftables',
    description: 'public addresses; the host itself drops what it did not ask for',
  },
  {
    name: 'full-cone',
    ...{ mapping: 'endpoint-independent', filtering: 'endpoint-independent' },
    ...{ allocation: 'preserving', madeBy: 'nftables' },
    description: 'whoever knows a mapped port gets in',
  },
  {
    name: 'address-restricted',
    ...{ mapping: 'endpoint-independent', filtering: 'address-dependent' },
    ...{ allocation: 'preserving', madeBy: 'nftables' },
    description: 'an address that was sent to gets in, from any port',
  },
  {
    name: 'port-restricted',
    ...{ ...restricted, madeBy: 'nftables' },
    description: 'the ordinary home router: only an endpoint that was sent to gets in',
  },
  {
    name: 'port-restricted-hairpin',
    ...{ ...restricted, madeBy: 'nftables', hairpin: true },
    description: 'the same, and hosts behind it reach each other by their public endpoints',
  },
  {
    name: 'port-restricted-accepting',
    ...{ ...restricted, madeBy: 'nftables', unsolicited: 'accepted' },
    description: 'the same, but who is sent to before it sends is given another port',
  },
  {
    name: 'port-restricted-pcp',
    ...{ ...restricted, madeBy: 'nftables', portMapping: ['pcp'] },
    description: 'as port-restricted, with a router that can be asked for a port by PCP',
  },
  {
    name: 'port-restricted-upnp',
    ...{ ...restricted, madeBy: 'nftables', portMapping: ['upnp'] },
    description: 'as port-restricted, with a router that can be asked for a port by UPnP',
  },
  {
    name: 'short-lifetime',
    ...{ ...restricted, madeBy: 'nftables', timeoutSeconds: 10 },
    description: 'as port-restricted; an idle mapping is forgotten after 10 s',
  },
  {
    name: 'symmetric',
    ...{ ...symmetric, madeBy: 'nftables' },
    description: 'a fresh random port for every destination',
  },
  {
    name: 'symmetric-upnp',
    ...{ ...symmetric, madeBy: 'nftables', portMapping: ['upnp'] },
    description: 'the same, with a router that can be asked for a port',
  },
  {
    name: 'symmetric-address-restricted',
    ...{ ...symmetric, filtering: 'address-dependent', madeBy: 'userspace' },
    description: 'a fresh random port for every destination; filters by address only',
  },
  {
    name: 'symmetric-open',
    ...{ ...symmetric, filtering: 'endpoint-independent', madeBy: 'userspace' },
    description: 'a fresh random port for every destination; whoever knows one gets in',
  },
  {
    name: 'address-mapped',
    ...{ mapping: 'address-dependent', filtering: 'address-dependent', allocation: 'random' },
    madeBy: 'userspace',
    description: 'a fresh random port for every address',
  },
  {
    name: 'symmetric-sequential',
    ...{ ...symmetric, allocation: 'sequential', madeBy: 'userspace', foreignPerSecond: 5 },
    description: 'the next port for every destination; others behind it take five a second',
  },
  {
    name: 'symmetric-block',
    ...{ ...symmetricBlock, madeBy: 'nftables' },
    description: 'a carrier: a fresh port for every destination, from a block of 512',
  },
  {
    name: 'carrier',
    ...{ ...carrierBox, madeBy: 'userspace' },
    carrier: { outer: carrierBox, inner: restricted },
    description: 'a home router behind a carrier that maps as RFC 6888 asks, in a block of 512',
  },
  {
    name: 'carrier-symmetric',
    ...{ ...symmetricBlock, madeBy: 'nftables' },
    carrier: { outer: symmetricBlock, inner: restricted },
    description: 'a home router behind a symmetric carrier with a block of 512',
  },
  {
    name: 'dual-stack',
    ...{ ...restricted, madeBy: 'nftables', ipv6: 'dual' },
    description: 'port-restricted, and public IPv6 addresses behind a firewall',
  },
  {
    name: 'ipv6-only',
    ...{ mapping: 'none', filtering: 'address-and-port-dependent', allocation: undefined },
    ...{ madeBy: 'nftables', ipv6: 'only' },
    description: 'no IPv4; public IPv6 addresses behind a firewall',
  },
  {
    name: 'udp-blocked',
    ...{ mapping: 'blocked', filtering: 'blocked', allocation: undefined, madeBy: 'nftables' },
    description: 'TCP is translated, UDP never passes',
  },
] as const satisfies readonly NatKindRow[];

type Row = (typeof natKinds)[number];
export type NatKind = Row['name'];
/** Ports of kinds with a block: the first, and how many (RFC 7422 shows such blocks). */
export const portBlock = { first: 30_208, size: 512 } as const;

export function natKind(name: NatKind): NatKindRow {
  return natKinds.find((row) => row.name === name) as NatKindRow;
}

/**
 * Whether members behind two such NATs find a direct path without a mapped port and without guessing
 * ports. `possible`: if neither is sent to before it has sent itself, or if both follow packets that
 * come from where they were not expected.
 */
export function directPath(a: NatKindRow, b: NatKindRow): 'certain' | 'possible' | 'none' {
  // A firewall that is sent through lets the answer in, and IPv6 is not translated.
  if (a.ipv6 !== undefined && b.ipv6 !== undefined) return 'certain';
  if (a.ipv6 === 'only' || b.ipv6 === 'only') return 'none';
  if (a.mapping === 'blocked' || b.mapping === 'blocked') return 'none';
  const isStable = ({ mapping }: NatBox) =>
    mapping === 'none' || mapping === 'endpoint-independent';
  const filtersPorts = ({ filtering }: NatBox) => filtering === 'address-and-port-dependent';
  const isMoved = (accepting: NatKindRow, other: NatKindRow) =>
    accepting.unsolicited === 'accepted' && filtersPorts(other);
  if (isStable(a) && isStable(b)) return isMoved(a, b) || isMoved(b, a) ? 'possible' : 'certain';
  if (!isStable(a) && !isStable(b)) return filtersPorts(a) && filtersPorts(b) ? 'none' : 'possible';
  return filtersPorts(isStable(a) ? a : b) ? 'none' : 'certain';
}

/** Whether a port has to be guessed or predicted for a direct path, and that can succeed. */
export function canBeGuessed(a: NatKindRow, b: NatKindRow): boolean {
  if (directPath(a, b) === 'certain') return false;
  const counts = ({ allocation }: NatBox) => allocation === 'sequential';
  const isFixed = ({ mapping }: NatBox) => mapping === 'none' || mapping === 'endpoint-independent';
  if ([a, b].some(({ mapping, ipv6 }) => mapping === 'blocked' || ipv6 === 'only')) return false;
  return isFixed(a) || isFixed(b) || (counts(a) && counts(b)) || directPath(a, b) === 'possible';
}
