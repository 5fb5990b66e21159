/**
 * Members joined by hand under virtual time: a server that forwards and keeps views, a wire between public addresses, and an
 * engine of a few lines that really seals and opens.
 */
import { hex } from '#core/bytes.ts';
import type { MemberInput, MemberOutput } from '#core/member/io.ts';
import { Member } from '#core/member/member.ts';
import type { MemberOptions } from '#core/member/options.ts';
import type { Path } from '#core/path/path.ts';
import { Keypair } from '#core/session/keypair.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import {
  type ClientMessage,
  decodeServerMessage,
  encodeMessage,
  type ServerMessage,
  type ServerMessageOf,
} from '#wire/control.ts';
import type { Presence } from '#wire/fields.ts';
import { INNER_HEADER_BYTES, readInnerHeader, writeInnerHeader } from '#wire/inner.ts';
import { signDocument } from '#wire/signed.ts';
import { messageKind } from '#wire/wireguard.ts';
import { type Scheduled, VirtualClock } from '../../sim/clock.ts';
import { deterministicCrypto, Random } from '../../sim/random.ts';
import { keyOf, TestCluster, type TestDevice } from './cluster.ts';

const wireDelayMs = 10;
const serverDelayMs = 5;
const punchInMs = 50;
const dataByte = 0xda;

export class MemberRig {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly crypto;
  readonly cluster: TestCluster;
  readonly nodes = new Map<string, MemberNode>();
  /** Everything that a member sent, for tests that look at it. */
  readonly wire: { from: string; bytes: Uint8Array }[] = [];
  /** Whether a datagram gets through. */
  passes: (from: MemberNode, to: MemberNode) => boolean = () => true;
  readonly #views = new Map<string, ServerMessageOf<'view'>>();

  constructor(seed = 'members') {
    this.random = new Random(seed);
    this.crypto = deterministicCrypto(nodeCrypto, this.random);
    this.cluster = new TestCluster(this.clock.now.wall);
  }

  add(device: TestDevice, options: Partial<MemberOptions> = {}): MemberNode {
    const node = new MemberNode(this, device, options);
    this.nodes.set(device.clientId, node);
    return node;
  }

  node(clientId: string): MemberNode | undefined {
    return this.nodes.get(clientId);
  }

  /** The server's view of a network: whoever connects, or asks, gets it. */
  setView(view: ServerMessageOf<'view'>): void {
    this.#views.set(view.network, view);
  }

  view(network: string): ServerMessageOf<'view'> {
    return this.#views.get(network)!;
  }

  presence(network: string, clientId: string, presence: Presence): void {
    for (const node of this.nodes.values()) {
      if (node.device.clientId === clientId) continue;
      node.fromServer({ t: 'presence', network, clientId, presence });
    }
  }

  /** What the server does with a message of a client. */
  receive(from: MemberNode, message: ClientMessage): void {
    if (message.t === 'resync') {
      const view = this.#views.get(message.network);
      if (view !== undefined) from.fromServer(view);
      return;
    }
    if (message.t !== 'signal') return;
    const to = this.nodes.get(message.to);
    const { clientId } = from.device;
    if (to === undefined || !to.isConnected) {
      from.fromServer({ t: 'undelivered', to: message.to });
      return;
    }
    const punch = message.punch ? { punchInMs } : {};
    to.fromServer({ t: 'signal', from: clientId, sealed: message.sealed, ...punch });
    if (message.punch) from.fromServer({ t: 'punch', peer: message.to, punchInMs });
  }

  deliver(from: MemberNode, address: string, bytes: Uint8Array): void {
    this.wire.push({ from: from.device.name, bytes });
    const to = [...this.nodes.values()].find((node) => node.address === address);
    const source = from.address;
    if (to === undefined || !this.passes(from, to)) return;
    this.clock.in(wireDelayMs, () => to.datagram(bytes, source));
  }
}

interface EnginePeer {
  prefixes: readonly string[];
  path: Path | undefined;
  active: Keypair | undefined;
}

export class MemberNode {
  readonly device: TestDevice;
  address: string;
  /** What its machine sees as its address: another one when it is behind a NAT. */
  inside: string | undefined;
  readonly inbox: string[] = [];
  readonly outputs: MemberOutput[] = [];
  readonly peers = new Map<number, EnginePeer>();
  member: Member;
  isConnected = false;
  readonly #rig: MemberRig;
  readonly #keypairs = new Map<number, { peer: number; keypair: Keypair; used: boolean }>();
  #timer: Scheduled | undefined;

  constructor(rig: MemberRig, device: TestDevice, options: Partial<MemberOptions>) {
    this.#rig = rig;
    this.device = device;
    this.address = `198.51.100.${device.ipv4.split('.')[3]}`;
    this.member = this.#make(options);
    this.#open();
  }

