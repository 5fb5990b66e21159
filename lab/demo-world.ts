/** The demo's cables and programs: an Internet with a server, two homes behind NATs, a third member without one. */
import { join } from 'node:path';
import type { Verb } from '#wire/local-api.ts';
import { BuriDaemon, BuriServer, buriProgram } from './buri.ts';
import { Home } from './home.ts';
import type { Host } from './host.ts';
import { Internet } from './internet.ts';
import type { Lab } from './lab.ts';
import type { NatKind } from './nat-kinds.ts';
import type { LabProcess } from './process.ts';

/** The two homes have different NATs; both are ordinary ones. */
export const homeNats = { anna: 'port-restricted', bert: 'address-restricted' } as const;

/** A computer with a daemon, used as a person does: through the command line. */
export class Member {
  readonly name: string;
  readonly host: Host;
  ipv4 = '';
  ipv6 = '';
  readonly #directory: string;
  #daemon: BuriDaemon | undefined;

  constructor(name: string, host: Host, directory: string) {
    this.name = name;
    this.host = host;
    this.#directory = join(directory, name);
  }

  get daemon(): BuriDaemon {
    if (this.#daemon === undefined) throw new Error(`${this.name} has no daemon`);
    return this.#daemon;
  }

  async startDaemon(): Promise<void> {
    this.#daemon = await BuriDaemon.start(this.host, { directory: this.#directory });
  }

  /** A client verb with its answer. VerbError with the daemon's code when it is refused. */
  buri<V extends Verb>(verb: V, words: readonly string[] = [], input?: string) {
    return this.daemon.verb(verb, words, input);
  }

  /** What a person sees. */
  table(): Promise<string> {
    return this.host.check(buriProgram, ['list', '--socket', this.daemon.socket]);
  }

  /** How this member sees another one. */
  async sees(other: Member) {
    const { networks } = await this.buri('list');
    const found = networks[0]?.members.find(({ ipv4 }) => ipv4 === other.ipv4);
    if (found === undefined) throw new Error(`${this.name} does not know ${other.name}`);
    return found;
  }
}

export interface DemoWorld {
  readonly internet: Internet;
  readonly server: Host;
  readonly homes: Readonly<Record<keyof typeof homeNats, Home>>;
  readonly anna: Member;
  readonly bert: Member;
  readonly carol: Member;
  readonly members: readonly Member[];
  readonly directory: string;
  /** What runs: its last words are shown when something fails. */
  readonly processes: LabProcess[];
  /** Every ordered pair of two different members. */
  readonly pairs: readonly (readonly [from: Member, to: Member])[];
}

export async function buildWorld(lab: Lab): Promise<DemoWorld> {
  const directory = lab.temporaryDirectory('demo');
  const internet = await Internet.create(lab);
  const server = await internet.host('server');
  const home = (name: string, nat: NatKind) => Home.create(internet, { name, nat });
  const homes = {
    anna: await home('anna', homeNats.anna),
    bert: await home('bert', homeNats.bert),
  };
  const processes: LabProcess[] = [];
  const anna = new Member('anna', homes.anna.firstHost, directory);
  const bert = new Member('bert', homes.bert.firstHost, directory);
  const carol = new Member('carol', await internet.host('carol'), directory);
  const members = [anna, bert, carol];
  const pairs = members.flatMap((from) =>
    members.filter((to) => to !== from).map((to) => [from, to] as const),
  );
  return { internet, server, homes, anna, bert, carol, members, directory, processes, pairs };
}

/** The world as it was built, with its addresses. */
export function topology({ server, homes, anna, bert, carol }: DemoWorld): string {
  const column = (...lines: string[]) => lines.map((line) => line.padEnd(30));
  const home = (member: Member, { router, subnet }: Home, nat: string) =>
    column(
      '          │',
      `${router.ipv4}`,
      `router, ${nat} NAT`,
      `${subnet}.1`,
      '          │',
      `${member.host.ipv4}`,
      `${member.name}`,
    );
  const columns = [
    home(anna, homes.anna, homeNats.anna),
    home(bert, homes.bert, homeNats.bert),
    column('          │', carol.host.ipv4, 'carol, no NAT', '', '', '', ''),
  ];
  const rows = columns[0]!.map((_, row) => `  ${columns.map((lines) => lines[row]).join('  ')}`);
  return [
    `                               server, ${server.ipv4}`,
    '                                          │',
    '  ═══════════════════════════════ the Internet ═══════════════════════════════════',
    ...rows.map((row) => row.trimEnd()),
  ].join('\n');
}

/** Starts the server and returns what clients log in with. */
export async function startServer(world: DemoWorld) {
  const directory = join(world.directory, 'server-data');
  const server = await BuriServer.start(world.server, { directory });
  world.processes.push(server.process);
  const token = await server.createToken(['--uses', '3', '--expires', '1h']);
  return { url: await server.url(), token };
}
