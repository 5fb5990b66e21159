/**
 * The 'Internet': a router in the middle with one cable to every host and home router, all with
 * public test addresses (RFC 5737, RFC 3849). Neighbours share no wire, so that no broadcast
 * passes; forged IPv4 sources and packets to private or unknown addresses vanish silently. No link
 * leads to the machine or out of it.
 *
 *     server           host            home router        home router
 *   198.51.100.10   198.51.100.11     203.0.113.10       203.0.113.11
 *      eth0             eth0              eth0               eth0
 *       ║                ║                 ║                  ║
 *   ┌───p0───────────────p1────────────────p2─────────────────p3──┐
 *   │  core: 198.51.100.1, fe80::1, a host route to each of them  │
 *   └─────────────────────────────────────────────────────────────┘
 */
import { type Attachment, Host, type Network, uplink } from './host.ts';
import type { Lab } from './lab.ts';
import { Link } from './link.ts';

const gateway = { ipv4: '198.51.100.1', ipv6: 'fe80::1' } as const;
const prefixes = { host: '198.51.100', router: '203.0.113' } as const;
const ipv6Prefixes = { host: '2001:db8:0:1::', router: '2001:db8:0:2::' } as const;

export type Role = keyof typeof prefixes;

export interface InternetOptions {
  /**
   * First three bytes of home routers' addresses. Programs that know the addresses for documentation and refuse to map ports to
   * them (miniupnpd) need others; nothing leaves the laboratory anyway.
   */
  readonly routerPrefix?: string;
}

export class Internet implements Network {
  readonly core: Host;
  readonly #pools = { host: new Pool(10, 250), router: new Pool(10, 250) };
  #ports = 0;
  #sites = 0;
  readonly #prefixes: Readonly<Record<Role, string>>;

  private constructor(core: Host, { routerPrefix = prefixes.router }: InternetOptions) {
    this.core = core;
    this.#prefixes = { ...prefixes, router: routerPrefix };
  }

  static async create(lab: Lab, options: InternetOptions = {}): Promise<Internet> {
    const core = await Host.create(lab, 'internet');
    await core.sysctl({
      'net.ipv4.ip_forward': 1,
      'net.ipv6.conf.all.forwarding': 1,
      'net.ipv4.conf.all.rp_filter': 1,
    });
    await core.ip(
      `addr add ${gateway.ipv4}/32 dev lo`,
      'route add blackhole default',
      'route add blackhole ::/0',
    );
    return new Internet(core, options);
  }

  /** A machine with a public IPv4 and IPv6 address and nothing in between. */
  async host(name: string): Promise<Host> {
    const host = await Host.create(this.core.lab, name);
    await this.attach(host);
    return host;
  }

