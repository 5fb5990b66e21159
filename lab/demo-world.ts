/** The demo's cables and programs: an Internet with a server, two homes behind NATs, a third member without one. */
import { join } from 'node:path';
import type { NetworkEntry, Verb, VerbResponse } from '#wire/local-api.ts';
import { repositoryRoot } from './exec.ts';
import { Home } from './home.ts';
import type { Host } from './host.ts';
import { Internet } from './internet.ts';
import type { Lab } from './lab.ts';
import type { LabNatKind } from './nat-kinds.ts';
import type { LabProcess } from './process.ts';

export const program = join(repositoryRoot, 'bin', 'buri');
const controlPort = 8443;

/** The two homes have different NATs; both are ordinary ones. */
export const homeNats = { anna: 'port-restricted', bert: 'address-restricted' } as const;

/** A computer with a daemon, used as a person does: through the command line. */
export class Member {
  readonly name: string;
  readonly host: Host;
  readonly stateDirectory: string;
  readonly socketPath: string;
  ipv4 = '';
  ipv6 = '';
  readonly #processes: LabProcess[];
  #daemon: LabProcess | undefined;

  constructor(name: string, host: Host, directory: string, processes: LabProcess[]) {
    this.#processes = processes;
    this.name = name;
    this.host = host;
    this.stateDirectory = join(directory, `${name}-state`);
    this.socketPath = join(directory, `${name}.sock`);
  }

  get daemon(): LabProcess {
    if (this.#daemon === undefined) throw new Error(`${this.name} has no daemon`);
    return this.#daemon;
  }

  async startDaemon(): Promise<void> {
    this.#daemon = this.host.spawn(
      program,
      ['daemon', '--state', this.stateDirectory, '--socket', this.socketPath],
      { name: `${this.name}'s daemon` },
    );
    this.#processes.push(this.#daemon);
    await this.#daemon.line(/ready/, { timeoutMs: 30_000 });
  }

  /** A client verb with its answer. Fails with the verb's own error text. */
  async buri<V extends Verb>(
    verb: V,
    args: readonly string[] = [],
    input?: string,
  ): Promise<VerbResponse<V>> {
    const words = [verb, '--socket', this.socketPath, '--json', ...args];
    const options = { timeoutMs: 120_000, ...(input === undefined ? {} : { input }) };
    const { code, stdout, stderr } = await this.host.run(program, words, options);
    if (code === 0) return JSON.parse(stdout) as VerbResponse<V>;
    const text = stdout === '' ? stderr : (JSON.parse(stdout).error.message as string);
    throw new VerbError(`${this.name}: buri ${verb}: ${text}`, stdout);
  }

  /** What a person sees. */
  table(): Promise<string> {
    return this.host.check(program, ['list', '--socket', this.socketPath]);
  }

  async network(): Promise<NetworkEntry> {
    const { networks } = await this.buri('list');
    if (networks[0] === undefined) throw new Error(`${this.name} is in no network`);
    return networks[0];
  }

  /** How this member sees another one. */
  async sees(other: Member) {
    const found = (await this.network()).members.find(({ ipv4 }) => ipv4 === other.ipv4);
    if (found === undefined) throw new Error(`${this.name} does not know ${other.name}`);
    return found;
  }
}

/** A verb ended with an error; `code` is the stable one of `--json`. */
export class VerbError extends Error {
  readonly code: string;

  constructor(message: string, stdout: string) {
    super(message);
    this.code = stdout === '' ? 'none' : JSON.parse(stdout).error.code;
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
  /** Server and daemons, in the order in which they were started. */
  readonly processes: LabProcess[];
  /** Every ordered pair of two different members. */
  readonly pairs: readonly (readonly [from: Member, to: Member])[];
}

export async function buildWorld(lab: Lab): Promise<DemoWorld> {
  const directory = lab.temporaryDirectory('demo');
  const internet = await Internet.create(lab);
  const server = await internet.host('server');
  const home = (name: string, nat: LabNatKind) => Home.create(internet, { name, nat });
  const homes = {
    anna: await home('anna', homeNats.anna),
    bert: await home('bert', homeNats.bert),
  };
  const processes: LabProcess[] = [];
  const anna = new Member('anna', homes.anna.firstHost, directory, processes);
  const bert = new Member('bert', homes.bert.firstHost, directory, processes);
  const carol = new Member('carol', await internet.host('carol'), directory, processes);
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
export async function startServer({ server, directory, processes }: DemoWorld) {
  const data = join(directory, 'server-data');
  const listen = ['--listen', `${server.ipv4}:${controlPort}`, '--public', server.ipv4];
  const running = server.spawn(program, ['server', '--data', data, ...listen], { name: 'server' });
  processes.push(running);
  await running.line(/ready/, { timeoutMs: 30_000 });
  const url = (await server.check(program, ['server', 'url', '--data', data])).trim();
  const uses = ['--uses', '3', '--expires', '1h'];
  const created = await server.check(program, [
    'server',
    'token',
    'create',
    '--data',
    data,
    ...uses,
  ]);
  return { url, token: created.trim() };
}
