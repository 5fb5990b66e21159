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
import { isTranslated, type NatSettings, natRuleset } from './nat.ts';
import type { LabNatKind } from './nat-kinds.ts';
import type { UdpAddress } from './udp.ts';

export interface HomeOptions {
  readonly name: string;
  readonly nat: LabNatKind;
  /** Names of the hosts on the LAN; by default one, named as the home. */
  readonly hosts?: readonly string[];
  /** First three bytes of the private subnet; by default 192.168.1, 192.168.2 and so on. */
  readonly subnet?: string;
  /**
   * Global IPv6 addresses on the LAN. Off by default: between two homes IPv6 spares them their
   * NATs.
   */
  readonly ipv6?: boolean;
  /** How long an idle UDP mapping lives: 30 s by default, as common routers do. */
  readonly timeoutSeconds?: number;
  readonly hairpin?: boolean;
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
  #settings: Pick<NatSettings, 'kind' | 'timeoutSeconds' | 'hairpin'>;
  readonly #forwards = new Map<number, string>();
  #ports = 0;

  private constructor(router: Host, options: HomeOptions, plan: LanPlan) {
    this.name = options.name;
    this.router = router;
    this.subnet = plan.ipv4Prefix;
    this.#plan = plan;
    this.#pool = new Pool(plan.firstHost, plan.lastHost);
    const { nat: kind, timeoutSeconds = 30, hairpin = false } = options;
    this.#settings = { kind, timeoutSeconds, hairpin };
  }

  /** Builds a home on the Internet, or on the LAN of a carrier. */
  static async create(on: Internet | Home, options: HomeOptions): Promise<Home> {
    const routed = !isTranslated(options.nat);
    if (on instanceof Home && (routed || options.ipv6 === true)) {
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

  /** The router's public IPv4 address. */
  get publicIpv4(): string {
    return this.router.ipv4;
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
    const { kind, timeoutSeconds } = this.#settings;
    if (kind === 'host-firewall') await host.setFirewall(true, { timeoutSeconds });
  }

  /** Changes what the router does; flows that it knows go on. */
  async setNat(change: Partial<Pick<NatSettings, 'kind' | 'timeoutSeconds' | 'hairpin'>>) {
    const settings = { ...this.#settings, ...change };
    const routed = [settings.kind, this.#settings.kind].filter((kind) => !isTranslated(kind));
    if (settings.kind !== this.#settings.kind && routed.length > 0) {
      throw new Error(`${this.name}: ${routed[0]} has other LAN addresses; build another home`);
    }
    this.#settings = settings;
    await this.#applyNat();
  }

  /**
   * Forwards a UDP port of the public address to the same port of a host, as a user does by hand.
   */
  async forwardPort(port: number, host: Host): Promise<void> {
    this.#forwards.set(port, host.ipv4);
    await this.#applyNat();
  }

  /** The router forgets all mappings. */
  async flush(): Promise<void> {
    await this.#applyNat();
    await this.router.check('conntrack', ['-F']);
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
    await this.router.changeAddress();
    await this.flush();
  }

  /**
   * Packets that came unasked, or UDP that the router blocks, and were dropped; 0 for kinds that do
   * not filter.
   */
  async unsolicited(): Promise<number> {
    if (!isTranslated(this.#settings.kind)) return 0;
    const args = ['-j', 'list', 'counter', 'inet', 'router', 'unsolicited'];
    const { nftables } = JSON.parse(await this.router.check('nft', args));
    return nftables.find((entry: object) => 'counter' in entry).counter.packets;
  }

  /** The UDP flows that the router knows now. */
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
    const { kind, timeoutSeconds } = this.#settings;
    if (kind === 'host-firewall') {
      for (const host of this.hosts) await host.setFirewall(true, { timeoutSeconds });
    }
    if (!isTranslated(kind)) return;
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

function planOf(on: Internet | Home, options: HomeOptions, routerIpv4: string): LanPlan {
  const { nat, subnet, ipv6 = false } = options;
  if (on instanceof Home) return privateLan(routerIpv4, subnet);
  if (!isTranslated(nat)) return publicLan(on.nextSite(), ipv6);
  return privateLan(routerIpv4, subnet, ipv6 ? on.nextSite() : undefined);
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
