/** A real HTTP proxy (tinyproxy) on a host, as the only way out of a company's network. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { environment } from './exec.ts';
import type { Home } from './home.ts';
import type { Host } from './host.ts';
import type { LabProcess } from './process.ts';
import { waitFor } from './wait.ts';

export interface HttpProxyOptions {
  readonly user?: string;
  readonly password?: string;
  /** The only ports that CONNECT may lead to; default all. */
  readonly connectPorts?: readonly number[];
}

export class HttpProxy {
  readonly host: Host;
  readonly process: LabProcess;
  readonly port = 3128;

  private constructor(host: Host, process: LabProcess) {
    this.host = host;
    this.process = process;
  }

  /** Why it cannot be had here, or false. */
  static skipReason(): string | false {
    const path = [...(environment().PATH ?? '').split(':'), '/usr/sbin'];
    return path.some((dir) => existsSync(join(dir, 'tinyproxy')))
      ? false
      : 'no tinyproxy installed';
  }

  static async start(host: Host, options: HttpProxyOptions = {}): Promise<HttpProxy> {
    const directory = host.lab.temporaryDirectory(`${host.name}-proxy`);
    const config = join(directory, 'tinyproxy.conf');
    const { user, password, connectPorts = [] } = options;
    const lines = [
      'Port 3128',
      'Timeout 600',
      'LogLevel Connect',
      ...(user === undefined ? [] : [`BasicAuth ${user} ${password}`]),
      ...connectPorts.map((port) => `ConnectPort ${port}`),
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
    const process = host.spawn('tinyproxy', ['-d', '-c', config], { name: `proxy ${host.name}` });
    const proxy = new HttpProxy(host, process);
    await waitFor('the proxy to listen', async () => {
      const { stdout } = await host.run('ss', ['-Hltn', 'sport = :3128']);
      return stdout !== '';
    });
    return proxy;
  }

  /** Its URL, with a login if wished (`user:password`). */
  url(login?: string): string {
    return `http://${login === undefined ? '' : `${login}@`}${this.host.ipv4}:${this.port}`;
  }
}

/** The router forwards nothing of this host any more: what it wants outside it gets through a proxy on the LAN. */
export function confine(home: Home, host: Host): Promise<void> {
  return home.router.nft(`
    table inet confined_${host.name} {
      chain forward {
        type filter hook forward priority -200; policy accept;
        ip saddr ${host.ipv4} drop
      }
    }`);
}
