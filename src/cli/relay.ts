/** `buri relay`: a relay of its own, in the foreground. */
import { Command, Option } from 'commander';
import { exampleText } from './client-command.ts';
import { UsageError } from './failure.ts';

export interface RelayFlags {
  readonly data: string;
  readonly server: string;
  readonly token?: string | undefined;
  readonly relay: string;
  readonly listen?: string | undefined;
  readonly public?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
  readonly logLevel: string;
}

/** Draining takes 10 s; beyond this the end has failed, and the process ends as it is. */
const endWithinMs = 15_000;

export const relayCommand = (): Command =>
  new Command('relay')
    .description(
      'Run a relay in the foreground: it forwards sealed packets between members that have no direct path, and can read ' +
        'none of them. It keeps its key in the directory given by --data, logs to standard error, prints one line with ' +
        "'ready' when it serves, and ends cleanly on SIGTERM and SIGINT. Every option can be given in the environment as " +
        'well, as BURI_DATA, BURI_SERVER and so on.',
    )
    .addOption(new Option('--data <dir>', 'directory of the relay').env('BURI_DATA'))
    .addOption(
      new Option('--server <url>', "what 'buri server url' prints on the server, with its key").env(
        'BURI_SERVER',
      ),
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
        'name or address by which members reach it (default: where its own connection comes from)',
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
      ]),
    )
    .action(async (flags: Partial<RelayFlags> & Pick<RelayFlags, 'relay' | 'logLevel'>) => {
      const { data, server } = flags;
      if (data === undefined) throw new UsageError('--data DIR is required');
      if (server === undefined) throw new UsageError('--server URL is required');
      if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined))
        throw new UsageError('--tls-cert and --tls-key are given together');
      const { runRelay } = await import('./relay-program.ts');
      const ending = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          if (!ending.signal.aborted) setTimeout(() => process.exit(1), endWithinMs).unref();
          ending.abort();
        });
      }
      await runRelay({ ...flags, data, server }, ending.signal);
      process.exit(0);
    });
