/** `buri server`: runs a server; with a further word, manages one. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { aborted } from '#client/aborted.ts';
import type { TicketLimits } from '#server/coordinator/relays/tickets.ts';
import type { Log } from '#server/log.ts';
import { exampleText } from './client-command.ts';
import { endingSignal } from './ending.ts';
import { UsageError } from './failure.ts';
import { onHangUp } from './hang-up.ts';
import {
  serverBackupCommand,
  serverMigrateCommand,
  serverRestoreCommand,
} from './server-backup.ts';
import {
  serverClientsCommand,
  serverNetworksCommand,
  serverRemoveCommand,
  serverRenumberCommand,
  serverStatusCommand,
} from './server-list.ts';
import { serverRelaysCommand } from './server-relays.ts';
import { serverTokenCommand, serverUrlCommand } from './server-token.ts';

/** Clients are sent to other nodes, and what they asked is answered. */
const endWithinMs = 40_000;

interface ServerFlags {
  readonly data?: string;
  readonly listen?: readonly string[];
  readonly stun: string;
  readonly relay: string;
  readonly roles: readonly Role[];
  readonly public?: string;
  readonly store?: string;
  readonly fabric?: string;
  readonly clusterKey?: string;
  readonly metrics?: string;
  readonly enrol: 'token' | 'open' | 'closed';
  readonly pool4: string;
  readonly grace: number;
  readonly relayClientRate: TicketLimits;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly logLevel: string;
}

const roles = ['control', 'stun', 'relay'] as const;
type Role = (typeof roles)[number];

const examples = [
  ['buri server --data /var/lib/buri-server --public vpn.example.org', 'run a server'],
  ['buri server url --data /var/lib/buri-server', 'what clients log in to'],
  ['buri server token create --data /var/lib/buri-server', 'let one device enrol'],
  ['buri server clients --data /var/lib/buri-server', 'who is enrolled, who is online'],
] as const;

const details =
  'Run a server in the foreground, or manage it.\n\n' +
  'It keeps everything in the directory given by --data, logs to standard error, prints one line with ' +
  "'ready' when it serves, and ends cleanly on SIGTERM and SIGINT. Every option can be given in the " +
  'environment as well, as BURI_DATA, BURI_LISTEN and so on.';

export function serverCommand(): Command {
  const command = new Command('server').description(details).enablePositionalOptions();
  command
    .addOption(new Option('--data <dir>', 'directory of the server').env('BURI_DATA'))
    .addOption(
      new Option('--listen <host:port>', 'where clients log in; may be repeated (default: *:8443)')
        .argParser(listed)
        .env('BURI_LISTEN'),
    )
    .addOption(
      new Option('--stun <host:port,host:port>', "two UDP addresses for STUN, or 'none'")
        .default('*:3478,*:3479')
        .env('BURI_STUN'),
    )
    .addOption(
      new Option('--relay <host:port>', "UDP address of the relay, or 'none'")
        .default('*:3480')
        .env('BURI_RELAY'),
    )
    .addOption(
      new Option('--roles <role,role>', 'what this server does: control, stun, relay')
        .argParser(rolesOf)
        .default(roles, roles.join(','))
        .env('BURI_ROLES'),
    )
    .addOption(
      new Option('--public <host>', 'name or address by which clients reach this machine').env(
        'BURI_PUBLIC',
      ),
    )
    .addOption(
      new Option(
        '--store <where>',
        'database: sqlite:PATH or postgres://… (default: buri.db in the directory)',
      ).env('BURI_STORE'),
    )
    .addOption(
      new Option('--fabric <nats://…>', 'NATS that joins the nodes of a cluster').env(
        'BURI_FABRIC',
      ),
    )
    .addOption(
      new Option(
        '--cluster-key <file>',
        'the key that all nodes of a cluster share (default: cluster.key in the directory)',
      ).env('BURI_CLUSTER_KEY'),
    )
    .addOption(
      new Option(
        '--metrics <host:port>',
        'where /healthz, /readyz and /metrics are (default: nowhere)',
      ).env('BURI_METRICS'),
    )
    .addOption(
      new Option('--enrol <who>', 'which new devices may enrol')
        .choices(['token', 'open', 'closed'])
        .default('token')
        .env('BURI_ENROL'),
    )
    .addOption(
      new Option('--pool4 <cidr>', 'virtual IPv4 addresses')
        .default('100.64.0.0/10')
        .env('BURI_POOL4'),
    )
    .addOption(
      new Option('--grace <seconds>', "how long a lost client is 'unconfirmed'")
        .argParser(graceSeconds)
        .default(60)
        .env('BURI_GRACE'),
    )
    .addOption(
      new Option(
        '--relay-client-rate <rate>',
        'what each client may send through a relay: bits a second, and packets a second if wanted',
      )
        .argParser(relayRate)
        .default(relayRate('100M,20000'), '100M,20000')
        .env('BURI_RELAY_CLIENT_RATE'),
    )
    .addOption(
      new Option('--tls-cert <file>', 'TLS certificate chain; clients then use buris://').env(
        'BURI_TLS_CERT',
      ),
    )
    .addOption(new Option('--tls-key <file>', 'its private key').env('BURI_TLS_KEY'))
    .addOption(
      new Option('--log-level <level>', 'how much is logged')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info')
        .env('BURI_LOG_LEVEL'),
    )
    .addHelpText('after', exampleText(examples));
  for (const verb of [
    serverStatusCommand(),
    serverUrlCommand(),
    serverTokenCommand(),
    serverClientsCommand(),
    serverNetworksCommand(),
    serverRelaysCommand(),
    serverRemoveCommand(),
    serverRenumberCommand(),
    serverBackupCommand(),
    serverRestoreCommand(),
    serverMigrateCommand(),
  ])
    command.addCommand(verb);
  return command.allowExcessArguments().action(async (_options: unknown, self: Command) => {
    const [word] = self.args;
    if (word !== undefined) {
      const words = self.commands.map((verb) => verb.name()).join(', ');
      throw new UsageError(`'server' has no command '${word}'; it has: ${words}`);
    }
    await runServer(self.opts<ServerFlags>());
  });
}

