/**
 * Simulated links, LANs and routers under the virtual clock. A realm is what shares addresses: the Internet, or one LAN; realms
 * nest, so a carrier's NAT is a home whose outside is another home's LAN.
 *
 *     host ── realm "LAN" ── router (NAT) ── realm "Internet" ── host
 */
import type { Endpoint } from '#wire/endpoint.ts';
import { type NatKind, type NatKindRow, natKind } from '../lab/nat-kinds.ts';
import type { VirtualClock } from './clock.ts';
import { Nat, type Packet } from './nat.ts';
import type { Random } from './random.ts';

export interface LinkOptions {
  readonly delayMs: number;
  /** Added at random to the delay of each packet; more than the gap between packets reorders them. */
  readonly jitterMs: number;
  /** Probabilities, 0 to 1, for each packet. */
  readonly loss: number;
  readonly duplication: number;
  /** Of IP packets: larger ones are fragmented, or dropped without a word when they may not be. No bound when absent. */
  readonly mtuBytes?: number;
  /** Fragments get lost: whatever is larger than the MTU. */
  readonly losesFragments?: boolean;
}

/** Whatever has an address in a realm. */
interface Node {
  receive(packet: Packet): void;
}

export const defaultTtl = 64;

export class Network {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly internet: Realm;
  /** Sees every packet that is put on a link, before loss. */
  onPacket: ((packet: Packet, realm: Realm) => void) | undefined;
  /** True drops the packet: cables that are pulled, paths that turn into black holes. */
  drop: ((packet: Packet, realm: Realm) => boolean) | undefined;

  constructor(clock: VirtualClock, random: Random, link: Partial<LinkOptions> = {}) {
    this.clock = clock;
    this.random = random;
    this.internet = new Realm(this, 'internet', { delayMs: 20, ...none, ...link });
  }

  /** A realm behind a router. */
  home(options: HomeOptions): Home {
    return new Home(this, options);
  }
}

const none = { jitterMs: 0, loss: 0, duplication: 0 };

export class Realm {
  readonly name: string;
  readonly network: Network;
  link: LinkOptions;
  readonly #nodes = new Map<string, Node>();
  gateway: ((packet: Packet) => void) | undefined;

  constructor(network: Network, name: string, link: LinkOptions) {
    this.network = network;
    this.name = name;
    this.link = link;
  }

  attach(address: string, node: Node): void {
    if (this.#nodes.has(address)) throw new Error(`${address} is taken in ${this.name}`);
    this.#nodes.set(address, node);
  }

  detach(address: string): void {
    this.#nodes.delete(address);
  }

  /** A host with a socket API right in this realm. */
  host(name: string, addresses: readonly string[]): Host {
    return new Host(this, name, addresses);
  }

  send(packet: Packet): void {
    const { clock, random, onPacket, drop } = this.network;
    onPacket?.(packet, this);
    if (drop?.(packet, this) === true || this.#isTooLarge(packet)) return;
    const copies = random.chance(this.link.duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      if (random.chance(this.link.loss)) continue;
      const delayMs = this.link.delayMs + random.float() * this.link.jitterMs;
      clock.in(delayMs, () => this.#deliver(packet));
    }
  }

  #isTooLarge({ bytes, destination, dontFragment = false }: Packet): boolean {
    const { mtuBytes = Number.POSITIVE_INFINITY, losesFragments = false } = this.link;
    const headers = destination.address.includes(':') ? 48 : 28;
    return bytes.length + headers > mtuBytes && (dontFragment || losesFragments);
  }

  #deliver(packet: Packet): void {
    const node = this.#nodes.get(packet.destination.address);
    if (node !== undefined) node.receive(packet);
    else this.gateway?.(packet);
  }
}

export interface HomeOptions {
  readonly name: string;
  readonly kind: NatKind;
  /** Changes single properties of the kind. */
  readonly change?: Partial<Pick<NatKindRow, 'mapping' | 'filtering' | 'allocation' | 'step'>>;
  /** Of the router, outside. */
  readonly publicAddress: string;
  /** By default as the kind says, else 120 s. */
  readonly timeoutMs?: number;
  /** By default as the kind says. */
  readonly hairpin?: boolean;
  /** By default as the kind says. */
  readonly foreignPerSecond?: number;
  readonly forwards?: ReadonlyMap<number, Endpoint>;
  /** The Internet when absent. */
  readonly outside?: Realm;
  readonly link?: Partial<LinkOptions>;
}

const defaultTimeoutMs = 120_000;
/** Of the home router, in a carrier's network (RFC 6598). */
const carrierAddress = '100.72.0.2';

/**
 * A LAN and the router in front of it, behind a carrier's where the kind says so. IPv6 is never translated, but filtered as
 * the kind says of a firewall.
 */
export class Home {
  readonly realm: Realm;
  readonly outside: Realm;
  /** Of the home itself. */
  nat: Nat;
  readonly carrier: Home | undefined;
  /** Its kind as it is seen from outside. */
  readonly row: NatKindRow;
  readonly #ipv6: Nat;
  readonly #network: Network;
  #publicAddress: string;
  readonly #options: HomeOptions;

