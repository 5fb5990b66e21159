/**
 * A tunnel client without a server: keys, peers and addresses from one JSON file, for tests and measurements of tunnels.
 *
 *     static-peer.ts FILE
 *
 * Creates the device, gives it its addresses and the routes to its peers with `ip`, prints `ready PORT` and then a line of
 * JSON for every session that comes up, goes down or fails. SIGTERM ends it; SIGUSR1 prints the counters. The times of
 * the sessions can be shortened; everything else is what the daemon uses.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { AeadSuite } from '#core/crypto.ts';
import type { Path } from '#core/path/path.ts';
import type { SessionInput, SessionOutput } from '#core/session/events.ts';
import { type SessionTimes, wireguardTimes } from '#core/session/times.ts';
import { Tunnels } from '#core/session/tunnels.ts';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { type AddressFamily, familyOf, parseEndpoint } from '#wire/endpoint.ts';

/** Keys are base64, as `wg` prints them. */
export interface StaticPeerConfig {
  readonly device: string;
  readonly mtuBytes?: number;
  /** Of the device, `address/length`. */
  readonly addresses: readonly string[];
  readonly port: number;
  readonly privateKey: string;
  /** Holds the high-water mark of timestamps from run to run. */
  readonly timestampFile?: string;
  readonly times?: Partial<SessionTimes>;
  /** Byte work in TypeScript. */
  readonly portable?: boolean;
  readonly peers: readonly StaticPeer[];
}

export interface StaticPeer {
  readonly publicKey: string;
  /** All zero when absent, as for a stock WireGuard peer. */
  readonly psk?: string;
  readonly suite?: AeadSuite;
  /** `address:port`; a peer without one is answered, and known from then on. */
  readonly endpoint?: string;
  /** `address/length`: what is routed to it, and what it may send from. */
  readonly innerPrefixes: readonly string[];
  readonly persistentKeepaliveMs?: number;
}

const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'));

class StaticClient {
  readonly #config: StaticPeerConfig;
  readonly #engine: PacketEngine;
  readonly #tunnels: Tunnels;
  readonly #paths = new Map<number, Path>();
  #sockets: Partial<Record<AddressFamily, number>> = {};
  #timer: NodeJS.Timeout | undefined;

