/**
 * A home: a router with its public side on the Internet (or, behind a carrier's NAT, on another
 * home's LAN) and a private LAN, a switch, behind it.
 *
 *            Internet
 *               ║
 *         eth0  203.0.113.10 (2001:db8:0:2::a)
 *   ┌───────── router ─────────┐   NAT and firewall by name; unsolicited packets vanish silently
 *   │ lan: bridge 192.168.1.1  │
 *   └──h0──────────h1──────────┘
 *      ║           ║
 *     eth0        eth0
 *   192.168.1.10  192.168.1.11     with `ipv6`: 2001:db8:0:100::a …, stateful firewall, no NAT
 *
 * Of the kinds that do not translate, the LAN is a public one: 192.0.2.0/28 and so on.
 */
import { exec } from './exec.ts';
import { Host, type Network, udpTimeouts, uplink } from './host.ts';
import { Internet, Pool } from './internet.ts';
import { bridge, type LanPlan, LanPort, privateLan, publicLan } from './lan.ts';
import { Link } from './link.ts';
import { isTranslated, natRuleset } from './nat.ts';
import { type NatKind, type NatKindRow, natKind } from './nat-kinds.ts';
import type { UdpAddress } from './udp.ts';
import { UserspaceNat } from './userspace-nat.ts';

export interface HomeOptions {
  readonly name: string;
  readonly nat: NatKind;
  /** Changes single properties of the kind. */
  readonly change?: Partial<Omit<NatKindRow, 'name' | 'description' | 'carrier'>>;
  /** Names of the hosts on the LAN; by default one, named as the home. */
  readonly hosts?: readonly string[];
  /** First three bytes of the private subnet; by default 192.168.1, 192.168.2 and so on. */
  readonly subnet?: string;
  /**
   * Global IPv6 addresses on the LAN. Off by default, unless the kind has them: between two homes
   * IPv6 spares them their NATs.
   */
  readonly ipv6?: boolean;
  /** How long an idle UDP mapping lives: by default as the kind says, else 30 s as common routers. */
  readonly timeoutSeconds?: number;
  /** By default as the kind says. */
  readonly hairpin?: boolean;
}

interface HomeSettings {
  readonly row: NatKindRow;
  readonly timeoutSeconds: number;
  readonly hairpin: boolean;
}

/** A UDP flow that the router knows. */
export interface RouterMapping {
  readonly inside: UdpAddress;
  readonly public: UdpAddress;
  readonly remote: UdpAddress;
}

export class Home implements Network {
  readonly name: string;
  readonly router: Host;
  readonly hosts: Host[] = [];
  /** First three bytes of the LAN's addresses. */
  readonly subnet: string;
  readonly #plan: LanPlan;
  readonly #pool: Pool;
  /** The carrier's router, for kinds with one. */
  #carrier: Home | undefined;
  #userspace: UserspaceNat | undefined;
  readonly #settings: HomeSettings;
  readonly #forwards = new Map<number, string>();
  #ports = 0;

  private constructor(router: Host, options: HomeOptions, plan: LanPlan) {
    this.name = options.name;
    this.router = router;
    this.subnet = plan.ipv4Prefix;
    this.#plan = plan;
    this.#pool = new Pool(plan.firstHost, plan.lastHost);
    this.#settings = settingsOf(options);
  }

  /** Builds a home on the Internet, or on the LAN of a carrier. */
  static async create(on: Internet | Home, options: HomeOptions): Promise<Home> {
    const row = rowOf(options);
    if (row.carrier !== undefined) return Home.#behindCarrier(on, options, row.carrier);
    if (on instanceof Home && (!isTranslated(row) || options.ipv6 === true)) {
      throw new Error(`${options.name}: behind another NAT only private IPv4 is possible`);
    }
    const lab = on instanceof Home ? on.router.lab : on.core.lab;
    const router = await Host.create(lab, `${options.name}-router`);
    if (on instanceof Home) await on.attach(router);
    else await on.attach(router, 'router');
    const plan = planOf(on, options, router.ipv4);
    const home = new Home(router, options, plan);
    await home.#build(on);
    for (const name of options.hosts ?? [options.name]) await home.addHost(name);
    return home;
  }

