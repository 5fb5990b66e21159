import { currentCertificate, extensionVersion } from '#client/certificate.ts';
import type { ControlError } from '#client/control-error.ts';
import type { DeviceKeys } from '#client/identity.ts';
import { hex } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import type { MemberInput, MemberOutput } from '#core/member/io.ts';
import { Member } from '#core/member/member.ts';
import { type Now, wallMs } from '#core/time.ts';
import { Secret } from '#crypto/secret.ts';
import type { ClientMessage, ServerMessage, ServerMessageOf } from '#wire/control.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { Bridge } from '../bridge.ts';
import type { Scheduled, VirtualClock } from '../clock.ts';
import type { Host } from '../network.ts';
import type { Random } from '../random.ts';
import type { RelayHost } from '../relay-host.ts';
import * as bounds from './bounds.ts';
import type { ControlWire, WireEnd } from './control-wire.ts';
import { SimDataPlane } from './data-plane.ts';
import { Disk } from './disk.ts';
import { SimLink } from './link.ts';
import type { Site } from './site.ts';
import { type Trace, Violation } from './trace.ts';

/** What a daemon needs of the world, and tells it. */
export interface DaemonWorld {
  readonly clock: VirtualClock;
  readonly trace: Trace;
  readonly clusterKey: Uint8Array;
  readonly relays: ReadonlyMap<string, RelayHost>;
  /** TCP passes from this daemon to the Internet. */
  isOnline(daemon: Daemon): boolean;
  connect(daemon: Daemon, end: WireEnd): ControlWire | undefined;
  delivered(receiver: Daemon, packet: Uint8Array, senderId: string | undefined): void;
  accepted(receiveKey: string, counter: number): void;
  controlSent(daemon: Daemon, bytes: Uint8Array): void;
  datagramSent(daemon: Daemon, bytes: Uint8Array): void;
}

export interface DaemonOptions {
  readonly world: DaemonWorld;
  readonly index: number;
  readonly crypto: Crypto;
  readonly random: Random;
  readonly site: Site;
  readonly suites: readonly string[];
}

const serverAddress = '203.0.113.1';
/** Of every member; NATs may change it. */
const mainPort = 41_641;
const testPort = 41_642;
const samplePort = 41_643;
const sockets = [
  { socket: 0, family: 4, localPort: mainPort },
  { socket: 1, family: 6, localPort: mainPort },
  { socket: 2, family: 4, localPort: testPort, purpose: 'test' },
  { socket: 3, family: 4, localPort: samplePort, purpose: 'sample' },
] as const;

/** One run of the daemon's process. */
interface Life {
  readonly link: SimLink;
  readonly instance: Uint8Array;
  readonly bridge: Bridge;
  member: Member | undefined;
  plane: SimDataPlane | undefined;
  tick: Scheduled | undefined;
  ended: boolean;
}

/**
 * A machine with a daemon on it: the real `Member` with what `src/client` puts around it (control link, state on disk,
 * packet engine), under virtual time. It can die and come back with what its disk kept.
 */
export class Daemon {
  readonly index: number;
  readonly name: string;
  readonly disk: Disk;
  readonly keys: DeviceKeys;
  readonly crypto: Crypto;
  site: Site;
  /** Multicast groups that its applications have joined. */
  groups: readonly string[] = [];
  /** How wrong the machine's wall clock is. */
  clockErrorMs = 0;
  /** When the server sent the last thing that was taken in while synchronised. */
  upToDateAt = -Infinity;
  /** Tickets, as the server gave them. */
  readonly #relayEntries = new Map<string, RelayEntry>();
  readonly #options: DaemonOptions;
  readonly #world: DaemonWorld;
  #life: Life | undefined;
  #asleep = false;
  #host: Host;
  #ticks = { at: -1, count: 0 };

