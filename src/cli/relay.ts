/** `buri relay`: a relay of its own, in the foreground. */
import { Command, Option } from 'commander';
import { exampleText } from './client-command.ts';
import { endingSignal } from './ending.ts';
import { UsageError } from './failure.ts';
import { socketPathOf } from './local-client.ts';

export interface RelayFlags {
  readonly data?: string | undefined;
  readonly relay: string;
  readonly listen?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
  readonly logLevel: string;
}

/** Of the operator, with a connection of its own. */
export interface StandaloneFlags extends RelayFlags {
  readonly data: string;
  readonly server: string;
  readonly token?: string | undefined;
  readonly public?: string | undefined;
}

/** Of a member, beside its daemon. */
export interface VolunteerFlags extends RelayFlags {
  readonly socket: string;
}

type Flags = RelayFlags & Partial<StandaloneFlags & VolunteerFlags>;

/** Draining takes 10 s. */
const endWithinMs = 15_000;

export const relayCommand = (): Command =>
  new Command('relay')
    .description(
      'Run a relay in the foreground: it forwards sealed packets between members that have no direct path, and can read ' +
        'none of them. With --server it is a relay of the operator, for all members. With --socket it volunteers beside the ' +
        'daemon of this computer, for the members of the networks that the daemon is online in, where the server can reach ' +
        "its UDP port. It logs to standard error, prints one line with 'ready' when it serves, and ends cleanly on SIGTERM " +
        'and SIGINT. Every option can be given in the environment as well, as BURI_DATA, BURI_SERVER and so on.',
    )
    .addOption(
      new Option(
        '--data <dir>',
        'directory with its key (with --socket it can be left out: a new key at each start)',
      ).env('BURI_DATA'),
    )
    .addOption(
      new Option('--server <url>', "what 'buri server url' prints on the server, with its key").env(
        'BURI_SERVER',
      ),
    )
    .addOption(
      new Option(
        '--socket <path>',
        'in place of --server: the socket of the daemon to volunteer with',
      ).env('BURI_SOCKET'),
    )
    .addOption(
      new Option('--token <token>', "of 'buri server token create --relay'; needed once").env(
        'BURI_TOKEN',
      ),
    )
    .addOption(
      new Option('--relay <host:port>', 'UDP address to relay at')
        .default('*:3480')
        .env('BURI_RELAY'),
    )
    .addOption(
      new Option(
        '--listen <host:port>',
        'TCP address for those whose UDP is blocked (default: none)',
      ).env('BURI_LISTEN'),
    )
    .addOption(
      new Option(
        '--public <host>',
        'name or address by which members reach it (default: its public addresses; behind a NAT, where its connection comes from)',
      ).env('BURI_PUBLIC'),
    )
    .addOption(
      new Option('--tls-cert <file>', 'TLS certificate chain for --listen').env('BURI_TLS_CERT'),
    )
    .addOption(new Option('--tls-key <file>', 'its private key').env('BURI_TLS_KEY'))
    .addOption(
      new Option('--log-level <level>', 'how much is logged')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info')
        .env('BURI_LOG_LEVEL'),
    )
    .addHelpText(
      'after',
      exampleText([
        [
          'buri relay --data /var/lib/buri-relay --server buri://vpn.example.org:8443#KEY --token TOKEN',
          'the first time',
        ],
        ['buri relay --data DIR --server URL --listen *:443 --public relay.example.org', 'TCP too'],
        ['buri relay --socket /run/buri/buri.sock', 'for the members of your own networks'],
      ]),
    )
    .action(async (flags: Flags, command: Command) => {
      if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined))
        throw new UsageError('--tls-cert and --tls-key are given together');
      const run = await programOf(flags, command);
      await run(endingSignal(endWithinMs));
      process.exit(0);
    });

/** UsageError: neither kind of relay, or both. */
async function programOf(
  flags: Flags,
  command: Command,
): Promise<(signal: AbortSignal) => Promise<void>> {
  const { data, server, socket } = flags;
  const isTyped = (name: string) => command.getOptionValueSource(name) === 'cli';
  // BURI_SOCKET and BURI_SERVER may be there for other commands.
  const volunteers = socket !== undefined && (server === undefined || isTyped('socket'));
  if (volunteers && isTyped('server'))
    throw new UsageError('--socket and --server exclude each other: one daemon, or one server');
  if (!volunteers) {
    if (server === undefined)
      throw new UsageError('--server URL is required, or --socket PATH to volunteer with a daemon');
    if (data === undefined) throw new UsageError('--data DIR is required');
    const { runRelay } = await import('./relay-program.ts');
    return (signal) => runRelay({ ...flags, data, server }, signal);
  }
  for (const name of ['token', 'public']) {
    if (isTyped(name))
      throw new UsageError(`--${name} belongs to --server; a volunteer is where its daemon is`);
  }
  const { runVolunteer } = await import('./relay-volunteer.ts');
  return (signal) => runVolunteer({ ...flags, socket: socketPathOf(socket) }, signal);
}
