import { type NatKind, natKind } from '../../lab/nat-kinds.ts';
import type { Home, Host, Network } from '../network.ts';
import type { ControlWire } from './control-wire.ts';

/** A place where machines are: a LAN behind a router of some kind. */
export class Site {
  readonly index: number;
  readonly kind: NatKind;
  readonly hasIpv6: boolean;
  readonly home: Home;
  /** Nothing passes the router's uplink. */
  cut = false;
  /** Control connections that wait for the uplink. */
  readonly stalled = new Set<ControlWire>();
  readonly #hosts = new Map<number, Host>();

  constructor(network: Network, index: number, kind: NatKind, hasIpv6: boolean) {
    this.index = index;
    this.kind = kind;
    this.hasIpv6 = hasIpv6;
    const publicAddress = `198.51.100.${index + 1}`;
    const hairpin = index % 3 === 0;
    this.home = network.home({ name: `site ${index}`, kind, publicAddress, hairpin });
  }

  get name(): string {
    return `site ${this.index} (${this.kind}${this.hasIpv6 ? ', IPv6' : ''})`;
  }

  /** The machine number `index` when it is here. */
  host(index: number): Host {
    let host = this.#hosts.get(index);
    if (host === undefined) {
      host = this.home.host(`host ${index}`, this.#addressesOf(index));
      this.#hosts.set(index, host);
    }
    return host;
  }

  #addressesOf(machine: number): string[] {
    const isRouted = natKind(this.kind).mapping === 'none';
    const last = machine + 10;
    const ipv4 = `${isRouted ? '198.18' : '192.168'}.${this.index}.${last}`;
    const ipv6 = `2001:db8:${(this.index + 1).toString(16)}::${last.toString(16)}`;
    return this.hasIpv6 ? [ipv4, ipv6] : [ipv4];
  }

  /** Whether an address of the Internet leads here. */
  owns(address: string): boolean {
    return (
      address === `198.51.100.${this.index + 1}` ||
      address.startsWith(`198.18.${this.index}.`) ||
      address.startsWith(`2001:db8:${(this.index + 1).toString(16)}::`)
    );
  }
}

/**
 * Whether machines of two sites can talk without a relay and without guessing ports (RFC 4787's terms): the table that the
 * world expects the machines to live up to.
 */
export function canTalkDirectly(a: Site, b: Site): boolean {
  if (a === b) return true;
  // IPv6 is not translated, and a firewall that is sent through lets the answer in.
  if (a.hasIpv6 && b.hasIpv6) return true;
  return canPunch(a.kind, b.kind);
}

export function canPunch(a: NatKind, b: NatKind): boolean {
  const [rowA, rowB] = [natKind(a), natKind(b)];
  if (rowA.mapping === 'blocked' || rowB.mapping === 'blocked') return false;
  const isStable = (row: { readonly mapping: string }) =>
    row.mapping === 'none' || row.mapping === 'endpoint-independent';
  if (isStable(rowA) && isStable(rowB)) return true;
  if (!isStable(rowA) && !isStable(rowB)) return false;
  return (isStable(rowA) ? rowA : rowB).filtering !== 'address-and-port-dependent';
}