  /** The process died and came back, with what it had on disk. */
  restart(options: Partial<MemberOptions> = {}): void {
    this.#timer?.cancel();
    this.peers.clear();
    this.#keypairs.clear();
    this.isConnected = false;
    this.member = this.#make(options);
    this.#open();
  }

  connect(): void {
    this.isConnected = true;
    const { ipv4, ipv6, clientId } = this.device;
    const { cluster, clock } = this.#rig;
    const serverTime = Math.floor(clock.now.wall);
    const nodeList = signDocument(
      'node-list',
      { serial: 1, issuedAt: serverTime, notAfter: serverTime + 1e9, nodes: [] },
      (message) => nodeCrypto.ed25519Sign(cluster.seed, message),
    );
    const welcome: ServerMessage = {
      t: 'welcome',
      ...{ clientId, ipv4, ipv6, serverTime, nodeList },
      pool4: '100.64.0.0/10',
      pool6: 'fd62:7572:6900::/96',
      graceMs: 60_000,
      software: 'test',
    };
    this.feed({ type: 'connected', welcome, serverAddress: undefined });
    const networks = [...this.member.secrets.keys()];
    for (const id of networks) this.fromServer(this.#rig.view(id));
    this.fromServer({ t: 'synchronised', networks });
  }

  /** To another network. */
  move(address: string, inside?: string): void {
    this.address = address;
    this.inside = inside;
    this.#feedAddresses(true);
  }

  disconnect(): void {
    this.isConnected = false;
    this.feed({ type: 'disconnected' });
  }

  /** Through the codec, as over a real connection. */
  fromServer(message: ServerMessage): void {
    const decoded = decodeServerMessage(encodeMessage(message));
    if (typeof decoded === 'string') throw new Error(`bad test message: ${decoded}`);
    this.#rig.clock.in(serverDelayMs, () => {
      if (this.isConnected) this.feed({ type: 'server', message: decoded });
    });
  }

  feed(input: MemberInput): void {
    const { clock } = this.#rig;
    this.member.handle(input, clock.now);
    for (let out = this.member.poll(); out !== undefined; out = this.member.poll()) {
      this.outputs.push(out);
      this.#carryOut(out);
    }
    this.#timer?.cancel();
    const deadline = this.member.deadline();
    if (deadline !== undefined) {
      this.#timer = clock.at(deadline, () => this.feed({ type: 'tick' }));
    }
  }

  /** A packet to an inner address. False when it had to wait: sent by nobody later, in this engine. */
  send(ipv4: string, text: string): boolean {
    for (const [index, peer] of this.peers) {
      if (!peer.prefixes.includes(ipv4)) continue;
      const sealed = peer.path && peer.active?.seal(new TextEncoder().encode(text));
      if (sealed === undefined) {
        this.feed({ type: 'want', peer: index });
        return false;
      }
      this.#rig.deliver(this, peer.path!.remote.address, concat(dataByte, sealed));
      this.#report(index, peer.active!.localIndex, { sentData: true });
      return true;
    }
    return false;
  }

  datagram(bytes: Uint8Array, from: string): void {
    const remote = { address: from, port: 4000 };
    if (bytes[0] === dataByte) {
      this.#data(bytes.subarray(1));
      return;
    }
    const kind = messageKind(bytes);
    if (kind === undefined) this.feed({ type: 'datagram', kind: 'buri', bytes, socket: 1, remote });
    else if (kind !== 'transport') this.feed({ type: 'datagram', kind, bytes, socket: 1, remote });
  }

  #data(bytes: Uint8Array): void {
    const index = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
    const entry = this.#keypairs.get(index);
    const opened = entry?.keypair.open(bytes.slice());
    if (entry === undefined || opened === undefined || !('packet' in opened)) return;
    const { peer } = entry;
    if (!entry.used) this.feed({ type: 'confirmed', peer, localIndex: index });
    entry.used = true;
    const isKeepalive = opened.packet.length === 0;
    this.#report(peer, index, isKeepalive ? { receivedKeepalive: true } : { receivedData: true });
    const message = readInnerHeader(opened.packet);
    if (message?.kind === 'message') {
      const bytes = opened.packet.slice(INNER_HEADER_BYTES, INNER_HEADER_BYTES + message.length);
      this.feed({ type: 'message', peer, bytes });
      return;
    }
    if (!isKeepalive) this.inbox.push(new TextDecoder().decode(opened.packet).replace(/\0+$/, ''));
  }

  #report(peer: number, localIndex: number, what: object): void {
    const nothing = {
      sentData: false,
      sentKeepalive: false,
      receivedData: false,
      receivedKeepalive: false,
    };
    this.feed({ type: 'activity', activity: { peer, localIndex, ...nothing, ...what } });
  }

  #carryOut(output: MemberOutput): void {
    switch (output.type) {
      case 'send': {
        const { message } = output;
        this.#rig.clock.in(serverDelayMs, () => {
          if (this.isConnected) this.#rig.receive(this, message);
        });
        break;
      }
      case 'datagram':
        this.#rig.deliver(this, output.remote.address, output.bytes);
        break;
      case 'set-peer':
        this.peers.set(output.peer, {
          path: undefined,
          active: undefined,
          ...this.peers.get(output.peer),
          prefixes: output.innerPrefixes,
        });
        break;
      case 'remove-peer':
        this.peers.delete(output.peer);
        break;
      case 'set-path': {
        const peer = this.peers.get(output.peer);
        if (peer !== undefined) peer.path = output.path;
        break;
      }
      case 'install-keys':
        this.#keypairs.set(output.keys.localIndex, {
          peer: output.keys.peer,
          keypair: new Keypair(nodeCrypto, output.keys),
          used: false,
        });
        break;
      case 'activate-keys': {
        const entry = this.#keypairs.get(output.localIndex);
        const peer = entry && this.peers.get(entry.peer);
        if (entry !== undefined && peer !== undefined) peer.active = entry.keypair;
        break;
      }
      case 'remove-keys': {
        const entry = this.#keypairs.get(output.localIndex);
        const peer = entry && this.peers.get(entry.peer);
        if (peer !== undefined && peer.active === entry?.keypair) peer.active = undefined;
        this.#keypairs.delete(output.localIndex);
        break;
      }
      case 'keepalive': {
        const peer = this.peers.get(output.peer);
        const sealed = peer?.active?.seal(new Uint8Array(0));
        if (peer?.path !== undefined && sealed !== undefined) {
          this.#rig.deliver(this, peer.path.remote.address, concat(dataByte, sealed));
        }
        break;
      }
      case 'message': {
        const { bytes } = output;
        const packet = new Uint8Array(INNER_HEADER_BYTES + bytes.length);
        writeInnerHeader(packet, 0, { kind: 'message', length: bytes.length });
        packet.set(bytes, INNER_HEADER_BYTES);
        const peer = this.peers.get(output.peer);
        const sealed = peer?.active?.seal(packet);
        if (peer?.path === undefined || sealed === undefined) break;
        this.#rig.deliver(this, peer.path.remote.address, concat(dataByte, sealed));
        break;
      }
      default:
    }
  }

  #make(options: Partial<MemberOptions>): Member {
    const { crypto, cluster } = this.#rig;
    const { identity, clientId, tunnelKey, tunnelPrivateKey } = this.device;
    return new Member({
      crypto,
      clusterKey: cluster.key,
      tunnelKey: { privateKey: tunnelPrivateKey, publicKey: tunnelKey },
      identity: hex(identity),
      suites: ['chacha20poly1305'],
      extensionVersion: 1,
      clientId,
      pools: ['100.64.0.0/10', 'fd62:7572:6900::/96'],
      networks: [],
      secrets: new Map(),
      serverTimeMs: 0,
      ...options,
    });
  }

  #open(): void {
    this.feed({ type: 'sockets', sockets: [{ socket: 1, family: 4, localPort: 4000 }] });
    this.#feedAddresses(false);
  }

  #feedAddresses(changed: boolean): void {
    const addresses = [{ interface: 'eth0', address: this.inside ?? this.address }];
    this.feed({ type: 'local-addresses', addresses, changed });
  }
}

