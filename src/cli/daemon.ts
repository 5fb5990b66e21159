/** `buri daemon`: the client itself, in the foreground. */
import { Command } from 'commander';
import { exampleText } from './client-command.ts';
import { endingSignal } from './ending.ts';
import { UsageError } from './failure.ts';
import { defaultSocketPath, socketPathOf } from './local-client.ts';

const defaultStateDirectory = '/var/lib/buri';
const defaultDevice = 'buri0';
/** A clean end takes a moment. */
const endWithinMs = 8000;

interface DaemonFlags {
  readonly state?: string;
  readonly socket?: string;
  readonly device?: string;
  readonly mode?: string;
  readonly port?: string;
  readonly lanRoutes?: string;
  readonly portMapping?: string;
  readonly hardNat?: string;
  readonly engineThreads?: string;
  readonly proxy?: string;
}

export const daemonCommand = (): Command =>
  new Command('daemon')
    .description(
      'Run the client in the foreground: it keeps the connection to the server and the tunnels to the other members. ' +
        'The other commands talk to it. It logs to standard error, prints a line with "ready" when it serves, and ends ' +
        'cleanly on SIGTERM and SIGINT.',
    )
    .option(
      '--state <dir>',
      `where identity and state are kept (environment: BURI_STATE; default: ${defaultStateDirectory})`,
    )
    .option(
      '--socket <path>',
      `socket that the commands use (environment: BURI_SOCKET; default: ${defaultSocketPath})`,
    )
    .option(
      '--device <name>',
      `name of the virtual interface (environment: BURI_DEVICE; default: ${defaultDevice})`,
    )
    .option(
      '--mode <tun|tap>',
      'what the interface carries: IP packets, or Ethernet frames with any protocol in them, such as IPX ' +
        '(BURI_MODE; default: tun)',
    )
    .option('--port <n>', 'UDP port of the tunnels; without it the one of last time (BURI_PORT)')
    .option(
      '--lan-routes <on|off>',
      'whether broadcast and multicast of programs that name no interface goes to the members (BURI_LAN_ROUTES; default: on)',
    )
    .option(
      '--port-mapping <on|off>',
      'whether the router is asked, by PCP, NAT-PMP or UPnP, to lead the UDP port to this machine (BURI_PORT_MAPPING; default: on)',
    )
    .option(
      '--hard-nat <on|off>',
      'whether ports of a NAT are guessed where nothing else makes a direct path: up to 1,024 probes and 256 sockets for ' +
        'some seconds (BURI_HARD_NAT; default: on)',
    )
    .option(
      '--engine-threads <n>',
      'threads that move packets: more than one pays on a machine with cores to spare that several peers keep busy ' +
        '(BURI_ENGINE_THREADS; default: 1)',
    )
    .option(
      '--proxy <url>',
      'HTTP proxy for the connection to the server: http://[USER:PASSWORD@]HOST:PORT, or none (BURI_PROXY, where no ' +
        "list of processes shows the password; default: the environment's https_proxy and no_proxy)",
    )
    .addHelpText(
      'after',
      exampleText([
        ['buri daemon', 'as root, with everything in its usual place'],
        ['buri daemon --port 41641', 'with a port that the router forwards'],
        ['buri daemon --mode tap', 'with an interface for Ethernet frames'],
        ['buri daemon --state /tmp/b --socket /tmp/b.sock --device buri1', 'a second one'],
      ]),
    )
    .action(async (flags: DaemonFlags) => {
      const { runDaemon } = await import('#client/daemon.ts');
      const port = portOf(flags.port ?? process.env.BURI_PORT);
      const proxy = await proxyOf(flags.proxy ?? process.env.BURI_PROXY);
      const ending = endingSignal(endWithinMs);
      await runDaemon(
        {
          stateDirectory: flags.state ?? (process.env.BURI_STATE || defaultStateDirectory),
          socketPath: socketPathOf(flags.socket),
          device: deviceOf(flags.device ?? (process.env.BURI_DEVICE || defaultDevice)),
          mode: modeOf(flags.mode ?? (process.env.BURI_MODE || 'tun')),
          engineThreads: threadsOf(flags.engineThreads ?? (process.env.BURI_ENGINE_THREADS || '1')),
          lanRoutes: switchOf(
            '--lan-routes',
            flags.lanRoutes ?? (process.env.BURI_LAN_ROUTES || 'on'),
          ),
          portMapping: switchOf(
            '--port-mapping',
            flags.portMapping ?? (process.env.BURI_PORT_MAPPING || 'on'),
          ),
          hardNat: switchOf('--hard-nat', flags.hardNat ?? (process.env.BURI_HARD_NAT || 'on')),
          ...(port === undefined ? {} : { port }),
          ...(proxy === undefined ? {} : { proxy }),
        },
        ending,
      );
      // Nothing is left to do; a handle that some library forgot must not keep the process.
      process.exit(0);
    });

function portOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65_535) {
    throw new UsageError('--port takes a number from 1 to 65535');
  }
  return port;
}

async function proxyOf(text: string | undefined): Promise<string | undefined> {
  if (text === undefined || text === '') return undefined;
  const { chooseProxy } = await import('#client/proxy.ts');
  try {
    chooseProxy(text, {});
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  return text;
}

function modeOf(text: string): 'tun' | 'tap' {
  if (text === 'tun' || text === 'tap') return text;
  throw new UsageError('--mode takes tun or tap');
}

function switchOf(flag: string, text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw new UsageError(`${flag} takes on or off`);
}

/** Bounds as those of the engine (`MAX_THREADS`), which is not loaded yet. */
function threadsOf(text: string): number {
  const threads = Number(text);
  if (!/^[0-9]{1,2}$/.test(text) || threads < 1 || threads > 16) {
    throw new UsageError('--engine-threads takes a number from 1 to 16');
  }
  return threads;
}

/** IFNAMSIZ is 16 with its zero. */
function deviceOf(name: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/.test(name)) {
    throw new UsageError('--device takes a name of 1 to 15 letters, digits, and . _ -');
  }
  return name;
}
