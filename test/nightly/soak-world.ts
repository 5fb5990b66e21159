/**
 * Three members and a server, and what happens to them:
 *
 *     anna ── router ══ bad line ══╗                   anna's provider gives her other addresses and her router forgets
 *                              Internet ── server      the server is stopped, killed and started
 *     carol ── router ─────────────╢                   carol's laptop moves between her home and a public place
 *                                 bert                 bert gets other addresses
 */
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import type { FlowEnd } from '../../lab/flow.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { ImpairmentRouter } from '../../lab/impairment-router.ts';
import { Internet } from '../../lab/internet.ts';
import type { Lab } from '../../lab/lab.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';

const network = 'soak';
const password = 'for hours\n';
const heapReport = new URL('heap-report.mjs', import.meta.url).href;
const env = { NODE_OPTIONS: `--import=${heapReport}` };

export interface Member extends FlowEnd {
  readonly daemon: BuriDaemon;
}

export class SoakWorld {
  readonly line: ImpairmentRouter;
  readonly anna: Member;
  readonly bert: Member;
  readonly carol: Member;
  readonly #internet: Internet;
  readonly #homes: { readonly anna: Home; readonly carol: Home };
  #server: BuriServer;
  #roams = 0;
  #restarts = 0;
  #isCarolOut = false;

  private constructor(
    internet: Internet,
    homes: { readonly anna: Home; readonly carol: Home },
    server: BuriServer,
    line: ImpairmentRouter,
    members: readonly Member[],
  ) {
    this.#internet = internet;
    this.#homes = homes;
    this.#server = server;
    this.line = line;
    [this.anna, this.bert, this.carol] = members as [Member, Member, Member];
  }

  static async create(lab: Lab, seed: number): Promise<SoakWorld> {
    const internet = await Internet.create(lab);
    const server = await startServer(await internet.host('server'));
    const home = (name: string) => Home.create(internet, { name, nat: 'port-restricted' });
    const homes = { anna: await home('anna'), carol: await home('carol') };
    const line = await ImpairmentRouter.splice(homes.anna.router, { seed });
    const hosts = [homes.anna.firstHost, await internet.host('bert'), homes.carol.firstHost];
    const members: Member[] = [];
    const url = await server.url();
    for (const host of hosts) {
      const daemon = await BuriDaemon.start(host, { env });
      const { ipv4 } = await daemon.verb('login', ['--nick', host.name, '--wait', '30', url]);
      const verb = members.length === 0 ? 'create' : 'join';
      await daemon.verb(verb, [network, '-'], password);
      members.push({ host, daemon, ipv4 });
    }
    const world = new SoakWorld(internet, homes, server, line, members);
    await world.waitUntilConnected(60_000);
    await line.set({
      ...{ lossRate: 0.001, duplicateRate: 0.001, corruptRate: 0.0005 },
      ...{ reorderRate: 0.002, reorderMs: 3, delayMs: 3, jitterMs: 1 },
    });
    return world;
  }

  get members(): readonly Member[] {
    return [this.anna, this.bert, this.carol];
  }

  /** Whose memory is of interest, by name. The server is another one after a restart. */
  get processes(): ReadonlyMap<string, LabProcess> {
    const daemons = this.members.map(({ host, daemon }) => [host.name, daemon.process] as const);
    return new Map([...daemons, ['server', this.#server.process]]);
  }

  get roams(): number {
    return this.#roams;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** The next member is somewhere else, or its NAT has forgotten it. Returns what happened. */
  async roam(): Promise<string> {
    switch (this.#roams++ % 4) {
      case 0:
        await this.#homes.anna.changePublicAddress();
        return 'anna has another public address';
      case 1:
        await this.bert.host.changeAddress();
        return 'bert has another address';
      case 2:
        this.#isCarolOut = !this.#isCarolOut;
        await this.carol.host.plug(this.#isCarolOut ? this.#internet : this.#homes.carol);
        return `carol is ${this.#isCarolOut ? 'out' : 'at home'}`;
      default:
        await this.#homes.anna.reboot();
        return "anna's router has forgotten everything";
    }
  }

  /** Ends the server, by turns politely and not, and starts it again. */
  async restartServer(): Promise<string> {
    const signal = this.#restarts++ % 2 === 0 ? 'SIGTERM' : 'SIGKILL';
    const { host, directory } = this.#server;
    await this.#server.stop(signal);
    this.#server = await startServer(host, directory);
    return `the server was restarted after ${signal}`;
  }

  /** Everybody is logged in and reaches everybody. */
  async waitUntilConnected(timeoutMs: number): Promise<void> {
    for (const member of this.members) {
      for (const other of this.members) {
        if (other === member) continue;
        await waitFor(
          `${member.host.name} to reach ${other.host.name}`,
          async () => (await member.host.ping(other.ipv4, { timeoutMs: 1000 })).received === 1,
          { timeoutMs },
        );
      }
      await waitFor(
        `${member.host.name} to be online`,
        async () => (await member.daemon.verb('status')).state === 'online',
        { timeoutMs },
      );
    }
  }
}

function startServer(host: Host, directory?: string): Promise<BuriServer> {
  return BuriServer.start(host, {
    ...{ enrol: 'open', env },
    ...(directory === undefined ? {} : { directory }),
  });
}