async function runServer(flags: ServerFlags): Promise<void> {
  if (flags.data === undefined) throw new UsageError('--data DIR is required');
  if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined))
    throw new UsageError('--tls-cert and --tls-key are given together');
  const stun = flags.roles.includes('stun') ? stunAddresses(flags.stun) : [];
  const { Server } = await import('#server/server.ts');
  const { createLog } = await import('#server/log.ts');
  const log = createLog(flags.logLevel);
  // Before anything is waited for: the first process of a container has no signals but those that it takes.
  const ending = endingSignal(endWithinMs);
  const operations =
    flags.metrics === undefined ? undefined : await openOperations(flags.metrics, log);
  const server = await Server.start({
    ...{ ...operations, ending },
    fabric: flags.fabric,
    clusterKeyFile: flags.clusterKey,
    data: flags.data,
    listen: flags.listen ?? ['*:8443'],
    stun,
    public: flags.public,
    store: flags.store,
    enrol: flags.enrol,
    pool4: flags.pool4,
    graceMs: flags.grace * 1000,
    relayLimits: flags.relayClientRate,
    tls:
      flags.tlsCert === undefined || flags.tlsKey === undefined
        ? undefined
        : { certificatePath: flags.tlsCert, keyPath: flags.tlsKey },
    log,
  }).catch((error) => {
    if (!ending.aborted) throw error;
    log.info({ reason: error.message }, 'ending before it has started');
    process.exit(0);
  });
  operations?.readiness.set('start', undefined);
  let endRelay: (() => Promise<void>) | undefined;
  if (flags.roles.includes('relay') && flags.relay !== 'none') {
    const { startServerRelay } = await import('./server-relay.ts');
    try {
      endRelay = startServerRelay(server.relayHost, flags.relay, log);
    } catch (error) {
      await server.close();
      throw error;
    }
  }
  onHangUp(() => server.reloadTls(), log);
  await aborted(ending);
  log.info('ending');
  await endRelay?.();
  await server.close();
  // What clients have left open (a kept-alive socket, a timer of a library) is no reason to stay.
  process.exit(0);
}

/** Before the server: a database that is waited for is a reason to look. */
async function openOperations(text: string, log: Log) {
  const { OperationsEndpoint, Readiness } = await import('#server/operations/endpoint.ts');
  const { Metrics } = await import('#server/operations/metrics.ts');
  const { parseListenAddress } = await import('#server/listen-address.ts');
  const { version } = await import('#server/version.ts');
  const readiness = new Readiness();
  readiness.set('start', 'the server starts');
  const metrics = new Metrics(version);
  const address = parseListenAddress(text, '--metrics');
  const { port } = await OperationsEndpoint.open(address, readiness, metrics);
  log.info({ port }, 'metrics');
  return { readiness, metrics };
}

/** Repeated, or a list with commas as the environment gives it. */
function listed(text: string, previous: readonly string[] | undefined): readonly string[] {
  const more = text.split(',').filter((part) => part !== '');
  if (more.length === 0) throw new InvalidArgumentError('expected HOST:PORT.');
  return [...(previous ?? []), ...more];
}

function stunAddresses(text: string): readonly string[] {
  if (text === 'none') return [];
  const addresses = text.split(',').filter((part) => part !== '');
  if (addresses.length < 1 || addresses.length > 2)
    throw new UsageError(
      "--stun takes HOST:PORT,HOST:PORT (two, so that NATs can be told apart) or 'none'",
    );
  return addresses;
}

const rateUnits: Record<string, number> = { k: 1e3, M: 1e6, G: 1e9 };
/** A packet of this size on average, when only bits are given. */
const averagePacketBytes = 625;

/** `100M`: bits a second; `100M,20000`: and packets a second. */
function relayRate(text: string): TicketLimits {
  const match = /^([1-9][0-9]{0,5})([kMG])(?:,([1-9][0-9]{0,8}))?$/.exec(text);
  const bits = match === null ? 0 : Number(match[1]) * rateUnits[match[2]!]!;
  if (match === null || bits < 64_000 || bits > 1e12)
    throw new InvalidArgumentError('expected bits a second like 500k, 100M, 1G, or 100M,20000.');
  const bytesPerSecond = Math.round(bits / 8);
  const packets = Math.max(100, Math.round(bytesPerSecond / averagePacketBytes));
  return { bytesPerSecond, packetsPerSecond: match[3] === undefined ? packets : Number(match[3]) };
}

/** A server is always in control; other roles can be left to other machines. */
function rolesOf(text: string): readonly Role[] {
  const named = text.split(',');
  const known = roles.filter((role) => named.includes(role));
  if (known.length !== named.length || !known.includes('control'))
    throw new InvalidArgumentError(`expected some of ${roles.join(',')}, control among them.`);
  return known;
}

function graceSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^[0-9]+([.][0-9]+)?$/.test(text) || seconds > 3600)
    throw new InvalidArgumentError('expected seconds from 0 to 3600.');
  return seconds;
}
