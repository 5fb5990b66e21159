/**
 * Clients with their path machines and discovery, a server that only forwards signals, and the network between: everything
 * that finding a path needs, without tunnels. The data plane is a stub that sends counted packets over the path in use.
 */
import type { Crypto } from '#core/crypto.ts';
import { type Discovered, Discovery } from '#core/discovery/discovery.ts';
import type { PathOutput, PeerPathView } from '#core/path/io.ts';
import type { Path } from '#core/path/path.ts';
import { Paths } from '#core/path/paths.ts';
import type { Now } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { readProbeHeader } from '#wire/probe.ts';
import type { Candidate, NatBehaviour } from '#wire/signal.ts';
import { looksLikeStun } from '#wire/stun.ts';
import { type NatKind, natKind } from '../lab/nat-kinds.ts';
import { type Scheduled, VirtualClock } from './clock.ts';
import { type Home, type HomeOptions, type Host, type LinkOptions, Network } from './network.ts';
import { deterministicCrypto, Random } from './random.ts';
import { StunServer } from './stun-server.ts';

/** Round trip of a control connection, and how far ahead the server announces a punch. */
const signalDelayMs = 25;
const punchInMs = 50;
const dataMagic = 0xda;

interface Told {
  readonly candidates: readonly Candidate[];
  readonly nat: NatBehaviour;
}

export class PathWorld {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly network: Network;
  readonly stun: StunServer;
  readonly clients: PathClient[] = [];
  /** False: no signal gets through. */
  serverUp = true;
  signals = 0;

  constructor(seed: number | string, link: Partial<LinkOptions> = {}) {
    this.random = new Random(seed);
    this.network = new Network(this.clock, this.random.fork('network'), link);
    this.stun = new StunServer(this.network.internet.host('server', ['203.0.113.1']));
  }

  home(kind: NatKind, options: Partial<HomeOptions> = {}): Home {
    const index = this.clients.length + 1;
    const publicAddress = `198.51.100.${index}`;
    return this.network.home({ name: `home${index}`, kind, publicAddress, ...options });
  }

  /** A client in a home of its own, of the given kind. */
  clientBehind(kind: NatKind, options: Partial<HomeOptions> = {}): PathClient {
    const index = this.clients.length + 1;
    const home = this.home(kind, options);
    const address = natKind(kind).mapping === 'none' ? `198.18.${index}.2` : `192.168.${index}.2`;
    return this.client(home.host(`client${index}`, [address]), home);
  }

  client(host: Host, home?: Home): PathClient {
    const client = new PathClient(this, this.clients.length, host, home);
    this.clients.push(client);
    return client;
  }

  /** Every client gets to know every other one. */
  introduceAll(): void {
    for (const client of this.clients) {
      for (const other of this.clients) if (other !== client) client.meet(other);
    }
  }

  run(durationMs: number): void {
    this.clock.run(durationMs);
  }

  /** Runs until the condition holds; how long that took, or undefined when it did not within the bound. */
  runUntil(condition: () => boolean, boundMs: number): number | undefined {
    const start = this.clock.monotonic;
    while (!condition()) {
      const { next } = this.clock;
      if (next === undefined || next > start + boundMs) return undefined;
      this.clock.step();
    }
    return this.clock.monotonic - start;
  }

  /** Protocol §6: offer, answer, and both begin together. */
  offer(from: PathClient, to: PathClient): void {
    if (!this.serverUp) return;
    this.signals += 1;
    const told = from.told;
    this.clock.in(signalDelayMs, () => {
      if (!this.serverUp || to.stopped) return;
      to.discovery.input({ type: 'recheck' });
      to.paths.input({ type: 'remote-candidates', peer: from.index, ...told });
      const answer = to.told;
      this.clock.in(signalDelayMs, () => {
        if (!this.serverUp) return;
        to.paths.input({ type: 'punch', peer: from.index, inMs: punchInMs });
        if (from.stopped) return;
        from.paths.input({ type: 'remote-candidates', peer: to.index, ...answer });
        from.paths.input({ type: 'punch', peer: to.index, inMs: punchInMs });
      });
    });
  }
}

