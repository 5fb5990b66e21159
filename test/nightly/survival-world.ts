/**
 * Members whose server can die:
 *
 *     10 hosts, open ─────────── Internet ── server: control, STUN
 *     5 homes, symmetric NATs ──────┘ └───── relay, a machine of its own
 *
 * Every pair has a tunnel: those between two homes go over the relay, all others directly.
 */
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import type { FlowEnd } from '../../lab/flow.ts';
import { GridRelays } from '../../lab/grid-relays.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import type { Lab } from '../../lab/lab.ts';
import { waitFor } from '../../lab/wait.ts';

const network = 'survival';
const password = 'whatever happens\n';
const loginTimeoutMs = 180_000;

export interface Survivor extends FlowEnd {
  daemon: BuriDaemon;
  readonly clientId: string;
}

export class SurvivalWorld {
  readonly internet: Internet;
  readonly members: readonly Survivor[];
  #server: BuriServer;

  private constructor(internet: Internet, members: readonly Survivor[], server: BuriServer) {
    this.internet = internet;
    this.members = members;
    this.#server = server;
  }

  static async create(lab: Lab, count: number): Promise<SurvivalWorld> {
    const internet = await Internet.create(lab);
    const server = await startServer(await internet.host('server'));
    await GridRelays.start(internet, server, 1, () => {});
    const url = await server.url();
    const members: Survivor[] = [];
    for (let number = 1; number <= count; number++) {
      const name = `m${number}`;
      const host =
        number % 3 === 0
          ? (await Home.create(internet, { name, nat: 'symmetric' })).firstHost
          : await internet.host(name);
      const daemon = await BuriDaemon.start(host, { args: ['--hard-nat', 'off'] });
      const login = ['--nick', name, '--wait', '60', url];
      const { clientId, ipv4 } = await daemon.verb('login', login);
      await daemon.verb(members.length === 0 ? 'create' : 'join', [network, '-'], password);
      members.push({ host, daemon, ipv4, clientId });
    }
    return new SurvivalWorld(internet, members, server);
  }

  /** How many tunnels there are of each kind, each pair counted once, and how many are missing. */
  async tunnels(): Promise<Record<'direct' | 'relayed' | 'missing', number>> {
    const count = { direct: 0, relayed: 0, missing: 0 };
    for (const [i, member] of this.members.entries()) {
      const { networks } = await member.daemon.verb('list');
      for (const other of this.members.slice(i + 1)) {
        const seen = networks[0]?.members.find(({ clientId }) => clientId === other.clientId);
        const kind = seen?.path.kind;
        count[kind === 'direct' || kind === 'relayed' ? kind : 'missing'] += 1;
      }
    }
    return count;
  }

  async killServer(): Promise<void> {
    await this.#server.stop('SIGKILL');
  }

  async startServer(): Promise<void> {
    this.#server = await startServer(this.#server.host, this.#server.directory);
  }

  async waitUntilOnline(): Promise<void> {
    for (const { host, daemon } of this.members) {
      await waitFor(
        `${host.name} to be online`,
        async () => (await daemon.verb('status')).state === 'online',
        { timeoutMs: loginTimeoutMs, intervalMs: 500 },
      );
    }
  }

  /** Kills these two, starts them anew, and returns how long it takes until one reaches the other, from when both are ready. */
  async restart(a: Survivor, b: Survivor): Promise<number> {
    await Promise.all([a.daemon.stop('SIGKILL'), b.daemon.stop('SIGKILL')]);
    await Promise.all(
      [a, b].map(async (member) => {
        const { directory } = member.daemon;
        member.daemon = await BuriDaemon.start(member.host, {
          directory,
          args: ['--hard-nat', 'off'],
        });
      }),
    );
    const startedAt = performance.now();
    const reached = async () => (await a.host.ping(b.ipv4, { timeoutMs: 500 })).received === 1;
    await waitFor('the tunnel', reached, { timeoutMs: 60_000, intervalMs: 50 });
    return performance.now() - startedAt;
  }

  /** Takes or gives back the way to the server of one member, and nothing else. */
  async cutOff(member: Survivor, isCut: boolean): Promise<void> {
    const server = this.#server.host;
    if (isCut) await this.internet.cutBetween([member.host.ipv4], [server.ipv4, server.ipv6]);
    else await this.internet.joinAll();
  }

  async evict(by: Survivor, member: Survivor): Promise<void> {
    await by.daemon.verb('evict', [network, member.host.name]);
  }
}

function startServer(host: Host, directory?: string): Promise<BuriServer> {
  return BuriServer.start(host, {
    ...{ enrol: 'open', args: ['--roles', 'control,stun'] },
    ...(directory === undefined ? {} : { directory }),
  });
}
