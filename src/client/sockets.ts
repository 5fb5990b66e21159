import type { DiscoverySocket } from '#core/discovery/io.ts';
import { BuriError } from '#core/errors.ts';
import type { Engine, SocketInfo } from '#engine/engine.ts';
import type { Notices } from './notices.ts';

export interface SocketsOptions {
  readonly engine: Engine;
  readonly notices: Notices;
  /** Fixed by `--port`: this one or none. */
  readonly fixedPort: number | undefined;
  /** The port of last time: preferred, since NATs and forwardings may remember it. */
  readonly lastPort: number | undefined;
}

/** The UDP sockets of the daemon: one for tunnels in each address family, and three that NATs are tested with. */
export class Sockets {
  readonly list: readonly DiscoverySocket[];
  readonly port: number;

  private constructor(list: readonly DiscoverySocket[], port: number) {
    this.list = list;
    this.port = port;
  }

  /** BuriError: port-in-use, when the fixed one is. */
  static async open(options: SocketsOptions): Promise<Sockets> {
    const { engine, fixedPort } = options;
    const main = await openMain(options);
    const list: DiscoverySocket[] = [{ socket: main.socket, family: 4, localPort: main.port }];
    const ipv6 = await openIpv6(engine, main.port, fixedPort !== undefined);
    if (ipv6 !== undefined) list.push({ socket: ipv6.socket, family: 6, localPort: ipv6.port });
    for (const purpose of ['test', 'sample', 'sample'] as const) {
      const { socket, port } = await engine.openSocket({ family: 4, port: 0 });
      list.push({ socket, family: 4, localPort: port, purpose });
    }
    return new Sockets(list, main.port);
  }
}

async function openMain(options: SocketsOptions): Promise<SocketInfo> {
  const { engine, fixedPort, lastPort, notices } = options;
  try {
    return await engine.openSocket({ family: 4, port: fixedPort ?? lastPort ?? 0 });
  } catch (error) {
    const isTaken = error instanceof BuriError && error.code === 'port-in-use';
    if (!isTaken || fixedPort !== undefined) throw error;
    const message = `UDP port ${lastPort} of last time is in use by another program`;
    notices.add({ code: 'port-changed', message: `${message}; another one was taken` });
    return await engine.openSocket({ family: 4, port: 0 });
  }
}

/** The same port where possible: one rule of a firewall then serves both. A system without IPv6 has none. */
async function openIpv6(
  engine: Engine,
  port: number,
  isFixed: boolean,
): Promise<SocketInfo | undefined> {
  for (const wanted of [port, 0]) {
    try {
      return await engine.openSocket({ family: 6, port: wanted });
    } catch (error) {
      const isTaken = error instanceof BuriError && error.code === 'port-in-use';
      if (isTaken && isFixed) throw error;
      if (!isTaken) return undefined;
    }
  }
  return undefined;
}
