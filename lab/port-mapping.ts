/**
 * A home router that maps ports when asked: the real miniupnpd in its namespace, speaking only the protocols that are wanted.
 *
 *     const internet = await Internet.create(lab, { routerPrefix: mappablePrefix });
 *     const home = await Home.create(internet, { name: 'home', nat: 'port-restricted' });
 *     await using gateway = await withPortMapping(home, ['pcp']);
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { environment } from './exec.ts';
import type { Home } from './home.ts';
import { uplink } from './host.ts';
import { bridge } from './lan.ts';
import type { MappingProtocol } from './nat-kinds.ts';
import type { LabProcess } from './process.ts';

/** miniupnpd maps nothing for routers with addresses for documentation. */
export const mappablePrefix = '9.9.9';

/** For `test(name, { skip: portMappingSkipReason() }, …)`. */
export function portMappingSkipReason(): string | false {
  const path = (environment().PATH ?? '').split(':');
  const present = path.some((directory) => existsSync(join(directory, 'miniupnpd')));
  return present ? false : 'not installed: miniupnpd-nftables';
}

/** PCP and NAT-PMP share a port; a message's first byte is the version. */
const versions: Readonly<Record<'pcp' | 'nat-pmp', number>> = { pcp: 2, 'nat-pmp': 0 };

export interface PortMappingOptions {
  /** PCP grants no longer lifetimes. */
  readonly maxLifetimeSeconds?: number;
}

export class PortMappingGateway implements AsyncDisposable {
  readonly #home: Home;
  readonly #protocols: readonly MappingProtocol[];
  readonly #options: PortMappingOptions;
  #process: LabProcess | undefined;

  constructor(home: Home, protocols: readonly MappingProtocol[], options: PortMappingOptions) {
    this.#home = home;
    this.#protocols = protocols;
    this.#options = options;
  }

  async start(): Promise<void> {
    const { router } = this.#home;
    await router.nft(ruleset(this.#protocols));
    const directory = router.lab.temporaryDirectory(`${router.name}-miniupnpd`);
    const config = join(directory, 'miniupnpd.conf');
    const has = (...protocols: MappingProtocol[]) =>
      protocols.some((protocol) => this.#protocols.includes(protocol)) ? 'yes' : 'no';
    const lines = [
      `ext_ifname=${uplink}`,
      `listening_ip=${bridge}`,
      'http_port=5000',
      `enable_upnp=${has('upnp')}`,
      `enable_natpmp=${has('pcp', 'nat-pmp')}`,
      'min_lifetime=20',
      `max_lifetime=${this.#options.maxLifetimeSeconds ?? 86_400}`,
      'secure_mode=yes',
      'system_uptime=no',
      'upnp_table_name=miniupnpd',
      'upnp_nat_table_name=miniupnpd',
      'upnp_forward_chain=miniupnpd',
      'upnp_nat_chain=prerouting_miniupnpd',
      'upnp_nat_postrouting_chain=postrouting_miniupnpd',
      'uuid=6275726e-6564-4000-8000-000000000002',
      'allow 1024-65535 0.0.0.0/0 1024-65535',
      'deny 0-65535 0.0.0.0/0 0-65535',
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const args = ['-d', '-f', config, '-P', join(directory, 'pid')];
    const name = `miniupnpd on ${router.name}`;
    this.#process = router.spawn('miniupnpd', args, { name });
    await this.#process.line(/HTTP listening on port|Listening for NAT-PMP/);
  }

  /** The mappings in the router's rules. */
  async rules(): Promise<string> {
    const { router } = this.#home;
    return router.check('nft', ['list', 'chain', 'inet', 'miniupnpd', 'prerouting_miniupnpd']);
  }

  /** Whether a UDP port of the public address leads inside. */
  async maps(port: number): Promise<boolean> {
    // nft shows what miniupnpd wrote as '@nh,72,8 0x11 th dport 41641 dnat ip to …'.
    return new RegExp(`dport ${port} .*dnat`).test(await this.rules());
  }

  /** Whether the firewall lets a UDP port of some IPv6 address in. */
  async opensIpv6(port: number): Promise<boolean> {
    const { router } = this.#home;
    const rules = await router.check('nft', ['list', 'chain', 'inet', 'miniupnpd', 'miniupnpd']);
    // The destination of an IPv6 header, which nft shows as bytes 24 to 39.
    return new RegExp(`dport ${port} @nh,192,128 .*accept`).test(rules);
  }

  /** Power off and on: every mapping is forgotten. */
  async reboot(): Promise<void> {
    await this.stop();
    await this.#home.reboot();
    await this.start();
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    this.#process = undefined;
    await this.#home.router.nft('table inet miniupnpd {}\ndelete table inet miniupnpd\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Has a home's router map ports by these protocols and no others. */
export async function withPortMapping(
  home: Home,
  protocols: readonly MappingProtocol[],
  options: PortMappingOptions = {},
): Promise<PortMappingGateway> {
  const gateway = new PortMappingGateway(home, protocols, options);
  await gateway.start();
  return gateway;
}

/** The chains that miniupnpd fills, before those of the NAT; the NAT's filter lets in whatever is translated. */
function ruleset(protocols: readonly MappingProtocol[]): string {
  const others = (['pcp', 'nat-pmp'] as const).filter((name) => !protocols.includes(name));
  const deaf = others.map((name) => `udp dport 5351 @th,64,8 ${versions[name]} drop`);
  return `table inet miniupnpd {}
    delete table inet miniupnpd
    table inet miniupnpd {
      chain input {
        type filter hook input priority filter - 1; policy accept;
        ${others.length === 2 ? '' : deaf.join('\n')}
      }
      chain miniupnpd { }
      chain prerouting {
        type nat hook prerouting priority dstnat - 1; policy accept;
        jump prerouting_miniupnpd
      }
      chain postrouting {
        type nat hook postrouting priority srcnat - 1; policy accept;
        jump postrouting_miniupnpd
      }
      chain prerouting_miniupnpd { }
      chain postrouting_miniupnpd { }
    }`;
}
