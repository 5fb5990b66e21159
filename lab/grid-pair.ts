/**
 * Two members behind two NATs, a server with its relay, and delays on the uplinks: what the grid
 * measures. Daemons are kept running; NATs forget everything between runs but ports that they were asked
 * for.
 *
 *     server ── Internet ─╥─ line ─ NAT A ── a: daemon, stream
 *                         ╙─ line ─ NAT B ── b: daemon, stream
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { BuriDaemon, BuriServer } from './buri.ts';
import { GridRelays } from './grid-relays.ts';
import { Home } from './home.ts';
import type { Host } from './host.ts';
import { ImpairmentRouter } from './impairment-router.ts';
import { Internet } from './internet.ts';
import type { Lab } from './lab.ts';
import { callDaemon } from './local-api.ts';
import { type NatKind, type NatKindRow, natKind } from './nat-kinds.ts';
import { mappablePrefix, type PortMappingGateway, withPortMapping } from './port-mapping.ts';
import { nowNs, StreamEnd } from './stream.ts';
import { waitFor } from './wait.ts';

export const gridNetwork = 'grid';
const serverName = 'server.example';
const loginSeconds = 60;
const settleTimeoutMs = 30_000;

export class GridMember {
  readonly name: string;
  readonly home: Home;
  readonly host: Host;
  readonly daemon: BuriDaemon;
  readonly stream: StreamEnd;
  readonly line: ImpairmentRouter;
  /** Maps ports, for kinds that do. */
  readonly gateway: PortMappingGateway | undefined;
  clientId = '';
  ipv4 = '';

  constructor(
    home: Home,
    daemon: BuriDaemon,
    stream: StreamEnd,
    line: ImpairmentRouter,
    gateway: PortMappingGateway | undefined,
  ) {
    this.name = home.name;
    this.home = home;
    this.host = home.firstHost;
    this.daemon = daemon;
    this.stream = stream;
    this.line = line;
    this.gateway = gateway;
  }

  call<V extends Parameters<typeof callDaemon>[1]>(
    verb: V,
    body: Parameters<typeof callDaemon<V>>[2],
  ) {
    return callDaemon(this.daemon.socket, verb, body);
  }

  /** Waits until its router leads a port to it. */
  async isMapped(): Promise<void> {
    const mapping = async () => (await this.call('status', {})).portMapping.external;
    await waitFor(`a port for ${this.name}`, mapping, { timeoutMs: settleTimeoutMs });
  }

  /** Its machine sleeps: the program stands still, and the NAT forgets it. All clocks really go on so long. */
  async sleep(seconds: number): Promise<void> {
    const { process } = this.daemon;
    process.signal('SIGSTOP');
    try {
      await pause(seconds * 1000);
      await this.home.flushUdp();
    } finally {
      process.signal('SIGCONT');
    }
  }

  /** The power of its router fails for a moment. */
  async rebootRouter(): Promise<void> {
    if (this.gateway === undefined) await this.home.reboot();
    else await this.gateway.reboot();
    await this.home.carrier?.flush();
  }

  /** How it sees the other one. */
  async sees(other: GridMember) {
    const { path } = await this.call('peer', { clientId: other.clientId });
    return path;
  }

  /** The router whose uplink is the Internet's. */
  get edge(): Home {
    return this.home.carrier ?? this.home;
  }

  /** Addresses that its packets have on the Internet. */
  publicAddresses(): string[] {
    const { host, edge } = this;
    const isRouted = host.ipv4.startsWith('192.0.2.');
    return [isRouted ? host.ipv4 : edge.publicIpv4, ...(host.hasIpv6 ? [host.ipv6] : [])];
  }

  /** UDP sockets that are open in its namespace, other than the stream's. */
  sockets(): number {
    const { pid } = this.daemon.process;
    const tables = ['udp', 'udp6'].map((name) =>
      readFileSync(`/proc/${pid}/net/${name}`, 'latin1'),
    );
    const rows = tables.flatMap((text) => text.trim().split('\n').slice(1));
    return Math.max(0, rows.length - 1);
  }

  /** Packets that left the machine: Buri's own (probes), and all to anywhere but the server. */
  async counted(): Promise<{ readonly probes: number; readonly packets: number }> {
    const text = await this.host.check('nft', ['-j', 'list', 'counters', 'table', 'inet', 'grid']);
    const counters = new Map<string, number>();
    for (const entry of JSON.parse(text).nftables) {
      if ('counter' in entry) counters.set(entry.counter.name, entry.counter.packets);
    }
    return { probes: counters.get('probes') ?? 0, packets: counters.get('away') ?? 0 };
  }
}