  constructor(config: StaticPeerConfig) {
    this.#config = config;
    const privateKey = bytes(config.privateKey);
    const publicKey = nodeCrypto.x25519PublicKey(privateKey);
    const lastTimestamp = readTimestamp(config.timestampFile);
    this.#tunnels = new Tunnels({
      crypto: nodeCrypto,
      keyPair: { privateKey, publicKey },
      times: { ...wireguardTimes, ...config.times },
      ...(lastTimestamp === undefined ? {} : { lastTimestamp }),
    });
    const events = {
      onDatagram: (
        kind: string,
        datagram: Uint8Array,
        socket: number,
        remote: Path['remote'],
      ): void => {
        if (kind === 'stun' || kind === 'buri') return;
        this.handle({
          kind: 'datagram',
          datagram: kind as 'handshake-initiation',
          bytes: datagram,
          from: { socket, remote },
        });
      },
      onWantSession: (peer: number) => this.handle({ kind: 'want-session', peer }),
      onActivity: (activity: Extract<SessionInput, { kind: 'activity' }>['activity']) =>
        this.handle({ kind: 'activity', activity }),
      onRoam: (peer: number, socket: number, remote: Path['remote']) =>
        this.#setPath(peer, { socket, remote }),
      onConfirmed: (peer: number, localIndex: number) =>
        this.handle({ kind: 'confirmed', peer, localIndex }),
      onRekeyLimit: (peer: number, localIndex: number) =>
        this.handle({ kind: 'rekey-limit', peer, localIndex }),
      onGroupsChanged: () => {},
      onMessage: () => {},
      onDeviceLost: (reason: string) => fail(`the device is lost: ${reason}`),
    };
    this.#engine = new PacketEngine(events, { portable: config.portable ?? false });
    this.#engine.setLocalPublicKey(publicKey);
  }

  /** Returns the UDP port. */
  async start(): Promise<number> {
    const { device: name, mtuBytes = 1420, addresses, peers } = this.#config;
    const own = addresses.map((address) => address.split('/')[0]!);
    await this.#engine.openDevice({ name, mode: 'tun', mtuBytes, addresses: own });
    const v4 = await this.#engine.openSocket({ family: 4, port: this.#config.port });
    const v6 = await this.#engine.openSocket({ family: 6, port: v4.port });
    this.#sockets = { 4: v4.socket, 6: v6.socket };
    for (const [peer, settings] of peers.entries()) this.#addPeer(peer, settings);
    for (const address of addresses) ip('addr', 'replace', address, 'dev', name);
    ip('link', 'set', name, 'mtu', String(mtuBytes), 'up');
    for (const prefix of peers.flatMap(({ innerPrefixes }) => innerPrefixes)) {
      ip('route', 'replace', prefix, 'dev', name);
    }
    return v4.port;
  }

  handle(input: SessionInput): void {
    this.#tunnels.handle(input, now());
    for (let output = this.#tunnels.poll(); output !== undefined; output = this.#tunnels.poll()) {
      this.#do(output);
    }
    const deadline = this.#tunnels.deadline();
    clearTimeout(this.#timer);
    if (deadline === undefined) return;
    const delayMs = Math.max(0, Math.ceil(deadline - performance.now()));
    this.#timer = setTimeout(() => this.handle({ kind: 'tick' }), delayMs);
  }

  counters(): object {
    return { session: this.#tunnels.counters(), engine: this.#engine.counters() };
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#engine.closeDevice();
    await this.#engine[Symbol.asyncDispose]();
  }

  #addPeer(peer: number, settings: StaticPeer): void {
    const { publicKey, psk, suite = 'chacha20poly1305', innerPrefixes } = settings;
    this.#engine.setPeer(peer, { innerPrefixes });
    const candidate = { psk: psk === undefined ? new Uint8Array(32) : bytes(psk), suite };
    this.handle({
      kind: 'add-peer',
      peer,
      publicKey: bytes(publicKey),
      pskCandidates: [candidate],
      persistentKeepaliveMs: settings.persistentKeepaliveMs ?? 0,
    });
    if (settings.endpoint === undefined) return;
    const remote = parseEndpoint(settings.endpoint);
    if (remote === undefined) fail(`'${settings.endpoint}' is no endpoint`);
    this.#setPath(peer, { socket: this.#sockets[familyOf(remote.address)]!, remote });
  }

  #setPath(peer: number, path: Path): void {
    this.#paths.set(peer, path);
    this.#engine.setPath(peer, path);
    this.handle({ kind: 'update-peer', peer, pathAvailable: true });
  }

  #do(output: SessionOutput): void {
    switch (output.kind) {
      case 'send-datagram': {
        const path = output.to === 'current-path' ? this.#paths.get(output.peer!) : output.to;
        if (path !== undefined) this.#engine.sendDatagram(path.socket, path.remote, output.bytes);
        break;
      }
      case 'heard': {
        // Not from inside the machine: the path is told to it as well.
        const { peer, from } = output;
        this.#paths.set(peer, from);
        this.#engine.setPath(peer, from);
        queueMicrotask(() => this.handle({ kind: 'update-peer', peer, pathAvailable: true }));
        break;
      }
      case 'install-keys':
        this.#engine.installKeys(output.keys);
        output.keys.sendKey.fill(0);
        output.keys.receiveKey.fill(0);
        break;
      case 'activate-keys':
        this.#engine.activateKeys(output.localIndex);
        break;
      case 'remove-keys':
        this.#engine.removeKeys(output.localIndex);
        break;
      case 'send-keepalive':
        this.#engine.sendKeepalive(output.peer);
        break;
      case 'persist-timestamp':
        if (this.#config.timestampFile !== undefined) {
          writeFileSync(this.#config.timestampFile, Buffer.from(output.timestamp).toString('hex'));
        }
        break;
      case 'session-up':
      case 'session-down':
      case 'handshake-failed':
        console.log(JSON.stringify(output));
        break;
      default:
        output satisfies never;
    }
  }
}

function readTimestamp(file: string | undefined): Uint8Array | undefined {
  if (file === undefined) return undefined;
  try {
    return new Uint8Array(Buffer.from(readFileSync(file, 'latin1'), 'hex'));
  } catch {
    return undefined; // the first run
  }
}

const now = (): Now => ({ monotonic: monotonicMs(performance.now()), wall: wallMs(Date.now()) });

const ip = (...args: string[]): void => {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
};

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const config = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as StaticPeerConfig;
  const client = new StaticClient(config);
  console.log(`ready ${await client.start()}`);
  process.on('SIGUSR1', () => console.log(JSON.stringify({ counters: client.counters() })));
  process.once('SIGTERM', () => void client.stop().then(() => process.exit(0)));
}
