import { directPath, type NatKind, type NatKindRow, natKind } from '../../lab/nat-kinds.ts';
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

  /** Its kind, and IPv6 where it has that besides. */
  get row(): NatKindRow {
    return { ...natKind(this.kind), ...(this.hasIpv6 ? { ipv6: 'dual' } : {}) };
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
 * Whether machines of two sites can talk without a relay and without guessing ports: what the world expects the machines to
 * live up to.
 */
export function canTalkDirectly(a: Site, b: Site): boolean {
  return a === b || directPath(a.row, b.row) === 'certain';
}