export interface GridPairOptions {
  readonly delayMs: number;
  /** Relays beside the server, which then does not relay itself. */
  readonly relays?: number;
  /** How long idle mappings live, if not as the kinds have it. */
  readonly lifetimeSeconds?: number;
}

interface GridCentre {
  readonly internet: Internet;
  readonly server: BuriServer;
  readonly relays: GridRelays;
}

export class GridPair {
  readonly internet: Internet;
  readonly server: BuriServer;
  readonly relays: GridRelays;
  readonly a: GridMember;
  readonly b: GridMember;

  constructor({ internet, server, relays }: GridCentre, [a, b]: readonly [GridMember, GridMember]) {
    this.internet = internet;
    this.server = server;
    this.relays = relays;
    this.a = a;
    this.b = b;
  }

  /** In a laboratory of their own; both are online. */
  static async create(
    lab: Lab,
    kinds: readonly [NatKind, NatKind],
    options: GridPairOptions,
  ): Promise<GridPair> {
    const hall = await GridHall.create(lab, kinds, options);
    return hall.pair(...kinds);
  }

  get members(): readonly [GridMember, GridMember] {
    return [this.a, this.b];
  }

  /** Both leave the network for now, nothing is left between them, and the NATs forget them. */
  async part(): Promise<void> {
    await this.#both((member) => member.call('go-offline', { network: gridNetwork }));
    await waitFor(
      'both to have forgotten each other',
      async () => {
        const [a, b] = await Promise.all([this.a.call('list', {}), this.b.call('list', {})]);
        return [a, b].every(({ networks }) => {
          const others = networks.flatMap(({ members }) => members.filter(({ self }) => !self));
          return others.every(({ path }) => path.kind === 'none');
        });
      },
      { timeoutMs: settleTimeoutMs },
    );
    await this.#both((member) => member.home.flushUdp());
  }

  /** Both are online again; when that is so, by the monotonic clock. */
  async meet(): Promise<number> {
    await this.#both((member) => member.call('go-online', { network: gridNetwork }));
    return nowNs();
  }

  /** Datagrams of both carry this label from now on. */
  stream(label: string): void {
    this.a.stream.send(label, this.b.ipv4);
    this.b.stream.send(label, this.a.ipv4);
  }

  /** Nothing is sent until the next {@link stream}. */
  pause(): void {
    for (const { stream } of this.members) stream.pause();
  }

  /** When both have heard the other: the later one of the first arrivals; or of the steady ones. */
  async heard(label: string, what: 'first' | 'steady', after = 0): Promise<number | undefined> {
    const seen = await this.#both((member) => member.stream.arrivals(label, after));
    const moments = seen.map((arrivals) => arrivals[what]);
    const latest = Math.max(...moments.map((moment) => moment ?? Number.NaN));
    return Number.isNaN(latest) ? undefined : latest;
  }

  /** What both say of the path. */
  async paths() {
    return Promise.all([this.a.sees(this.b), this.b.sees(this.a)]);
  }

  async #both<T>(act: (member: GridMember) => Promise<T>): Promise<T[]> {
    return Promise.all(this.members.map(act));
  }
}

/** Members of one network, a home each: of two of them at a time the others are offline. */
export class GridHall {
  readonly #centre: GridCentre;
  readonly #members: readonly (readonly [NatKind, GridMember])[];