/** The network of {@link rigOf}. */
export const net = '100-000-001';

/** All are members of one network, and connected. */
export function rigOf(devices: readonly TestDevice[], seed?: string) {
  const rig = new MemberRig(seed);
  const members = devices.map((device) => rig.cluster.member(net, device));
  rig.setView(rig.cluster.view(net, members));
  const nodes = devices.map((device) => rig.add(device, { secrets: secretsOf(net) }));
  for (const node of nodes) node.connect();
  return { rig, nodes: nodes as [MemberNode, MemberNode, ...MemberNode[]] };
}

/** The packet arrives, sent again until it does, within the time. */
export function arrives(
  rig: MemberRig,
  from: MemberNode,
  to: MemberNode,
  withinMs: number,
): boolean {
  const text = `packet ${rig.clock.now.monotonic} of ${from.device.name}`;
  for (let waited = 0; waited < withinMs; waited += 100) {
    from.send(to.device.ipv4, text);
    rig.clock.run(100);
    if (to.inbox.includes(text)) return true;
  }
  return false;
}

/** Secrets of networks, by id, as every member of them has them. */
export const secretsOf = (...networks: readonly string[]): ReadonlyMap<string, Uint8Array> =>
  new Map(networks.map((id) => [id, keyOf(id)]));

function concat(first: number, rest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + rest.length);
  bytes[0] = first;
  bytes.set(rest, 1);
  return bytes;
}