  constructor(options: DaemonOptions) {
    const { crypto, index, world, site } = options;
    this.#options = options;
    this.#world = world;
    this.index = index;
    this.name = `m${index}`;
    this.crypto = crypto;
    this.site = site;
    this.#host = site.host(index);
    this.disk = new Disk(world.clock, `nick ${index}`);
    const secret = () => new Secret(crypto.random(32));
    this.keys = { identity: secret(), control: secret(), tunnel: secret() };
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  get member(): Member | undefined {
    return this.#life?.member;
  }

  get plane(): SimDataPlane | undefined {
    return this.#life?.plane;
  }

  get link(): SimLink | undefined {
    return this.#life?.link;
  }

  get clientId(): string | undefined {
    return this.disk.settings.self?.clientId;
  }

  get now(): Now {
    const { monotonic, wall } = this.#world.clock.now;
    return { monotonic, wall: wallMs(Math.floor(wall) + this.clockErrorMs) };
  }

  start(): void {
    if (this.#life !== undefined) return;
    const { world, random, crypto } = this.#options;
    const link = new SimLink({
      clock: world.clock,
      random,
      connect: (end) => world.connect(this, end),
      login: () => this.#login(life),
      onConnected: (welcome) => this.#connected(life, welcome),
      onMessage: (message, sentAt) => this.#message(life, message, sentAt),
      onLost: (error, wasConnected) => this.#lost(life, error, wasConnected),
      onSend: (bytes) => world.controlSent(this, bytes),
    });
    const bridge = new Bridge({
      clock: world.clock,
      name: this.name,
      relays: () => world.relays,
      ready: (relay, endpoint) => this.feed(life, { type: 'bridge', relay, endpoint }),
      receive: (bytes, remote) => life.plane?.receive(bytes, 0, remote),
      passes: () => world.isOnline(this),
    });
    const life: Life = {
      ...{ link, bridge, instance: crypto.random(16), ended: false },
      ...{ member: undefined, plane: undefined, tick: undefined },
    };
    this.#life = life;
    this.#bind();
    if (this.disk.settings.self !== undefined) this.#makeMember(life);
    link.start();
  }

  /** SIGTERM: a goodbye to the server, the state on disk. */
  stop(): void {
    this.#life?.link.stop();
    this.disk.flush();
    this.#end();
  }

  /** kill -9, or the plug is pulled. */
  crash(isPowerLoss: boolean): void {
    this.#life?.link.die(isPowerLoss);
    this.disk.crash();
    this.#end();
  }

  /** Carries the machine to another place. */
  move(site: Site): void {
    if (this.#life !== undefined) this.#unbind();
    this.site = site;
    this.#host = site.host(this.index);
    if (this.#life === undefined) return;
    this.#bind();
    this.#life.link.wire?.vanish();
    this.#feedAddresses(this.#life, true);
    this.#life.link.check();
  }

  get isAsleep(): boolean {
    return this.#asleep;
  }

  /** The lid is closed: nothing runs, nothing is heard. */
  sleep(): void {
    const life = this.#life;
    if (life === undefined) return;
    this.#asleep = true;
    this.#unbind();
    life.tick?.cancel();
    life.tick = undefined;
    life.link.sleep();
  }

  /** @param noticedMs when its watch notices that time has passed; whatever happens before may notice it as well */
  wake(noticedMs: number): void {
    const life = this.#life;
    this.#asleep = false;
    if (life === undefined) return;
    this.#bind();
    this.#world.clock.in(noticedMs, () => {
      if (life.ended || this.#asleep) return;
      this.#feedAddresses(life, true);
      life.link.check();
    });
  }

  feed(life: Life, input: MemberInput): void {
    const { member } = life;
    if (life.ended || member === undefined || this.#asleep) return;
    member.handle(input, this.now);
    let outputs = 0;
    for (let output = member.poll(); output !== undefined; output = member.poll()) {
      outputs += 1;
      if (outputs > bounds.maxOutputsPerInput) {
        throw new Violation(`${this.name} makes more than ${outputs} outputs of one ${input.type}`);
      }
      this.#carryOut(life, member, output);
    }
    this.#schedule(life, member);
  }

  /** A network's secret, made or opened by admission: on disk before anything else happens. */
  keepSecret(network: string, secret: Uint8Array): void {
    this.disk.update({ secrets: { ...this.disk.settings.secrets, [network]: secret } });
    this.disk.flush();
    if (this.#life !== undefined) this.feed(this.#life, { type: 'secret', network, secret });
  }

  #end(): void {
    const life = this.#life;
    if (life === undefined) return;
    this.#unbind();
    life.ended = true;
    life.tick?.cancel();
    life.bridge.close();
    life.plane?.stop();
    this.#life = undefined;
    this.upToDateAt = -Infinity;
  }

  #bind(): void {
    const receive =
      (test?: 2 | 3) => (bytes: Uint8Array, remote: { address: string; port: number }) => {
        const socket = test ?? (remote.address.includes(':') ? 1 : 0);
        this.#life?.plane?.receive(bytes, socket, remote);
      };
    this.#host.bind(mainPort, receive());
    this.#host.bind(testPort, receive(2));
    this.#host.bind(samplePort, receive(3));
  }

  #unbind(): void {
    this.#host.close(mainPort);
    this.#host.close(testPort);
    this.#host.close(samplePort);
  }

  #login(life: Life): Extract<ClientMessage, { t: 'login' }> {
    const { settings } = this.disk;
    const { crypto, suites } = this.#options;
    const time = wallMs(Math.max(this.now.wall, settings.serverTimeMs));
    const certificate = currentCertificate(crypto, this.keys, suites, settings.certificate, time);
    if (certificate !== settings.certificate) this.disk.update({ certificate });
    return {
      t: 'login',
      certificate,
      instance: life.instance,
      nick: settings.nick,
      software: 'buri world',
      known: life.member?.known() ?? [],
    };
  }

  #connected(life: Life, welcome: ServerMessageOf<'welcome'>): void {
    const { clientId, ipv4, ipv6, pool4, pool6 } = welcome;
    const before = this.disk.settings.self?.clientId;
    if (before !== undefined && before !== clientId) {
      throw new Violation(`${this.name} was ${before} and is ${clientId} now`);
    }
    this.#world.trace.note(`${this.name} connected as ${clientId}`);
    this.disk.update({ self: { clientId, ipv4, ipv6, pools: [pool4, pool6] } });
    if (life.member === undefined) this.#makeMember(life);
    this.feed(life, { type: 'connected', welcome, serverAddress });
    const relays = [...this.#world.relays.values()].map((relay) => {
      const entry = this.#relayEntries.get(relay.id) ?? relay.entryFor(clientId);
      this.#relayEntries.set(relay.id, entry);
      return entry;
    });
    this.feed(life, { type: 'server', message: { t: 'relays', relays } });
  }

  #lost(life: Life, error: ControlError, wasConnected: boolean): void {
    this.#world.trace.note(`${this.name} lost the server: ${error.code}: ${error.message}`);
    if (wasConnected) this.feed(life, { type: 'disconnected' });
  }

  #message(life: Life, message: ServerMessage, sentAt: number): void {
    const { trace } = this.#world;
    if (message.t !== 'ping' && message.t !== 'signal' && message.t !== 'punch') {
      trace.note(`${this.name} ◄ ${describe(message)}`);
    }
    this.feed(life, { type: 'server', message });
    if (life.member?.isSynchronised) this.upToDateAt = sentAt;
  }

  #makeMember(life: Life): void {
    const { crypto, suites, world } = this.#options;
    const { settings } = this.disk;
    const self = settings.self!;
    const privateKey = this.keys.tunnel.bytes();
    const publicKey = crypto.x25519PublicKey(privateKey);
    const member = new Member({
      crypto,
      clusterKey: world.clusterKey,
      tunnelKey: { privateKey, publicKey },
      identity: hex(crypto.ed25519PublicKey(this.keys.identity.bytes())),
      suites,
      extensionVersion,
      clientId: self.clientId,
      pools: self.pools,
      networks: this.disk.loadNetworks(),
      ways: this.disk.loadWays(),
      secrets: new Map(Object.entries(settings.secrets)),
      serverTimeMs: settings.serverTimeMs,
      ...(settings.timestamp === undefined ? {} : { lastTimestamp: settings.timestamp }),
    });
    life.member = member;
    life.plane = new SimDataPlane({
      clock: world.clock,
      crypto,
      publicKey,
      addresses: [self.ipv4, self.ipv6],
      transmit: (socket, remote, bytes, ttl) => {
        world.datagramSent(this, bytes);
        if (remote.address === '127.0.0.1') this.#life?.bridge.send(remote.port, bytes);
        else this.#host.send(sockets[socket]?.localPort ?? mainPort, remote, bytes, ttl);
      },
      report: (report) => this.feed(life, report),
      watcher: {
        delivered: (packet, peer) => {
          const sender = member.manager.peers.get(peer)?.pair.clientId;
          world.delivered(this, packet, sender);
        },
        accepted: world.accepted,
      },
    });
    this.feed(life, { type: 'hard-nat', enabled: false });
    this.feed(life, { type: 'sockets', sockets });
    this.#feedAddresses(life, false);
    this.feed(life, { type: 'lan', local: { ethernet: false, groups: this.groups } });
  }

  /** Its applications join these multicast groups, and leave all others. */
  listenTo(groups: readonly string[]): void {
    this.groups = groups;
    const life = this.#life;
    if (life?.member === undefined) return;
    this.feed(life, { type: 'lan', local: { ethernet: false, groups } });
  }

  #feedAddresses(life: Life, changed: boolean): void {
    const addresses = this.#host.addresses.map((address) => ({ interface: 'eth0', address }));
    this.feed(life, { type: 'local-addresses', addresses, changed });
  }

  #schedule(life: Life, member: Member): void {
    const { clock } = this.#world;
    const deadline = member.deadline();
    if (life.tick !== undefined && life.tick.at === deadline) return;
    life.tick?.cancel();
    life.tick =
      deadline === undefined
        ? undefined
        : clock.at(deadline, () => this.#tick(life, clock.monotonic));
  }

  #tick(life: Life, at: number): void {
    life.tick = undefined;
    if (this.#ticks.at !== at) this.#ticks = { at, count: 0 };
    this.#ticks.count += 1;
    if (this.#ticks.count > bounds.maxTicksPerMoment) {
      throw new Violation(`${this.name} wants to be woken at the same moment for ever`);
    }
    this.feed(life, { type: 'tick' });
  }

  #carryOut(life: Life, member: Member, output: MemberOutput): void {
    const { plane, link } = life;
    if (plane === undefined) return;
    switch (output.type) {
      case 'send':
        link.send(output.message);
        break;
      case 'datagram':
        plane.sendDatagram(output.socket, output.remote, output.bytes, output.ttl);
        break;
      case 'set-peer':
        plane.setPeer(output.peer, output.innerPrefixes);
        break;
      case 'remove-peer':
        plane.removePeer(output.peer);
        break;
      case 'set-path':
        plane.setPath(output.peer, output.path);
        break;
      case 'install-keys':
        plane.installKeys(output.keys);
        output.keys.sendKey.fill(0);
        output.keys.receiveKey.fill(0);
        break;
      case 'activate-keys':
        plane.activateKeys(output.localIndex);
        break;
      case 'remove-keys':
        plane.removeKeys(output.localIndex);
        break;
      case 'keepalive':
        plane.sendKeepalive(output.peer);
        break;
      case 'set-lan':
        plane.setLan(output.peer, output);
        break;
      case 'message':
        plane.sendMessage(output.peer, output.bytes);
        break;
      case 'save-network': {
        const network = member.saved(output.network);
        if (network !== undefined) this.disk.saveNetwork(network);
        break;
      }
      case 'save-ways':
        this.disk.saveWays(member.ways(this.now));
        break;
      case 'forget-network':
        this.#forget(output.network, output.reason);
        break;
      case 'save-timestamp':
        // The machine relies on it: no later handshake leaves before this is on disk.
        this.disk.update({ timestamp: output.timestamp });
        this.disk.flush();
        break;
      case 'save-server-time':
        this.disk.update({ serverTimeMs: output.serverTimeMs });
        break;
      case 'bridge-wanted':
        life.bridge.want(output.relay);
        break;
      case 'bridge-unwanted':
        life.bridge.unwant(output.relay);
        break;
      case 'notice':
      case 'clear-notice':
        break;
      case 'punch-open':
      case 'punch-send':
      case 'punch-adopt':
      case 'punch-close':
      case 'drop-socket':
        throw new Violation(`${this.name} guesses ports although that is switched off`);
      case 'check-server':
        if (output.slept === true) link.renew();
        else link.check();
        break;
      default:
        output satisfies never;
    }
  }

  #forget(network: string, reason: string): void {
    this.#world.trace.note(`${this.name} forgets ${network}: ${reason}`);
    const { [network]: _, ...secrets } = this.disk.settings.secrets;
    this.disk.update({ secrets });
    this.disk.removeNetwork(network);
  }
}

function describe(message: ServerMessage): string {
  switch (message.t) {
    case 'view':
      return `view ${message.network} r${message.revision} ${message.state}, ${message.members.length} members`;
    case 'delta': {
      const changes = message.changes.map(({ op }) => op).join(' ');
      return `delta ${message.network} r${message.from}-${message.to} ${changes}`;
    }
    case 'presence':
      return `presence ${message.network} ${message.clientId} ${message.presence}`;
    case 'removed':
      return `removed ${message.network} ${message.reason}`;
    case 'notice':
      return `notice ${message.code}`;
    case 'synchronised':
      return `synchronised ${message.networks.join(' ')}`;
    default:
      return message.t;
  }
}
