/**
 * The whole of Buri in one process under virtual time: members (the real machines), the real coordinator on a real
 * database, NATs, links that lose, copy and reorder. One seed gives one run.
 *
 *     users               what they send each other (packets.ts, ledger.ts), what they ask for (people.ts)
 *     Daemon              Member + data plane + control link + disk (daemon.ts)
 *     Site                a LAN behind a NAT (site.ts)   ── Network ──   another Site
 *     SimServer           Coordinator + SQLite (server.ts), a ControlWire to each daemon; STUN
 */
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { formatEndpoint } from '#wire/endpoint.ts';
import type { NatKind } from '../lab/nat-kinds.ts';
import { VirtualClock } from './clock.ts';
import type { Packet } from './nat.ts';
import { Network } from './network.ts';
import { deterministicCrypto, Random } from './random.ts';
import { RelayHost } from './relay-host.ts';
import { StunServer } from './stun-server.ts';
import { maxEventsPerMoment } from './world/bounds.ts';
import { ControlWire, type WireEnd } from './world/control-wire.ts';
import { Daemon, type DaemonWorld } from './world/daemon.ts';
import { checkDatagram, Ledger } from './world/ledger.ts';
import { encodePacket } from './world/packets.ts';
import { ProbeMeter } from './world/probe-meter.ts';
import { SimServer } from './world/server.ts';
import { Site } from './world/site.ts';
import { Trace, Violation } from './world/trace.ts';

export interface WorldOptions {
  readonly seed: number | string;
  readonly members: number;
  /** A site of such a kind for each member, without IPv6; by default a mixture that some share. */
  readonly everywhere?: NatKind;
}

/** Places as people have them: ordinary routers mostly. */
const siteKinds: readonly NatKind[] = [
  'port-restricted',
  'full-cone',
  'none',
  'symmetric',
  'host-firewall',
  'port-restricted',
  'address-restricted',
  'symmetric-sequential',
  'udp-blocked',
  'symmetric-block',
];
const serverHostAddresses = ['203.0.113.1', '2001:db8:ffff::1'];
/** Recorded datagrams that somebody on the way may send again. */
const maximumRecorded = 500;

export class World implements DaemonWorld {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly trace: Trace;
  readonly network: Network;
  readonly stun: StunServer;
  readonly server: SimServer;
  readonly ledger: Ledger;
  readonly sites: Site[] = [];
  readonly daemons: Daemon[] = [];
  readonly relays = new Map<string, RelayHost>();
  /** Ways through the Internet that are broken: `a b` for packets from site a to site b. */
  readonly blackHoles = new Set<string>();
  readonly recorded: Packet[] = [];
  /** End-to-end secrets: the server must never see one. */
  readonly secrets: Uint8Array[] = [];
  /** When the last packet of a pair arrived: `sender receiver`, client ids. */
  readonly lastDelivery = new Map<string, number>();
  readonly #probes = new ProbeMeter();
  readonly #filling: Random;
  readonly #recorder: Random;
  readonly #commits: { count: number };
  #commitsSeen = 0;
  #moment: number | undefined;
  #atMoment = 0;
  events = 0;
  datagrams = 0;

  private constructor(parts: Parts) {
    this.clock = parts.clock;
    this.random = parts.random;
    this.trace = parts.trace;
    this.network = parts.network;
    this.stun = parts.stun;
    this.server = parts.server;
    this.#commits = parts.commits;
    this.ledger = new Ledger(parts.server.store);
    this.#filling = this.random.fork('filling');
    this.#recorder = this.random.fork('recorder');
    this.network.onPacket = (packet, realm) =>
      this.#onPacket(packet, realm === this.network.internet);
    this.network.drop = (packet, realm) =>
      realm === this.network.internet && this.#isBroken(packet);
  }

  static async open({ seed, members, everywhere }: WorldOptions): Promise<World> {
    const clock = new VirtualClock();
    const random = new Random(seed);
    const trace = new Trace(clock);
    const network = new Network(clock, random.fork('network'));
    const stun = new StunServer(network.internet.host('server', serverHostAddresses));
    const commits = { count: 0 };
    const server = await SimServer.open({
      clock,
      trace,
      stun: stun.endpoints,
      crypto: deterministicCrypto(nodeCrypto, random.fork('server')),
      committed: () => {
        commits.count += 1;
      },
    });
    const world = new World({ clock, random, trace, network, stun, server, commits });
    world.#addRelays();
    world.#populate(members, everywhere);
    server.start();
    await server.settle();
    return world;
  }

  get clusterKey(): Uint8Array {
    return this.server.clusterKey;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }

  /** Lets time pass. */
  async advance(durationMs: number): Promise<void> {
    const end = this.clock.monotonic + durationMs;
    await this.#settle();
    while ((this.clock.next ?? Number.POSITIVE_INFINITY) <= end) {
      this.#countAtMoment();
      this.clock.step();
      this.events += 1;
      if (this.server.needsSettling) await this.#settle();
    }
    this.clock.runUntil(end);
  }

  /** One user sends another one a packet. `forged`: with the address of somebody else as its source. */
  say(from: Daemon, to: Daemon, options: { ipv6?: boolean; forgedAs?: Daemon } = {}): void {
    const [sender, receiver] = [from.disk.settings.self, to.disk.settings.self];
    if (sender === undefined || receiver === undefined || from.plane === undefined) return;
    const { ipv6 = false, forgedAs } = options;
    const address = (daemon: Daemon) => {
      const self = daemon.disk.settings.self!;
      return ipv6 ? self.ipv6 : self.ipv4;
    };
    const packet = encodePacket(
      {
        source: address(forgedAs ?? from),
        destination: address(to),
        number: this.ledger.nextNumber,
      },
      this.#filling.bytes(this.#filling.below(60)),
    );
    this.ledger.record(sender.clientId, receiver.clientId, packet, forgedAs !== undefined);
    if (forgedAs === undefined) from.plane.write(packet);
    else from.plane.forge(address(to), packet);
  }