  async attach(host: Host, role: Role = 'host'): Promise<void> {
    const link = await Link.create(
      { namespace: host.namespace, device: uplink },
      { namespace: this.core.namespace, device: `p${this.#ports++}` },
    );
    const plan = { role, prefix: this.#prefixes[role], pool: this.#pools[role] };
    await host.attached(new InternetPort(this.core, host, link, plan));
  }

  /** Numbers a customer site, whose public prefixes {@link routeSite} leads to it. */
  nextSite(): Site {
    const n = this.#sites++;
    if (n >= 16) throw new Error('at most 16 sites with public prefixes');
    return {
      ipv4Prefix: '192.0.2',
      firstHost: n * 16,
      ipv6Prefix: `2001:db8:0:${(0x100 + n).toString(16)}::`,
    };
  }

  /** Packets from the ones to the others, either way, vanish: a path that is broken somewhere. */
  async cutBetween(ones: readonly string[], others: readonly string[]): Promise<void> {
    const families = [
      { name: 'ip', isOf: (address: string) => !address.includes(':') },
      { name: 'ip6', isOf: (address: string) => address.includes(':') },
    ];
    const rules = families.flatMap(({ name, isOf }) => {
      const [some, rest] = [ones.filter(isOf), others.filter(isOf)].map((list) => list.join(', '));
      if (!some || !rest) return [];
      return [
        `${name} saddr { ${some} } ${name} daddr { ${rest} } counter drop`,
        `${name} saddr { ${rest} } ${name} daddr { ${some} } counter drop`,
      ];
    });
    await this.core.nft(`${noCuts}
      table inet cuts {
        chain forward {
          type filter hook forward priority filter; policy accept;
          ${rules.join('\n')}
        }
      }`);
  }

  /** Takes all of {@link cutBetween} back. */
  async joinAll(): Promise<void> {
    await this.core.nft(noCuts);
  }

  /** Leads prefixes to a home router. */
  async routeSite(router: Host, routes: readonly string[]): Promise<void> {
    await router.attachmentAs(InternetPort).addRoutes(routes);
  }
}

const noCuts = 'table inet cuts {}\ndelete table inet cuts\n';

/** Public addresses behind a router: `192.0.2.16/28` and `2001:db8:0:101::/64` for site 1. */
export interface Site {
  readonly ipv4Prefix: string;
  readonly firstHost: number;
  readonly ipv6Prefix: string;
}

class InternetPort implements Attachment {
  readonly link: Link;
  readonly #core: Host;
  readonly #host: Host;
  readonly #role: Role;
  readonly #prefix: string;
  readonly #pool: Pool;
  readonly #routes: string[] = [];
  #number: number;

  constructor(
    core: Host,
    host: Host,
    link: Link,
    { role, prefix, pool }: { readonly role: Role; readonly prefix: string; readonly pool: Pool },
  ) {
    this.#prefix = prefix;
    this.link = link;
    this.#core = core;
    this.#host = host;
    this.#role = role;
    this.#pool = pool;
    this.#number = pool.take();
  }

  get ipv4(): string {
    return `${this.#prefix}.${this.#number}`;
  }

  get ipv6(): string {
    return `${ipv6Prefixes[this.#role]}${this.#number.toString(16)}`;
  }

  async configure(): Promise<void> {
    const port = this.link.far.device;
    await this.#core.ip(
      `addr replace ${gateway.ipv6}/64 dev ${port}`,
      `route replace ${this.ipv4}/32 dev ${port}`,
      `route replace ${this.ipv6}/128 dev ${port}`,
      ...this.#routes.map((prefix) =>
        prefix.includes(':')
          ? `route replace ${prefix} via ${this.ipv6} dev ${port}`
          : `route replace ${prefix} via ${this.ipv4} dev ${port} onlink`,
      ),
    );
    await this.#host.ip(
      `link set ${uplink} up`,
      `addr replace ${this.ipv4}/32 dev ${uplink}`,
      `addr replace ${this.ipv6}/128 dev ${uplink}`,
      `route replace default via ${gateway.ipv4} dev ${uplink} onlink`,
      `route replace ::/0 via ${gateway.ipv6} dev ${uplink}`,
    );
  }

  async readdress(): Promise<void> {
    const { ipv4, ipv6 } = this;
    const old = this.#number;
    this.#number = this.#pool.take();
    this.#pool.giveBack(old);
    const port = this.link.far.device;
    await this.#host.ip(`addr del ${ipv4}/32 dev ${uplink}`, `addr del ${ipv6}/128 dev ${uplink}`);
    await this.configure();
    await this.#core.ip(`route del ${ipv4}/32 dev ${port}`, `route del ${ipv6}/128 dev ${port}`);
  }

  async detach(): Promise<void> {
    this.#pool.giveBack(this.#number);
    await this.link.remove();
  }

  async addRoutes(prefixes: readonly string[]): Promise<void> {
    this.#routes.push(...prefixes);
    await this.configure();
  }
}

/** Last bytes of addresses; a returned one is used again as late as possible. */
export class Pool {
  readonly #free: number[];

  constructor(first: number, last: number) {
    this.#free = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  }

  take(): number {
    const number = this.#free.shift();
    if (number === undefined) throw new Error('no address is left in this network');
    return number;
  }

  giveBack(number: number): void {
    this.#free.push(number);
  }
}
