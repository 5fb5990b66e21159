import { pino } from 'pino';
import { BuriError } from '#core/errors.ts';
import type { MemberInput } from '#core/member/io.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { DeviceMode, Engine, EngineEvents } from '#engine/engine.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { aborted } from './aborted.ts';
import { Client } from './client.ts';
import { SystemClock } from './clock.ts';
import { Device, mtuBytes } from './device.ts';
import { LocalApi } from './local-api.ts';
import { MemoryKeeper } from './memory.ts';
import { NetWatch } from './netwatch.ts';
import { type Notice, Notices } from './notices.ts';
import { chooseProxy, noProxy, type ProxyChoice } from './proxy.ts';
import { Sockets } from './sockets.ts';
import { StateStore } from './state.ts';
import { verbsOf } from './verbs.ts';
import { version } from './version.ts';

export interface DaemonOptions {
  readonly stateDirectory: string;
  readonly socketPath: string;
  /** Name of the virtual interface. */
  readonly device: string;
  /** What it carries: IP packets, or Ethernet frames. */
  readonly mode: DeviceMode;
  /** UDP port of the tunnels; the one of last time, or any, when absent. */
  readonly port?: number;
  /** Threads that move packets; default 1. */
  readonly engineThreads?: number;
  /** Whether programs that name no interface use it for broadcast and multicast; default true. */
  readonly lanRoutes?: boolean;
  /** `http://[USER:PASSWORD@]HOST:PORT`, or `none`; absent: what the environment says. */
  readonly proxy?: string;
  /** Whether routers are asked to lead the UDP port to this machine; default true. */
  readonly portMapping?: boolean;
  /** Whether ports of hard NATs are guessed; default true. */
  readonly hardNat?: boolean;
}

const certificateCheckMs = 86_400_000;

/**
 * Runs the client until `signal` aborts, then ends cleanly: goodbye to the server, interface and socket removed. Throws a
 * BuriError when it cannot start, or cannot go on.
 */
export async function runDaemon(options: DaemonOptions, signal: AbortSignal): Promise<void> {
  const log = pino({ name: 'buri' }, pino.destination({ dest: 2, sync: true }));
  const notices = new Notices(({ code, message }) => log.warn({ code }, message));
  const fatal = Promise.withResolvers<never>();
  fatal.promise.catch(() => {});
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await StateStore.open(options.stateDirectory, crypto, notices));
  const clock = new SystemClock();

  let client: Client | undefined;
  const engine = stack.use(
    new PacketEngine(
      eventsFor(() => client),
      {
        threads: options.engineThreads ?? 1,
        onFewerThreads: (threads, reason) => notices.add(fewerThreads(threads, reason)),
      },
    ),
  );
  const sockets = await Sockets.open({
    engine,
    notices,
    fixedPort: options.port,
    lastPort: store.settings.port,
  });
  if (store.settings.port !== sockets.port) store.update({ port: sockets.port });
  // A full disk is told now, when somebody is watching.
  await store.flush();
  const device = new Device({
    ...{ name: options.device, mode: options.mode, engine, notices },
    wantsLanRoutes: options.lanRoutes ?? true,
  });
  const proxies = proxiesOf(options.proxy, notices);
  const parts = { store, engine, device, sockets, clock, notices, proxies };
  client = new Client({
    ...parts,
    configuredPort: options.port,
    wantsPortMapping: options.portMapping ?? true,
    hardNat: options.hardNat ?? true,
    onFatal: fatal.reject,
  });
  const running = client;
  stack.defer(() => running.stop());
  // Without a login nobody would learn before the first one that there can be no interface here.
  if (!store.settings.loggedIn) await checkDevice(engine, options);

  const api = await LocalApi.listen(
    options.socketPath,
    verbsOf({ ...parts, client }),
    (error) => log.error({ err: error }, 'a request failed inside'),
    client.volunteer,
  );
  stack.use(api);
  const watch = stack.use(new NetWatch(options.device, clock, () => running.networkChanged()));
  await watch.start();
  stack.use(new MemoryKeeper());
  await client.resume();
  const timer = setInterval(() => running.renewCertificate(), certificateCheckMs);
  stack.defer(() => clearInterval(timer));
  log.info({ version, socket: options.socketPath, port: sockets.port }, 'ready');
  await Promise.race([aborted(signal), fatal.promise]);
  log.info('ending');
}

/** A proxy that was given must do; one that the environment offers to all programs is left where it does not. */
function proxiesOf(configured: string | undefined, notices: Notices): ProxyChoice {
  try {
    return chooseProxy(configured, process.env);
  } catch (error) {
    if (configured !== undefined || !(error instanceof BuriError)) throw error;
    const message = `the environment's https_proxy is not used: ${error.message}`;
    notices.add({ code: 'proxy-unusable', message });
    return noProxy;
  }
}

/** BuriError: device-busy, device-forbidden, device-missing. */
async function checkDevice(engine: Engine, { device: name, mode }: DaemonOptions): Promise<void> {
  // Any address does: it is gone again before anything can be sent.
  await engine.openDevice({ name, mode, mtuBytes, addresses: ['100.64.0.1'] });
  await engine.closeDevice();
}

/** Reports of the engine go to the member machine of the login in force. */
function eventsFor(client: () => Client | undefined): EngineEvents {
  const feed = (input: MemberInput) => client()?.driver?.feed(input);
  return {
    onDatagram: (kind, bytes, socket, remote) =>
      feed({ type: 'datagram', kind, bytes, socket, remote }),
    onWantSession: (peer) => feed({ type: 'want', peer }),
    onActivity: (activity) => feed({ type: 'activity', activity }),
    onRoam: (peer, socket, remote) => feed({ type: 'roam', peer, socket, remote }),
    onConfirmed: (peer, localIndex) => feed({ type: 'confirmed', peer, localIndex }),
    onRekeyLimit: (peer, localIndex) => feed({ type: 'rekey-limit', peer, localIndex }),
    onGroupsChanged: () => client()?.groups.changed(),
    onMessage: (peer, bytes) => feed({ type: 'message', peer, bytes }),
    onDeviceLost: (reason) => client()?.device.lost(reason),
  };
}

const fewerThreads = (threads: number, reason: Error): Notice => ({
  code: 'engine-threads',
  message: `packets are moved by ${threads} thread${threads === 1 ? '' : 's'} only: ${reason.message}`,
});
