/** The addresses of a LAN, and a host's place on it. */
import { type Attachment, type Host, uplink } from './host.ts';
import type { Pool, Site } from './internet.ts';
import type { Link } from './link.ts';

/** The router's interface to its LAN. */
export const bridge = 'lan';

export interface LanPlan {
  readonly ipv4Prefix: string;
  readonly ipv4Bits: number;
  readonly gateway: string;
  readonly firstHost: number;
  readonly lastHost: number;
  readonly ipv6Prefix: string | undefined;
  /** False: only the router has. True when absent. */
  readonly hostsHaveIpv4?: boolean;
  /** What the Internet must route here. */
  readonly publicPrefixes: readonly string[];
}

/**
 * A private LAN of 240 hosts.
 * @param subnet its first three bytes; by default they follow from the router's own address, so
 * that they differ from home to home
 */
export function privateLan(
  routerIpv4: string,
  subnet = `192.168.${Number(routerIpv4.split('.')[3]) - 9}`,
  site?: Site,
): LanPlan {
  if (routerIpv4.startsWith(`${subnet}.`)) {
    throw new Error(`${subnet} is on both sides of the router ${routerIpv4}`);
  }
  return {
    ...{ ipv4Prefix: subnet, ipv4Bits: 24, gateway: `${subnet}.1`, firstHost: 10, lastHost: 250 },
    ipv6Prefix: site?.ipv6Prefix,
    publicPrefixes: site === undefined ? [] : [`${site.ipv6Prefix}/64`],
  };
}

/** A public LAN of 13 hosts. */
export function publicLan({ ipv4Prefix, firstHost, ipv6Prefix }: Site, ipv6: boolean): LanPlan {
  return {
    ...{ ipv4Prefix, ipv4Bits: 28, gateway: `${ipv4Prefix}.${firstHost + 1}` },
    ...{ firstHost: firstHost + 2, lastHost: firstHost + 14 },
    ipv6Prefix: ipv6 ? ipv6Prefix : undefined,
    publicPrefixes: [`${ipv4Prefix}.${firstHost}/28`, ...(ipv6 ? [`${ipv6Prefix}/64`] : [])],
  };
}

/** A host's place on a LAN. */
export class LanPort implements Attachment {
  readonly link: Link;
  readonly #host: Host;
  readonly #router: Host;
  readonly #plan: LanPlan;
  readonly #pool: Pool;
  #number: number;

  constructor(host: Host, router: Host, link: Link, plan: LanPlan, pool: Pool) {
    this.link = link;
    this.#host = host;
    this.#router = router;
    this.#plan = plan;
    this.#pool = pool;
    this.#number = pool.take();
  }

  /** Unused where hosts have none. */
  get ipv4(): string {
    return `${this.#plan.ipv4Prefix}.${this.#number}`;
  }

  get ipv6(): string | undefined {
    const prefix = this.#plan.ipv6Prefix;
    return prefix === undefined ? undefined : `${prefix}${this.#number.toString(16)}`;
  }

  async configure(): Promise<void> {
    const { gateway, ipv6Prefix } = this.#plan;
    await this.#router.ip(`link set ${this.link.far.device} master ${bridge}`);
    await this.#host.ip(
      `link set ${uplink} up`,
      ...this.#addresses().map((address) => `addr replace ${address} dev ${uplink}`),
      ...(this.#plan.hostsHaveIpv4 === false
        ? []
        : [`route replace default via ${gateway} dev ${uplink}`]),
      ...(ipv6Prefix ? [`route replace ::/0 via ${ipv6Prefix}1 dev ${uplink}`] : []),
    );
  }

  async readdress(): Promise<void> {
    const old = this.#addresses();
    const number = this.#number;
    this.#number = this.#pool.take();
    this.#pool.giveBack(number);
    await this.#host.ip(...old.map((address) => `addr del ${address} dev ${uplink}`));
    await this.configure();
  }

  async detach(): Promise<void> {
    this.#pool.giveBack(this.#number);
    await this.link.remove();
  }

  #addresses(): string[] {
    const { ipv6 } = this;
    const { hostsHaveIpv4 = true, ipv4Bits } = this.#plan;
    const ipv4 = hostsHaveIpv4 ? [`${this.ipv4}/${ipv4Bits}`] : [];
    return ipv6 === undefined ? ipv4 : [...ipv4, `${ipv6}/64`];
  }
}
