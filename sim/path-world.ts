/**
 * Clients with their path and relay machines and discovery, a server that only forwards signals, relays, and the network between:
 * everything that finding a path needs, without tunnels. The data plane is a stub that sends counted packets over the path in use.
 */
import type { Crypto } from '#core/crypto.ts';
import { Discovery } from '#core/discovery/discovery.ts';
import type { Discovered } from '#core/discovery/io.ts';
import { withRelays } from '#core/member/signalling.ts';
import type { PathOutput, PeerPathView } from '#core/path/io.ts';
import type { Path } from '#core/path/path.ts';
import { Paths } from '#core/path/paths.ts';
import { onPath } from '#core/path/relay-path.ts';
import type { RelaysOutput } from '#core/relay/io.ts';
import { Relays } from '#core/relay/relays.ts';
import { type Now, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { readProbeHeader } from '#wire/probe.ts';
import { relayPrefixBytes, relayType } from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import type { Candidate, NatBehaviour, PunchTerms } from '#wire/signal.ts';
import { looksLikeStun } from '#wire/stun.ts';
import { type NatKind, natKind } from '../lab/nat-kinds.ts';
import { Bridge } from './bridge.ts';
import { type Scheduled, VirtualClock } from './clock.ts';
import type { Packet } from './nat.ts';
import {
  type Home,
  type HomeOptions,
  type Host,
  type LinkOptions,
  Network,
  type Realm,
} from './network.ts';
import { SimPunchSockets } from './punch-sockets.ts';
import { deterministicCrypto, Random } from './random.ts';
import { RelayHost } from './relay-host.ts';
import { StunServer } from './stun-server.ts';

/** Round trip of a control connection, and how far ahead the server announces a punch. */
const signalDelayMs = 25;
const punchInMs = 50;
/** Looks like a transport message to relays: `04 00 00 00`, the sender, the number of the packet, and zeros up to 32 bytes. */
const dataBytes = 32;
/** Of the server and all relays. */
const serverSide = '203.0.113.';
const serverAddresses = [`${serverSide}1`, '2001:db8:ffff::1'];

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
  readonly relays = new Map<string, RelayHost>();
  /** Whether clients guess ports (`--hard-nat`). */
  readonly hardNat: boolean;
  /** False: no signal gets through. */
  serverUp = true;
  signals = 0;

  /** What all keys and seals are made with. */
  readonly crypto: Crypto;

  constructor(
    seed: number | string,
    link: Partial<LinkOptions> = {},
    hardNat = false,
    crypto: Crypto = nodeCrypto,
  ) {
    this.hardNat = hardNat;
    this.crypto = crypto;
    this.random = new Random(seed);
    this.network = new Network(this.clock, this.random.fork('network'), link);
    this.stun = new StunServer(this.network.internet.host('server', serverAddresses));
  }

  /** Relays at this distance beyond the Internet's own; clients are told of them when they come. */
  addRelays(...extraMs: readonly number[]): RelayHost[] {
    return extraMs.map((extra, i) => {
      const index = this.relays.size + 1;
      const realm = this.network.home({
        name: `relay site ${index}`,
        kind: 'none',
        publicAddress: `${serverSide}${100 + index}`,
        link: { delayMs: extra },
      });
      const host = realm.host(`relay ${index}`, [`${serverSide}${10 + index}`]);
      const crypto = deterministicCrypto(this.crypto, this.random.fork(`relay ${index} ${i}`));
      const relay = new RelayHost(`r${index}`, host, this.clock, crypto);
      this.relays.set(relay.id, relay);
      return relay;
    });
  }

  /** Drops what goes over the Internet between others than the server and relays. */
  readonly dropDirect = (packet: Packet, realm: Realm): boolean =>
    realm === this.network.internet &&
    ![packet.source, packet.destination].some(({ address }) => address.startsWith(serverSide));

  home(kind: NatKind, options: Partial<HomeOptions> = {}): Home {
    const index = this.clients.length + 1;
    const publicAddress = `198.51.100.${index}`;
    return this.network.home({ name: `home${index}`, kind, publicAddress, ...options });
  }

  /** A client in a home of its own, of the given kind. */
  clientBehind(kind: NatKind, options: Partial<HomeOptions> = {}): PathClient {
    const index = this.clients.length + 1;
    const home = this.home(kind, options);
    const { mapping, ipv6 } = natKind(kind);
    const ipv4 = mapping === 'none' ? `198.18.${index}.2` : `192.168.${index}.2`;
    const addresses = [
      ...(ipv6 === 'only' ? [] : [ipv4]),
      ...(ipv6 === undefined ? [] : [`2001:db8:${index.toString(16)}::2`]),
    ];
    return this.client(home.host(`client${index}`, addresses), home);
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

  /** Protocol §6: an offer. It is answered at once, unless it speaks of an attempt at hard NATs (§12): then when that is ready. */
  offer(from: PathClient, to: PathClient, hard?: PunchTerms): void {
    if (!this.serverUp) return;
    this.signals += 1;
    const told = { ...from.told, ...from.hardPart(hard) };
    this.clock.in(signalDelayMs, () => {
      if (!this.serverUp || to.stopped) return;
      to.recheck();
      to.paths.input({ type: 'remote-candidates', peer: from.index, ...told, kind: 'offer' });
      if (hard === undefined) this.answer(to, from);
    });
  }

  /** The answer, and both begin together. */
  answer(from: PathClient, to: PathClient, hard?: PunchTerms): void {
    const told = { ...from.told, ...from.hardPart(hard) };
    this.clock.in(signalDelayMs, () => {
      if (!this.serverUp) return;
      from.paths.input({ type: 'punch', peer: to.index, inMs: punchInMs });
      if (to.stopped) return;
      to.paths.input({ type: 'remote-candidates', peer: from.index, ...told, kind: 'answer' });
      to.paths.input({ type: 'punch', peer: from.index, inMs: punchInMs });
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
  /** Nothing runs and nothing is taken, not even ticks. */
  asleep = false;
  /** The machine's wall clock is wrong by this. */
  wallErrorMs = 0;
  readonly #wake = () => {
    this.#tick = undefined;
    this.input({ type: 'tick' });
  };

  constructor(machine: Machine<Input, Output>, clock: VirtualClock, act: (output: Output) => void) {
    this.#machine = machine;
    this.#clock = clock;
    this.#act = act;
  }

  input(input: Input | { type: 'tick' }): void {
    if (this.stopped || this.asleep) return;
    const { monotonic, wall } = this.#clock.now;
    this.#machine.handle(input, { monotonic, wall: wallMs(wall + this.wallErrorMs) });
    for (let out = this.#machine.poll(); out !== undefined; out = this.#machine.poll()) {
      this.#act(out);
    }
    this.#schedule(this.#machine.deadline());
  }

  /** A tick that is due at the right moment anyway is kept: most inputs change nothing of it. */
  #schedule(at: number | undefined): void {
    if (this.#tick !== undefined && this.#tick.at === at && at > this.#clock.monotonic) return;
    this.#tick?.cancel();
    this.#tick = at === undefined ? undefined : this.#clock.at(at, this.#wake);
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
  /** Data packets that arrived, by sender; and the numbers of those. */
  readonly received = new Map<number, number>();
  readonly numbers = new Map<number, Set<number>>();
  readonly relayMachine: Relays;
  readonly relays: Driver<Parameters<Relays['handle']>[0], RelaysOutput>;
  readonly bridge: Bridge;
  readonly clientId: string;
  #sent = 0;
  /** Everything the path machine said of peers. */
  readonly events: { atMs: number; output: PathOutput }[] = [];
  /** Nothing leaves: asleep, or unplugged. */
  offline = false;
  probesSent = 0;
  moves = 0;
  /** Requests that left, and the addresses that any probe ever came from. */
  readonly requests: { readonly atMs: number; readonly to: string }[] = [];
  readonly heardFrom = new Set<string>();
  /** What the server vouches for instead of the truth. */
  provenOverride: readonly string[] | undefined;
  /** Sockets of attempts at hard NATs, and those of them that the engine took over. */
  readonly punch: SimPunchSockets;
  readonly #world: PathWorld;
  readonly #discoveryMachine: Discovery;
  readonly #crypto: Crypto;
  readonly #roamedAt = new Map<number, number>();
  readonly #entries = new Map<string, RelayEntry>();

  constructor(world: PathWorld, index: number, host: Host, home: Home | undefined) {
    this.#world = world;
    this.index = index;
    this.host = host;
    this.home = home;
    this.port = 41_641 + index;
    this.#crypto = deterministicCrypto(world.crypto, world.random.fork(`client ${index}`));
    const privateKey = this.#crypto.random(32);
    this.publicKey = this.#crypto.x25519PublicKey(privateKey);
    this.machine = new Paths({ crypto: this.#crypto, tunnelPrivateKey: privateKey });
    this.paths = new Driver(this.machine, world.clock, (output) => this.#act(output));
    this.punch = new SimPunchSockets(
      host,
      () => world.clock.monotonic,
      (input) => this.paths.input(input),
    );
    this.clientId = clientIdAt(index);
    this.relayMachine = new Relays(this.#crypto);
    this.relays = new Driver(this.relayMachine, world.clock, (output) => this.#relayOutput(output));
    this.bridge = new Bridge({
      clock: world.clock,
      name: this.clientId,
      relays: () => world.relays,
      ready: (relay, endpoint) => this.relays.input({ type: 'bridge', relay, endpoint }),
      receive: (bytes, remote) => this.#receive(bytes, remote),
      passes: () => !this.offline,
    });
    this.#discoveryMachine = new Discovery({ crypto: this.#crypto });
    this.discovery = new Driver(this.#discoveryMachine, world.clock, (output) =>
      this.#discovered(output),
    );
    host.bind(this.port, (bytes, remote) => this.#receive(bytes, remote));
    this.#open();
    this.#askServers();
    this.learnRelays();
    this.paths.input({ type: 'stun-servers', servers: world.stun.endpoints });
    this.paths.input({ type: 'hard-nat', enabled: world.hardNat });
  }

  /** Public addresses that the server vouches for. */
  get proven(): readonly string[] {
    return (
      this.provenOverride ?? this.discovered?.publicEndpoints.map(({ address }) => address) ?? []
    );
  }

  /** What a signal says of an attempt at hard NATs, and the addresses that the server vouches for. */
  hardPart(hard: PunchTerms | undefined) {
    if (!this.#world.hardNat) return {};
    const seen = this.discovered?.publicEndpoints.map(({ address }) => address) ?? [];
    return { proven: this.provenOverride ?? seen, ...(hard === undefined ? {} : { hard }) };
  }

  get stopped(): boolean {
    return this.paths.stopped;
  }

  meet(other: PathClient): void {
    this.paths.input({
      type: 'add-peer',
      peer: other.index,
      tunnelPublicKey: other.publicKey,
      clientId: other.clientId,
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
  sendData(other: PathClient, sizeBytes = dataBytes): boolean {
    if (this.stopped) return false;
    const path = this.pathTo(other);
    if (path === undefined) {
      this.paths.input({ type: 'want', peer: other.index });
      return false;
    }
    const { remote, socket } = path;
    this.#send(remote, onPath(path, this.#dataPacket(sizeBytes)), { socket });
    this.paths.input({
      type: 'activity',
      peer: other.index,
      sent: true,
      received: false,
      sentData: true,
    });
    return true;
  }

  #dataPacket(sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(Math.max(sizeBytes, dataBytes));
    const view = new DataView(bytes.buffer);
    bytes[0] = 4;
    view.setUint32(4, this.index);
    view.setUint32(8, this.#sent++);
    return bytes;
  }

  /** What leaves for the loopback interface goes to a bridge. */
  #send(
    remote: Endpoint,
    bytes: Uint8Array,
    how: { readonly socket?: number; readonly ttl?: number; readonly dontFragment?: boolean } = {},
  ): void {
    const { socket, ttl, dontFragment } = how;
    const port = this.#portOf(socket);
    if (this.offline) return;
    if (remote.address === '127.0.0.1') this.bridge.send(remote.port, bytes);
    else this.host.send(port, remote, bytes, ttl, dontFragment);
  }

  /** As the member machine does it: our mappings may be other ones by now. */
  recheck(): void {
    this.discovery.input({ type: 'recheck' });
    this.relays.input({ type: 'recheck' });
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
    this.#askServers();
    this.wakeUp();
  }

  /** As after another network was joined, or a sleep. */
  wakeUp(): void {
    this.offline = false;
    this.discovery.input({ type: 'network-changed' });
    this.relays.input({ type: 'network-changed' });
    this.paths.input({ type: 'network-changed' });
  }

  get isAsleep(): boolean {
    return this.paths.asleep;
  }

  /** The lid is closed: nothing runs. */
  sleep(): void {
    this.offline = true;
    for (const driver of this.#drivers) driver.asleep = true;
  }

  /** The member machine notices it by a deadline that passed long ago, and tells all others. */
  wake(): void {
    for (const driver of this.#drivers) driver.asleep = false;
    this.moves += 1;
    this.wakeUp();
  }

  /** Somebody sets the clock. */
  setClock(errorMs: number): void {
    for (const driver of this.#drivers) driver.wallErrorMs = errorMs;
  }

  /** The control connection came, with the server's time, or went. */
  connected(isConnected: boolean): void {
    this.paths.input({ type: 'server', connected: isConnected });
    if (!isConnected) return;
    const offsetMs = -this.paths.wallErrorMs;
    this.paths.input({ type: 'time-offset', offsetMs });
    this.relays.input({ type: 'time-offset', offsetMs });
  }

  get #drivers() {
    return [this.paths, this.relays, this.discovery];
  }

  /** Of the packet of data that was sent last. */
  get lastNumber(): number {
    return this.#sent - 1;
  }

  /** Told by the server, as soon as it is there. */
  learnRelays(): void {
    const relays = [...this.#world.relays.values()].map((relay) => {
      let entry = this.#entries.get(relay.id);
      if (entry === undefined) {
        entry = relay.entryFor(this.clientId);
        this.#entries.set(relay.id, entry);
      }
      return entry;
    });
    this.relays.input({ type: 'relays', relays });
  }

  /** Killed: nothing leaves, nothing is answered. */
  stop(): void {
    this.host.close(this.port);
    this.bridge.close();
    this.paths.stopped = true;
    this.relays.stopped = true;
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
    this.relays.input({ type: 'sockets', sockets });
    this.discovery.input({ type: 'sockets', sockets });
    this.discovery.input({ type: 'local-addresses', addresses: this.#localAddresses() });
  }

  #askServers(): void {
    const isIpv6 = (address: string) => address.includes(':');
    const families = new Set(this.host.addresses.map(isIpv6));
    const { endpoints } = this.#world.stun;
    const servers = endpoints.filter(({ address }) => families.has(isIpv6(address)));
    this.discovery.input({ type: 'servers', servers });
  }

  #localAddresses() {
    return this.host.addresses.map((address) => ({ interface: 'eth0', address }));
  }

  #discovered(output: ReturnType<Discovery['poll']> & object): void {
    if (output.type === 'send') {
      this.#send(output.remote, output.bytes);
      return;
    }
    this.discovered = output;
    this.#tell();
  }

  #tell(): void {
    if (this.discovered === undefined) {
      // As the member machine does it: servers do not answer by UDP, most likely.
      if (this.relayMachine.home?.transport !== 'tcp') return;
      this.discovered = this.#discoveryMachine.discovered;
    }
    const { candidates, nat } = this.discovered;
    const told = { candidates: withRelays(candidates, this.relayMachine.candidates), nat };
    this.told = this.#lie?.(told) ?? told;
    this.paths.input({ type: 'local-candidates', ...this.told });
  }

  #relayOutput(output: RelaysOutput): void {
    switch (output.type) {
      case 'send':
        this.#send(output.remote, output.bytes);
        return;
      case 'up':
      case 'down':
        this.paths.input({ type: 'relays', relays: this.relayMachine.ways });
        return;
      case 'announced':
        this.#tell();
        return;
      case 'bridge-wanted':
        this.bridge.want(output.relay);
        return;
      case 'bridge-unwanted':
        this.bridge.unwant(output.relay);
        return;
      case 'delivered': {
        const { way, from, bytes } = output;
        const { socket, remote, relay } = way;
        this.paths.input({ type: 'datagram', bytes, socket, remote, over: { relay, from } });
        return;
      }
      default:
        output satisfies never;
    }
  }

  #act(output: PathOutput): void {
    switch (output.type) {
      case 'send':
        this.probesSent += 1;
        if (isRequest(output.bytes)) {
          const atMs = this.#world.clock.monotonic;
          this.requests.push({ atMs, to: formatEndpoint(output.remote) });
        }
        this.#send(output.remote, output.bytes, output);
        return;
      case 'relay-wanted':
        this.relays.input({ type: 'want', relay: output.relay });
        return;
      case 'relay-doubted':
        this.relays.input({ type: 'check', relay: output.relay });
        return;
      case 'signal-wanted': {
        this.recheck();
        const other = this.#world.clients[output.peer];
        if (other === undefined) break;
        if (output.kind === 'answer') this.#world.answer(this, other, output.hard);
        else this.#world.offer(this, other, output.hard);
        break;
      }
      case 'punch-open':
        this.#soon(() => this.punch.open(output.count));
        break;
      case 'punch-send':
        this.punch.send(output.index, output.remote, output.bytes, output.ttl);
        return;
      case 'punch-adopt':
        this.#soon(() =>
          this.punch.adopt(output.index, (bytes, socket, remote) =>
            this.#receive(bytes, remote, socket),
          ),
        );
        break;
      case 'punch-close':
        this.punch.close();
        break;
      case 'drop-socket':
        this.punch.drop(output.socket);
        break;
      case 'path':
      case 'path-mtu':
      case 'peer-alive':
      case 'peer-dead':
      case 'observed':
        break;
      default:
        output satisfies never;
    }
    this.events.push({ atMs: this.#world.clock.monotonic, output });
  }

  /** What takes the system a moment. */
  #soon(act: () => void): void {
    this.#world.clock.in(1, () => {
      if (!this.stopped) act();
    });
  }

  #portOf(socket = -1): number {
    return this.punch.adopted.get(socket) ?? this.port;
  }

  #receive(
    bytes: Uint8Array,
    remote: Endpoint,
    socket = remote.address.includes(':') ? 6 : 4,
  ): void {
    if (looksLikeStun(bytes)) this.discovery.input({ type: 'datagram', bytes, socket, remote });
    else if (bytes[0] === 4) this.#receiveData(bytes, socket, remote);
    else if (relayType(bytes) !== undefined) {
      this.heardFrom.add(formatEndpoint(remote));
      this.relays.input({ type: 'datagram', bytes, socket, remote });
    } else {
      this.heardFrom.add(formatEndpoint(remote));
      this.paths.input({ type: 'datagram', bytes, socket, remote });
    }
  }

  #receiveData(bytes: Uint8Array, socket: number, remote: Endpoint): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const [peer, number] = [view.getUint32(4), view.getUint32(8)];
    this.received.set(peer, (this.received.get(peer) ?? 0) + 1);
    const numbers = this.numbers.get(peer) ?? new Set();
    this.numbers.set(peer, numbers.add(number));
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

const clientIdAt = (index: number) => `000-000-${String(index).padStart(3, '0')}`;

/** A probe request, directly or under a relay's header. */
const isRequest = (bytes: Uint8Array): boolean => {
  const probe = relayType(bytes) === 'data' ? bytes.subarray(relayPrefixBytes) : bytes;
  return readProbeHeader(probe)?.type === 'request';
};