  daemonOf(clientId: string): Daemon | undefined {
    return this.daemons.find((daemon) => daemon.clientId === clientId);
  }

  // What daemons need and tell.

  isOnline(daemon: Daemon): boolean {
    return !daemon.site.cut;
  }

  connect(daemon: Daemon, end: WireEnd): ControlWire | undefined {
    if (daemon.site.cut || !this.server.isUp) return undefined;
    const { clock } = this;
    const random = this.random.fork(`wire ${daemon.name} ${clock.monotonic}`);
    const wire = new ControlWire({ clock, random, delayMs: 21, jitterMs: 4 });
    const controlKey = daemon.crypto.x25519PublicKey(daemon.keys.control.bytes());
    const serverEnd = this.server.accept(wire, controlKey, `198.51.100.${daemon.site.index + 1}`);
    if (serverEnd === undefined) return undefined;
    wire.attach('client', end);
    wire.attach('server', serverEnd);
    return wire;
  }

  delivered(receiver: Daemon, packet: Uint8Array, tunnelOf: string | undefined): void {
    const receiverId = receiver.clientId!;
    const sender = this.ledger.delivered(receiverId, packet, tunnelOf, receiver.upToDateAt);
    this.lastDelivery.set(`${sender} ${receiverId}`, this.clock.monotonic);
  }

  accepted = (receiveKey: string, counter: number): void => {
    this.ledger.accepted(receiveKey, counter);
  };

  controlSent(daemon: Daemon, bytes: Uint8Array): void {
    this.trace.bytes(`${daemon.name} control`, bytes);
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.secrets.some((secret) => buffer.includes(secret))) {
      throw new Violation(`${daemon.name} tells the server an end-to-end secret`);
    }
    checkDatagram(bytes);
  }

  datagramSent(daemon: Daemon, bytes: Uint8Array): void {
    this.#probes.count(daemon.name, bytes, this.clock.monotonic);
  }

  /** Time must go on: whoever wants to be woken now for ever would stop it. */
  #countAtMoment(): void {
    const at = this.clock.next;
    this.#atMoment = at === this.#moment ? this.#atMoment + 1 : 0;
    this.#moment = at;
    if (this.#atMoment > maxEventsPerMoment) throw new Violation('time stands still');
  }

  async #settle(): Promise<void> {
    await this.server.settle();
    if (this.#commitsSeen === this.#commits.count) return;
    this.#commitsSeen = this.#commits.count;
    await this.ledger.refresh(this.clock.monotonic);
  }

  #onPacket(packet: Packet, isInternet: boolean): void {
    checkDatagram(packet.bytes);
    if (!isInternet) return;
    this.datagrams += 1;
    const { source, destination, bytes } = packet;
    this.trace.bytes(`${formatEndpoint(source)} ${formatEndpoint(destination)}`, bytes);
    if (this.recorded.length < maximumRecorded) this.recorded.push(packet);
    else if (this.#recorder.chance(0.1)) {
      this.recorded[this.#recorder.below(maximumRecorded)] = packet;
    }
  }

  #isBroken({ source, destination }: Packet): boolean {
    const from = this.#siteOf(source.address);
    const to = this.#siteOf(destination.address);
    if (from?.cut === true || to?.cut === true) return true;
    return (
      from !== undefined && to !== undefined && this.blackHoles.has(`${from.index} ${to.index}`)
    );
  }

  #siteOf(address: string): Site | undefined {
    return this.sites.find((site) => site.owns(address));
  }

  #addRelays(): void {
    for (const index of [1, 2]) {
      const host = this.network.internet.host(`relay ${index}`, [`203.0.113.${10 + index}`]);
      const crypto = deterministicCrypto(nodeCrypto, this.random.fork(`relay ${index}`));
      this.relays.set(`r${index}`, new RelayHost(`r${index}`, host, this.clock, crypto));
    }
  }

  #populate(members: number, everywhere: NatKind | undefined): void {
    const random = this.random.fork('population');
    const count = everywhere === undefined ? Math.max(4, Math.ceil(members * 0.6)) : members;
    for (let index = 0; index < count; index++) {
      const kind = everywhere ?? siteKinds[index % siteKinds.length]!;
      const hasIpv6 = everywhere === undefined && random.chance(0.35);
      this.sites.push(new Site(this.network, index, kind, hasIpv6));
    }
    for (let index = 0; index < members; index++) {
      const site = this.sites[index] ?? random.pick(this.sites);
      const both = ['chacha20poly1305', 'aes256gcm'];
      const daemon = new Daemon({
        world: this,
        index,
        site,
        crypto: deterministicCrypto(nodeCrypto, this.random.fork(`member ${index}`)),
        random: this.random.fork(`link ${index}`),
        suites: random.chance(0.8) ? both : both.slice(0, 1),
      });
      this.daemons.push(daemon);
      this.trace.note(`${daemon.name} is in ${site.name}`);
    }
  }
}

interface Parts {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly trace: Trace;
  readonly network: Network;
  readonly stun: StunServer;
  readonly server: SimServer;
  readonly commits: { count: number };
}