  private constructor(centre: GridCentre, members: readonly (readonly [NatKind, GridMember])[]) {
    this.#centre = centre;
    this.#members = members;
  }

  /** Two of them are online afterwards, of more none. */
  static async create(
    lab: Lab,
    kinds: readonly NatKind[],
    { delayMs, relays: relayCount = 0, lifetimeSeconds }: GridPairOptions,
  ): Promise<GridHall> {
    const maps = kinds.some((kind) => natKind(kind).portMapping !== undefined);
    const internet = await Internet.create(lab, maps ? { routerPrefix: mappablePrefix } : {});
    const host = await internet.host('server');
    // A name, for some have IPv4 and some have IPv6 only.
    const knowServer = (who: Host) => who.knows(serverName, [host.ipv4, host.ipv6]);
    knowServer(host);
    const server = await BuriServer.start(host, {
      ...{ enrol: 'open', publicHost: serverName },
      args: relayCount > 0 ? ['--roles', 'control,stun'] : [],
    });
    const relays = await GridRelays.start(internet, server, relayCount, knowServer);
    const members: [NatKind, GridMember][] = [];
    for (const nat of kinds) {
      const name = `m${members.length}`;
      const timeout = lifetimeSeconds === undefined ? {} : { timeoutSeconds: lifetimeSeconds };
      const home = await Home.create(internet, { name, nat, ...timeout });
      knowServer(home.firstHost);
      const member = await memberIn(home, natKind(nat), server, delayMs, 1 + members.length);
      const verb = members.length === 0 ? 'create' : 'join';
      await member.call(verb, { network: gridNetwork });
      if (kinds.length > 2) await member.call('go-offline', { network: gridNetwork });
      members.push([nat, member]);
    }
    return new GridHall({ internet, server, relays }, members);
  }

  /** Two members of these kinds; of one and the same kind the first two. */
  pair(a: NatKind, b: NatKind): GridPair {
    const first = this.#members.find(([kind]) => kind === a);
    const second = this.#members.find((member) => member !== first && member[0] === b);
    if (first === undefined || second === undefined) throw new Error(`no ${a} ↔ ${b} here`);
    return new GridPair(this.#centre, [first[1], second[1]]);
  }
}

async function memberIn(
  home: Home,
  { portMapping }: NatKindRow,
  server: BuriServer,
  delayMs: number,
  seed: number,
): Promise<GridMember> {
  const edge = home.carrier ?? home;
  const line = await ImpairmentRouter.splice(edge.router, { seed });
  if (delayMs > 0) await line.set({ delayMs });
  const gateway = portMapping === undefined ? undefined : await withPortMapping(home, portMapping);
  const daemon = await BuriDaemon.start(home.firstHost);
  const stream = await StreamEnd.start(home.firstHost);
  const member = new GridMember(home, daemon, stream, line, gateway);
  await home.firstHost.nft(countingRules(server.host));
  const login = { url: await server.url(), nick: home.name, waitSeconds: loginSeconds };
  const self = await member.call('login', login);
  member.clientId = self.clientId;
  member.ipv4 = self.ipv4;
  if (gateway !== undefined) await member.isMapped();
  return member;
}

/** Datagrams that begin as Buri's probes do, and all that go not to the server. */
function countingRules(server: Host): string {
  const away = `oifname "eth0" ip daddr != ${server.ipv4} meta l4proto udp`;
  const away6 = `oifname "eth0" ip6 daddr != ${server.ipv6} meta l4proto udp`;
  const isProbe = '@th,64,32 0x42555201';
  return `table inet grid {
    counter probes { }
    counter away { }
    chain output {
      type filter hook output priority 0; policy accept;
      ${[away, away6].map((rule) => `${rule} ${isProbe} counter name probes`).join('\n')}
      ${[away, away6].map((rule) => `${rule} counter name away`).join('\n')}
    }
  }`;
}
