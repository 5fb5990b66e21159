/** NATs and firewalls of home routers as nftables rules. */
import { type NatKindRow, portBlock } from './nat-kinds.ts';
import { divertRules, natDevice } from './userspace-nat.ts';

/** What one router does. */
export type RouterRow = Pick<
  NatKindRow,
  'mapping' | 'filtering' | 'allocation' | 'madeBy' | 'unsolicited' | 'ipv6'
>;

export interface NatSettings {
  readonly row: RouterRow;
  /** Interfaces of the router. */
  readonly wan: string;
  readonly lan: string;
  /** Address of the WAN interface. */
  readonly publicIpv4: string;
  /** Subnet of the LAN. */
  readonly lanIpv4: string;
  /** How long an idle UDP mapping lives. */
  readonly timeoutSeconds: number;
  /** Two hosts behind the NAT reach each other by their public endpoints (RFC 4787 §6). */
  readonly hairpin: boolean;
  /** Forwarded by hand: UDP port of the public address to the same port of a LAN address. */
  readonly forwards: ReadonlyMap<number, string>;
}

/**
 * The whole rule set of a router; loading it replaces the one before and forgets its dynamic sets.
 *
 * Why the drops stand in `input` and `forward`: conntrack keeps an entry only when its first packet
 * gets through both. An unsolicited packet to the router's own address that were let in would leave
 * an entry `peer → public:port`, and the mapping of the host that sends from that very port to that
 * very peer a moment later would have to move to another port, which ruins every simultaneous open.
 *
 * Endpoint-independent mapping is port preservation. Two LAN hosts that use the same port number
 * share it towards different destinations, and the first of them is the one that unsolicited
 * packets reach.
 */
export function natRuleset(settings: NatSettings): string {
  const replaceOld = 'table inet router {}\ndelete table inet router\n';
  if (!isTranslated(settings.row)) return replaceOld;
  return `${replaceOld}table inet router {
    counter unsolicited { }
    ${sets(settings)}
    ${settings.row.madeBy === 'userspace' ? divertRules(settings.publicIpv4, settings.lanIpv4) : ''}
    chain outbound {
      type filter hook prerouting priority mangle; policy accept;
      ${noteOutbound(settings)}
    }
    chain destination {
      type nat hook prerouting priority dstnat; policy accept;
      ${destinationRules(settings)}
    }
    chain source {
      type nat hook postrouting priority srcnat; policy accept;
      ${sourceRules(settings)}
    }
    ${filterChains(settings)}
  }`;
}

/** False for routers that route public addresses and filter nothing. */
export function isTranslated({ mapping, ipv6 }: Pick<RouterRow, 'mapping' | 'ipv6'>): boolean {
  return mapping !== 'none' || ipv6 === 'only';
}

/** Where rules of nftables do what a kind says of filtering. */
function isEndpointIndependent({ mapping, madeBy }: RouterRow): boolean {
  return mapping === 'endpoint-independent' && madeBy === 'nftables';
}

/**
 * What has to be remembered of outbound packets: who has a port, and whom that port has sent to.
 */
function sets({ row, timeoutSeconds }: NatSettings): string {
  if (!isEndpointIndependent(row)) return '';
  const dynamic = `flags dynamic,timeout; timeout ${timeoutSeconds}s; size 65535;`;
  const key = { address: '. ipv4_addr', endpoint: '. ipv4_addr . inet_service' };
  return `map mapped { type inet_service : ipv4_addr; ${dynamic} }
    set address { type inet_service ${key.address}; ${dynamic} }
    set endpoint { type inet_service ${key.endpoint}; ${dynamic} }`;
}

function noteOutbound({ row, lan, lanIpv4 }: NatSettings): string {
  if (!isEndpointIndependent(row)) return '';
  return [
    'update @mapped { udp sport : ip saddr }',
    'update @address { udp sport . ip daddr }',
    'update @endpoint { udp sport . ip daddr . udp dport }',
  ]
    .map((update) => `iifname "${lan}" ip saddr ${lanIpv4} ip daddr != ${lanIpv4} ${update}`)
    .join('\n');
}

/** Lets in, to the host that has the port, what the kind of filtering allows. */
function destinationRules(settings: NatSettings): string {
  const { row, wan, lan, publicIpv4, hairpin, forwards } = settings;
  const rules: string[] = [];
  for (const [port, address] of forwards) {
    rules.push(`ip daddr ${publicIpv4} udp dport ${port} dnat ip to ${address}`);
  }
  if (!isEndpointIndependent(row)) return rules.join('\n');
  const allowed = {
    'endpoint-independent': '',
    'address-dependent': 'udp dport . ip saddr @address',
    'address-and-port-dependent': 'udp dport . ip saddr . udp sport @endpoint',
    none: '',
    blocked: '',
  }[row.filtering];
  const deliver = 'dnat ip to udp dport map @mapped';
  rules.push(`iifname "${wan}" ip daddr ${publicIpv4} ${allowed} ${deliver}`);
  // Hairpinned packets come from a LAN address, but are judged by the public one that they will
  // have.
  const fromInside = allowed.replace('ip saddr', 'ip daddr');
  if (hairpin) rules.push(`iifname "${lan}" ip daddr ${publicIpv4} ${fromInside} ${deliver}`);
  return rules.join('\n');
}

function sourceRules({ row, wan, lan, publicIpv4 }: NatSettings): string {
  const masquerade = {
    preserving: 'masquerade',
    random: 'masquerade fully-random',
    'random-in-block': `meta l4proto { tcp, udp } masquerade to :${blockRange()} fully-random
      oifname "${wan}" meta nfproto ipv4 masquerade`,
    sequential: 'masquerade',
  }[row.allocation ?? 'preserving'];
  return `oifname "${wan}" meta nfproto ipv4 ${masquerade}
      oifname "${lan}" iifname "${lan}" ct status dnat snat ip to ${publicIpv4}`;
}

function blockRange(): string {
  return `${portBlock.first}-${portBlock.first + portBlock.size - 1}`;
}

function filterChains({ row, wan, lan, publicIpv4 }: NatSettings): string {
  const udp = row.mapping === 'blocked' ? 'meta l4proto udp counter name unsolicited drop' : '';
  return `chain input {
      type filter hook input priority filter; policy drop;
      iifname "lo" accept
      ct state established,related accept
      icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
      iifname "${lan}" ip daddr ${publicIpv4} meta l4proto udp drop
      iifname "${lan}" accept
      iifname "${wan}" counter name unsolicited ${row.unsolicited === 'accepted' ? 'accept' : 'drop'}
    }
    chain forward {
      type filter hook forward priority filter; policy drop;
      ${udp}
      ct state established,related accept
      iifname { "${lan}", "${natDevice}" } accept
      oifname "${natDevice}" accept
      ct status dnat accept
      counter name unsolicited drop
    }`;
}