  static async #behindCarrier(
    on: Internet | Home,
    options: HomeOptions,
    { outer, inner }: NonNullable<NatKindRow['carrier']>,
  ): Promise<Home> {
    const { madeBy } = natKind(options.nat);
    const { timeoutSeconds } = settingsOf(options);
    const carrier = await Home.create(on, {
      ...{ name: `${options.name}-carrier`, nat: 'port-restricted', hosts: [] },
      ...{ subnet: '100.72.0', change: { ...outer, madeBy }, timeoutSeconds },
    });
    const home = await Home.create(carrier, {
      ...options,
      // Subnets of homes differ from each other, also where carriers have the same one.
      subnet: options.subnet ?? `192.168.${100 + Number(carrier.publicIpv4.split('.')[3])}`,
      ...{ nat: 'port-restricted', change: { ...inner, ...options.change } },
    });
    home.#carrier = carrier;
    return home;
  }

  /** The router's IPv4 address outside; behind a carrier not a public one. */
  get publicIpv4(): string {
    return this.router.ipv4;
  }

  /** The router of the carrier that it is behind, for kinds with one. */
  get carrier(): Home | undefined {
    return this.#carrier;
  }

  host(name: string): Host {
    const found = this.hosts.find((host) => host.name === name);
    if (found === undefined) throw new Error(`no host ${name} in ${this.name}`);
    return found;
  }

  /** The only host, or the first one. */
  get firstHost(): Host {
    const first = this.hosts[0];
    if (first === undefined) throw new Error(`${this.name} has no hosts`);
    return first;
  }

  async addHost(name: string): Promise<Host> {
    const host = await Host.create(this.router.lab, name);
    await this.attach(host);
    this.hosts.push(host);
    return host;
  }

  /** Plugs a host into the LAN. */
  async attach(host: Host): Promise<void> {
    const port = `h${this.#ports++}`;
    const link = await Link.create(
      { namespace: host.namespace, device: uplink },
      { namespace: this.router.namespace, device: port },
    );
    await host.attached(new LanPort(host, this.router, link, this.#plan, this.#pool));
    const { row, timeoutSeconds } = this.#settings;
    if (row.name === 'host-firewall') await host.setFirewall(true, { timeoutSeconds });
  }

  /**
   * Forwards a UDP port of the public address to the same port of a host, as a user does by hand.
   */
  async forwardPort(port: number, host: Host): Promise<void> {
    this.#forwards.set(port, host.ipv4);
    await this.#userspace?.forward(port, host.ipv4);
    await this.#applyNat();
  }

  /** The router forgets all mappings, and the carrier's too; TCP connections break with them. */
  async flush(): Promise<void> {
    await this.#forget(['-F']);
    await this.#carrier?.flush();
  }

  /** The same for UDP alone. */
  async flushUdp(): Promise<void> {
    await this.#forget(['-D', '-p', 'udp']);
    await this.#carrier?.flushUdp();
  }

  async #forget(conntrack: readonly string[]): Promise<void> {
    await this.#applyNat();
    await this.#userspace?.setPublicAddress(this.publicIpv4);
    const isOfHosts = this.#settings.row.name === 'host-firewall';
    // Its code tells whether there was anything.
    for (const host of isOfHosts ? [this.router, ...this.hosts] : [this.router]) {
      await host.run('conntrack', conntrack);
    }
  }

  /**
   * The router is gone for a moment and has forgotten everything; with a new public address if
   * wished.
   */
  async reboot({ newAddress = false } = {}): Promise<void> {
    await this.#setForwarding(false);
    if (newAddress) await this.router.changeAddress();
    await this.flush();
    await this.#setForwarding(true);
  }

  /** The provider gives it another public address, and it notices. */
  async changePublicAddress(): Promise<void> {
    if (this.#carrier !== undefined) return this.#carrier.changePublicAddress();
    await this.router.changeAddress();
    await this.flush();
  }

  /**
   * Packets that came unasked, or UDP that the router blocks, and were dropped; 0 for kinds that do
   * not filter.
   */
  async unsolicited(): Promise<number> {
    if (!isTranslated(this.#settings.row)) return 0;
    const args = ['-j', 'list', 'counter', 'inet', 'router', 'unsolicited'];
    const { nftables } = JSON.parse(await this.router.check('nft', args));
    const { packets } = nftables.find((entry: object) => 'counter' in entry).counter;
    return packets + ((await this.#userspace?.counters())?.unsolicited ?? 0);
  }

  /** The program that translates UDP, for kinds that nftables cannot make. */
  get userspace(): UserspaceNat | undefined {
    return this.#userspace;
  }

  /** The UDP flows that the router's kernel knows now. */
  async mappings(): Promise<RouterMapping[]> {
    const text = await this.router.check('conntrack', ['-L', '-p', 'udp']);
    return text.split('\n').flatMap(parseFlow);
  }

  async #build(on: Internet | Home): Promise<void> {
    const { router } = this;
    const plan = this.#plan;
    await this.#setForwarding(true);
    await router.ip(`link add ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`);
    await router.sysctl({ [`net.ipv6.conf.${bridge}.accept_dad`]: 0 });
    await router.ip(
      `link set ${bridge} up`,
      `addr add ${plan.gateway}/${plan.ipv4Bits} dev ${bridge}`,
      ...(plan.ipv6Prefix === undefined ? [] : [`addr add ${plan.ipv6Prefix}1/64 dev ${bridge}`]),
    );
    // Frames between two hosts of a LAN are a switch's business, not the router's filter's (where
    // br_netfilter is loaded).
    const bridged = ['iptables', 'ip6tables', 'arptables'].map(
      (name) => `net.bridge.bridge-nf-call-${name}=0`,
    );
    await exec('ip', ['netns', 'exec', router.namespace, 'sysctl', '-q', '-w', ...bridged]);
    if (on instanceof Internet) await on.routeSite(router, plan.publicPrefixes);
    if (this.#settings.row.madeBy === 'userspace') {
      this.#userspace = await UserspaceNat.start(router, `${this.subnet}.0/24`, ++seeds);
    }
    await this.#applyNat();
  }

  async #setForwarding(on: boolean): Promise<void> {
    const value = on ? 1 : 0;
    await this.router.sysctl({
      'net.ipv4.ip_forward': value,
      'net.ipv6.conf.all.forwarding': value,
    });
  }

  async #applyNat(): Promise<void> {
    const { router } = this;
    const { row, timeoutSeconds, hairpin } = this.#settings;
    if (row.name === 'host-firewall') {
      for (const host of this.hosts) await host.setFirewall(true, { timeoutSeconds });
    }
    if (!isTranslated(row)) return;
    const { step = 1, foreignPerSecond = 0 } = row;
    await this.#userspace?.set({ ...row, step, foreignPerSecond, timeoutSeconds, hairpin });
    await router.sysctl(udpTimeouts(timeoutSeconds));
    await router.nft(
      natRuleset({
        ...this.#settings,
        ...{ wan: uplink, lan: bridge, publicIpv4: this.publicIpv4 },
        ...{ lanIpv4: `${this.subnet}.0/24`, forwards: this.#forwards },
      }),
    );
  }
}

const defaultTimeoutSeconds = 30;
/** Each NAT that draws ports at random draws others. */
let seeds = 0;

const rowOf = ({ nat, change }: HomeOptions): NatKindRow => ({ ...natKind(nat), ...change });

function settingsOf(options: HomeOptions): HomeSettings {
  const row = rowOf(options);
  return {
    row,
    timeoutSeconds: options.timeoutSeconds ?? row.timeoutSeconds ?? defaultTimeoutSeconds,
    hairpin: options.hairpin ?? row.hairpin ?? false,
  };
}

function planOf(on: Internet | Home, options: HomeOptions, routerIpv4: string): LanPlan {
  const row = rowOf(options);
  const { subnet, ipv6 = row.ipv6 !== undefined } = options;
  if (on instanceof Home) return privateLan(routerIpv4, subnet);
  if (!isTranslated(row)) return publicLan(on.nextSite(), ipv6);
  const plan = privateLan(routerIpv4, subnet, ipv6 ? on.nextSite() : undefined);
  return { ...plan, hostsHaveIpv4: row.ipv6 !== 'only' };
}

/**
 * `… src=LAN dst=REMOTE sport=… dport=… [UNREPLIED] src=REMOTE dst=PUBLIC sport=… dport=… …`; of an
 * inbound flow `… src=REMOTE dst=PUBLIC … src=LAN dst=REMOTE …`.
 */
function parseFlow(line: string): RouterMapping[] {
  const pairs = [...line.matchAll(/src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g)];
  const [original, reply] = pairs.map(([, src, dst, sport, dport]) => ({
    src: { address: src as string, port: Number(sport) },
    dst: { address: dst as string, port: Number(dport) },
  }));
  if (original === undefined || reply === undefined) return [];
  // The first packet of a flow came from inside (the source is rewritten), or from outside (the
  // destination is).
  const inbound = original.dst.address !== reply.src.address;
  if (inbound) return [{ inside: reply.src, public: original.dst, remote: original.src }];
  return [{ inside: original.src, public: reply.dst, remote: original.dst }];
}