/** Drives a sans-IO machine by the virtual clock. */
class Driver<Input, Output> {
  readonly #machine: Machine<Input, Output>;
  readonly #clock: VirtualClock;
  readonly #act: (output: Output) => void;
  #tick: Scheduled | undefined;
  stopped = false;

  constructor(machine: Machine<Input, Output>, clock: VirtualClock, act: (output: Output) => void) {
    this.#machine = machine;
    this.#clock = clock;
    this.#act = act;
  }

  input(input: Input | { type: 'tick' }): void {
    if (this.stopped) return;
    this.#machine.handle(input, this.#clock.now);
    for (let out = this.#machine.poll(); out !== undefined; out = this.#machine.poll()) {
      this.#act(out);
    }
    this.#tick?.cancel();
    const at = this.#machine.deadline();
    this.#tick =
      at === undefined ? undefined : this.#clock.at(at, () => this.input({ type: 'tick' }));
  }
}

interface Machine<Input, Output> {
  handle(input: Input | { type: 'tick' }, now: Now): void;
  poll(): Output | undefined;
  deadline(): number | undefined;
}

export class PathClient {
  readonly index: number;
  readonly host: Host;
  home: Home | undefined;
  readonly machine: Paths;
  readonly paths: Driver<Parameters<Paths['handle']>[0], PathOutput>;
  readonly discovery: Driver<
    Parameters<Discovery['handle']>[0],
    ReturnType<Discovery['poll']> & object
  >;
  readonly publicKey: Uint8Array;
  readonly port: number;
  /** What it tells peers. */
  told: Told = { candidates: [], nat: { mapping: 'unknown', filtering: 'unknown' } };
  #lie: ((told: Told) => Told) | undefined;
  discovered: Discovered | undefined;
  /** Data packets that arrived, by sender. */
  readonly received = new Map<number, number>();
  /** Everything the path machine said of peers. */
  readonly events: { atMs: number; output: PathOutput }[] = [];
  probesSent = 0;
  moves = 0;
  /** Requests that left, and the addresses that any probe ever came from. */
  readonly requests: { readonly atMs: number; readonly to: string }[] = [];
  readonly heardFrom = new Set<string>();
  readonly #world: PathWorld;
  readonly #crypto: Crypto;
  readonly #roamedAt = new Map<number, number>();