  constructor(network: Network, options: HomeOptions) {
    const row = { ...natKind(options.kind), ...options.change };
    this.row = row;
    this.#network = network;
    this.#options = options;
    this.carrier = row.carrier === undefined ? undefined : carrierOf(network, options, row.carrier);
    this.#publicAddress = this.carrier === undefined ? options.publicAddress : carrierAddress;
    this.outside = this.carrier?.realm ?? options.outside ?? network.internet;
    this.realm = new Realm(network, options.name, { delayMs: 1, ...none, ...options.link });
    this.realm.gateway = (packet) => this.#outbound(packet);
    if (row.ipv6 !== 'only') {
      this.outside.attach(this.#publicAddress, { receive: (packet) => this.#inbound(packet) });
    }
    this.nat = this.#makeNat(row);
    const firewall = natKind(options.kind === 'none' ? 'none' : 'host-firewall');
    const random = network.random.fork(`${options.name} ipv6`);
    const { timeoutMs } = this.nat.options;
    this.#ipv6 = new Nat({ kind: firewall, publicAddress: '', timeoutMs, hairpin: false, random });
  }

  get isTranslating(): boolean {
    return this.nat.options.kind.mapping !== 'none';
  }

  /** Addresses that are valid outside too (IPv6, and all of a router that does not translate) are routed here. */
  host(name: string, addresses: readonly string[]): Host {
    for (const address of addresses) {
      const isRouted = address.includes(':') || !this.isTranslating;
      if (isRouted) this.outside.attach(address, { receive: (packet) => this.#inbound(packet) });
    }
    return this.realm.host(name, addresses);
  }

  reboot(): void {
    this.nat.reboot();
    this.#ipv6.reboot();
    this.carrier?.reboot();
  }

  /** The provider gives the router another address; it forgets all mappings. */
  changePublicAddress(address: string): void {
    if (this.carrier !== undefined) {
      this.carrier.changePublicAddress(address);
      return;
    }
    this.outside.detach(this.#publicAddress);
    this.#publicAddress = address;
    this.outside.attach(address, { receive: (packet) => this.#inbound(packet) });
    this.nat = this.#makeNat(this.row);
  }

  #makeNat(row: NatKindRow): Nat {
    const { name, forwards, ...options } = this.#options;
    const ofKind = row.timeoutSeconds === undefined ? defaultTimeoutMs : row.timeoutSeconds * 1000;
    return new Nat({
      kind: { ...row, ...row.carrier?.inner },
      publicAddress: this.#publicAddress,
      timeoutMs: options.timeoutMs ?? ofKind,
      hairpin: options.hairpin ?? row.hairpin ?? false,
      foreignPerSecond: options.foreignPerSecond ?? row.foreignPerSecond ?? 0,
      random: this.#network.random.fork(`${name} nat`),
      ...(forwards === undefined ? {} : { forwards }),
    });
  }

  #natFor(packet: Packet): Nat {
    return packet.destination.address.includes(':') ? this.#ipv6 : this.nat;
  }

  #outbound(packet: Packet): void {
    if (packet.ttl <= 1) return;
    const { clock } = this.#network;
    const routed = { ...packet, ttl: packet.ttl - 1 };
    const isHairpin = packet.destination.address === this.#publicAddress && this.isTranslating;
    if (isHairpin && !this.nat.options.hairpin) return;
    const translated = this.#natFor(packet).outbound(routed, clock.monotonic);
    if (translated === undefined) return;
    if (isHairpin) this.#inbound(translated);
    else this.outside.send(translated);
  }

  #inbound(packet: Packet): void {
    if (packet.ttl <= 1) return;
    const routed = { ...packet, ttl: packet.ttl - 1 };
    const inside = this.#natFor(packet).inbound(routed, this.#network.clock.monotonic);
    if (inside !== undefined) this.realm.send(inside);
  }
}

function carrierOf(network: Network, options: HomeOptions, { outer }: CarrierBoxes): Home {
  const { link: _, forwards: __, ...others } = options;
  const name = `${options.name} carrier`;
  return new Home(network, { ...others, name, kind: 'port-restricted', change: outer });
}

type CarrierBoxes = NonNullable<NatKindRow['carrier']>;

export type DatagramHandler = (bytes: Uint8Array, remote: Endpoint) => void;

/** A machine with addresses and UDP ports in one realm. */
export class Host {
  readonly name: string;
  #realm: Realm;
  #addresses: readonly string[];
  readonly #ports = new Map<number, DatagramHandler>();

  constructor(realm: Realm, name: string, addresses: readonly string[]) {
    this.#realm = realm;
    this.name = name;
    this.#addresses = addresses;
    this.#attach();
  }

  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** Binds the wildcard address of both families. */
  bind(port: number, handler: DatagramHandler): void {
    if (this.#ports.has(port)) throw new Error(`port ${port} is taken on ${this.name}`);
    this.#ports.set(port, handler);
  }

  close(port: number): void {
    this.#ports.delete(port);
  }

  /** Sends from the first address of the destination's family. */
  send(
    port: number,
    destination: Endpoint,
    bytes: Uint8Array,
    ttl: number = defaultTtl,
    dontFragment = false,
  ): void {
    const isIpv6 = destination.address.includes(':');
    const address = this.#addresses.find((own) => own.includes(':') === isIpv6);
    if (address === undefined) return;
    this.#realm.send({ source: { address, port }, destination, bytes, ttl, dontFragment });
  }

  /** Carries the machine to another network, with other addresses. */
  move(realm: Realm, addresses: readonly string[]): void {
    for (const address of this.#addresses) this.#realm.detach(address);
    this.#realm = realm;
    this.#addresses = addresses;
    this.#attach();
  }

  #attach(): void {
    for (const address of this.#addresses) {
      this.#realm.attach(address, {
        receive: ({ destination, source, bytes }) =>
          this.#ports.get(destination.port)?.(bytes, source),
      });
    }
  }
}