  constructor(world: PathWorld, index: number, host: Host, home: Home | undefined) {
    this.#world = world;
    this.index = index;
    this.host = host;
    this.home = home;
    this.port = 41_641 + index;
    this.#crypto = deterministicCrypto(nodeCrypto, world.random.fork(`client ${index}`));
    const privateKey = this.#crypto.random(32);
    this.publicKey = this.#crypto.x25519PublicKey(privateKey);
    this.machine = new Paths({ crypto: this.#crypto, tunnelPrivateKey: privateKey });
    this.paths = new Driver(this.machine, world.clock, (output) => this.#act(output));
    const discovery = new Discovery({ crypto: this.#crypto });
    this.discovery = new Driver(discovery, world.clock, (output) => this.#discovered(output));
    host.bind(this.port, (bytes, remote) => this.#receive(bytes, remote));
    this.#open();
    this.discovery.input({ type: 'servers', servers: world.stun.endpoints });
  }

  get stopped(): boolean {
    return this.paths.stopped;
  }

  meet(other: PathClient): void {
    this.paths.input({
      type: 'add-peer',
      peer: other.index,
      tunnelPublicKey: other.publicKey,
      clientId: `000-000-${String(other.index).padStart(3, '0')}`,
    });
  }

  pathTo(other: PathClient): Path | undefined {
    return this.machine.pathOf(other.index);
  }

  viewOf(other: PathClient): PeerPathView {
    this.paths.input({ type: 'tick' });
    return this.machine.view(other.index);
  }

  /** One packet of the data plane, of this size outside; false when there is no path. */
  sendData(other: PathClient, sizeBytes = 2): boolean {
    if (this.stopped) return false;
    const path = this.pathTo(other);
    if (path === undefined) {
      this.paths.input({ type: 'want', peer: other.index });
      return false;
    }
    const bytes = new Uint8Array(sizeBytes);
    bytes.set([dataMagic, this.index]);
    this.host.send(this.port, path.remote, bytes);
    this.paths.input({
      type: 'activity',
      peer: other.index,
      sent: true,
      received: false,
      sentData: true,
    });
    return true;
  }

  /** The port that its user forwards by hand (`--port`). */
  configurePort(port: number): void {
    this.discovery.input({ type: 'configured-port', port });
  }

  /** From now on peers are told this instead of what was discovered; the truth again without a lie. */
  lie(lie?: (told: Told) => Told): void {
    this.#lie = lie;
    this.#tell();
  }

  /** Carries the machine to another network. */
  moveTo(home: Home, addresses: readonly string[]): void {
    this.moves += 1;
    this.home = home;
    this.host.move(home.realm, addresses);
    this.discovery.input({ type: 'local-addresses', addresses: this.#localAddresses() });
    this.discovery.input({ type: 'network-changed' });
    this.paths.input({ type: 'network-changed' });
  }

  /** Killed: nothing leaves, nothing is answered. */
  stop(): void {
    this.host.close(this.port);
    this.paths.stopped = true;
    this.discovery.stopped = true;
  }

  eventsOf(type: PathOutput['type'], other: PathClient): { atMs: number; output: PathOutput }[] {
    return this.events.filter(
      ({ output }) => output.type === type && 'peer' in output && output.peer === other.index,
    );
  }

  #open(): void {
    const socket = (family: 4 | 6) => ({ socket: family, family, localPort: this.port });
    const sockets = [socket(4), socket(6)];
    this.paths.input({ type: 'local-sockets', sockets });
    this.discovery.input({ type: 'sockets', sockets });
    this.discovery.input({ type: 'local-addresses', addresses: this.#localAddresses() });
  }

  #localAddresses() {
    return this.host.addresses.map((address) => ({ interface: 'eth0', address }));
  }

  #discovered(output: ReturnType<Discovery['poll']> & object): void {
    if (output.type === 'send') {
      this.host.send(this.port, output.remote, output.bytes);
      return;
    }
    this.discovered = output;
    this.#tell();
  }

  #tell(): void {
    if (this.discovered === undefined) return;
    const { candidates, nat } = this.discovered;
    this.told = this.#lie?.({ candidates, nat }) ?? { candidates, nat };
    this.paths.input({ type: 'local-candidates', ...this.told });
  }

  #act(output: PathOutput): void {
    switch (output.type) {
      case 'send':
        this.probesSent += 1;
        if (readProbeHeader(output.bytes)?.type === 'request') {
          const atMs = this.#world.clock.monotonic;
          this.requests.push({ atMs, to: formatEndpoint(output.remote) });
        }
        this.host.send(this.port, output.remote, output.bytes, output.ttl, output.dontFragment);
        return;
      case 'signal-wanted': {
        this.discovery.input({ type: 'recheck' });
        const other = this.#world.clients[output.peer];
        if (other !== undefined) this.#world.offer(this, other);
        break;
      }
      case 'path':
      case 'path-mtu':
      case 'peer-alive':
      case 'peer-dead':
        break;
      default:
        output satisfies never;
    }
    this.events.push({ atMs: this.#world.clock.monotonic, output });
  }

  #receive(bytes: Uint8Array, remote: Endpoint): void {
    const socket = remote.address.includes(':') ? 6 : 4;
    if (looksLikeStun(bytes)) this.discovery.input({ type: 'datagram', bytes, socket, remote });
    else if (bytes[0] === dataMagic) this.#receiveData(bytes[1]!, socket, remote);
    else {
      this.heardFrom.add(formatEndpoint(remote));
      this.paths.input({ type: 'datagram', bytes, socket, remote });
    }
  }

  #receiveData(peer: number, socket: number, remote: Endpoint): void {
    this.received.set(peer, (this.received.get(peer) ?? 0) + 1);
    const path = this.machine.pathOf(peer);
    const isElsewhere =
      path === undefined || formatEndpoint(path.remote) !== formatEndpoint(remote);
    const now = this.#world.clock.monotonic;
    // At most ten reports a second, as the engine does it.
    if (isElsewhere && now - (this.#roamedAt.get(peer) ?? 0) >= 100) {
      this.#roamedAt.set(peer, now);
      this.paths.input({ type: 'roam', peer, socket, remote });
    }
    this.paths.input({ type: 'activity', peer, sent: false, received: true });
  }
}
