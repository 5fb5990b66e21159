import { assert, BuriError } from '#core/errors.ts';
import { addressBytes, type Endpoint, familyOf } from '#wire/endpoint.ts';
import { MAX_MESSAGE_BYTES } from '#wire/inner.ts';
import { assertAddonBuilt } from './addon.ts';
import { COUNTER_NAMES } from './counters.ts';
import type {
  DatagramOptions,
  DeviceInfo,
  DeviceOptions,
  Engine,
  EngineCounters,
  EngineEvents,
  EnginePath,
  LanOptions,
  PeerCounters,
  PeerIndex,
  PeerOptions,
  SocketId,
  SocketInfo,
  SocketOptions,
  TransportKeys,
} from './engine.ts';
import { EngineThread, type Question } from './engine-thread.ts';
import { KEY_STATE_BYTES, MAX_PREFIX_BYTES, MAX_SEND_BYTES } from './layout.ts';
import type { AskedCommand, Command, EngineEvent, OpenedDevice } from './messages.ts';
import { type OffloadName, offloadBits } from './offloads.ts';
import { parsePrefix } from './prefix-table.ts';
import {
  MAX_PEERS,
  newSharedCounters,
  PEER_NUMBERS,
  PEER_RECEIVED_BYTES,
  PEER_RECEIVED_PACKETS,
  PEER_SENT_BYTES,
  PEER_SENT_PACKETS,
  type SharedCounters,
} from './tables.ts';
import { QUEUES } from './uplink.ts';

export const MAX_THREADS = 16;

export interface PacketEngineOptions {
  /** Byte work in TypeScript instead of C: slow, and the same on the wire. */
  readonly portable?: boolean;
  /** Goes without these offloads, as on a kernel that lacks them. For tests and broken drivers. */
  readonly withoutOffloads?: readonly OffloadName[];
  /** Threads that move packets, 1 to 16; 1 when absent. More serve machines with cores to spare and several busy peers. */
  readonly threads?: number;
  /** The engine goes on with so many threads, because one could not open what it needs. */
  readonly onFewerThreads?: (threads: number, reason: BuriError) => void;
}

/**
 * The engine over worker threads and the C addon. All threads know all peers and keys; each has a queue of the device and its own
 * sockets on the same ports, so that the kernel chooses the thread of a packet, for a flow always the same. The first thread
 * leads: it opens what the others join, and sends what the main thread has to send. BuriError on construction: addon-missing.
 */
export class PacketEngine implements Engine {
  readonly #events: EngineEvents;
  readonly #onFewerThreads: PacketEngineOptions['onFewerThreads'];
  readonly #first: EngineThread;
  #others: readonly EngineThread[];
  /** Of threads that ended, too: counters never go down. */
  readonly #shared: SharedCounters[] = [];
  /** The last change of the device or the sockets, while it goes on. */
  #changing: Promise<void> | undefined;
  #hasDevice = false;
  /** Why the engine takes no more commands. */
  #ended: BuriError | undefined;

  constructor(events: EngineEvents, options: PacketEngineOptions = {}) {
    const { portable = false, withoutOffloads = [], threads = 1, onFewerThreads } = options;
    // It leaves AES-256-GCM to node:crypto.
    const without: readonly OffloadName[] = portable
      ? [...withoutOffloads, 'vaes']
      : withoutOffloads;
    assertAddonBuilt();
    assert(
      Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS,
      'an engine has 1 to 16 threads',
    );
    assert(threads === 1 || !portable, 'the portable engine has one thread');
    this.#events = events;
    this.#onFewerThreads = onFewerThreads;
    const newThread = (isFurther: boolean): EngineThread => {
      const shared = newSharedCounters(QUEUES.length, this.#shared[0]);
      this.#shared.push(shared);
      return new EngineThread(
        { shared, threads, isFurther, portable, withoutOffloads: offloadBits(without) },
        {
          onEvent: (event) => this.#onEvent(event),
          onFailure: (error) => this.#fail(error),
        },
      );
    };
    this.#first = newThread(false);
    this.#others = Array.from({ length: threads - 1 }, () => newThread(true));
  }

  /** How many threads move packets. */
  get threads(): number {
    return 1 + this.#others.length;
  }

  openDevice(options: DeviceOptions): Promise<DeviceInfo> {
    for (const address of options.addresses) assertAddress(address);
    for (const address of options.broadcasts ?? []) assertAddress(address);
    for (const pool of options.pools ?? []) {
      assert(parsePrefix(pool) !== undefined, `'${pool}' is an address or a prefix`);
    }
    assert(
      options.mode === 'tun' || options.addresses.some((address) => familyOf(address) === 4),
      'a TAP device has an IPv4 address, as its MAC is made of it',
    );
    return this.#inTurn(async () => {
      const share = this.#others.length > 0 ? 'first' : 'alone';
      const opened = await this.#first.ask({ type: 'open-device', options, share });
      const { name, offloads, isShared } = opened as OpenedDevice;
      this.#hasDevice = true;
      await this.#join(async (thread) => {
        if (!isShared) throw oneQueue(name);
        await thread.ask({ type: 'open-device', options: { ...options, name }, share: 'join' });
      });
      return { name, offloads };
    });
  }

  closeDevice(): Promise<void> {
    return this.#inTurn(() => {
      this.#hasDevice = false;
      return this.#askAll({ type: 'close-device' });
    });
  }

  openSocket(options: SocketOptions): Promise<SocketInfo> {
    return this.#inTurn(async () => {
      const share = this.#others.length > 0 ? 'first' : 'alone';
      const question = { type: 'open-socket', options, share, socket: undefined } as const;
      const opened = (await this.#first.ask(question)) as SocketInfo;
      const { port, socket } = opened;
      await this.#join((thread) =>
        thread.ask({ ...question, options: { ...options, port }, share: 'join', socket }),
      );
      return opened;
    });
  }

  adoptSocket(descriptor: number): Promise<SocketInfo> {
    return this.#inTurn(async () => {
      const share = this.#others.length > 0 ? 'first' : 'alone';
      const question = { type: 'adopt-socket', descriptor, share, socket: undefined } as const;
      const opened = (await this.#first.ask(question)) as SocketInfo;
      const { socket } = opened;
      await this.#join((thread) => thread.ask({ ...question, share: 'join', socket }));
      return opened;
    });
  }

  closeSocket(socket: SocketId): Promise<void> {
    return this.#inTurn(() => this.#askAll({ type: 'close-socket', socket }));
  }

  setPeer(peer: PeerIndex, options: PeerOptions): void {
    assertPeer(peer);
    const { innerPrefixes } = options;
    for (const prefix of innerPrefixes) {
      assert(parsePrefix(prefix) !== undefined, `'${prefix}' is an address or a prefix`);
    }
    this.#send({ type: 'set-peer', peer, innerPrefixes });
  }

  removePeer(peer: PeerIndex): void {
    assertPeer(peer);
    this.#send({ type: 'remove-peer', peer });
  }

  setPath(peer: PeerIndex, path: EnginePath | undefined): void {
    assertPeer(peer);
    if (path !== undefined) {
      assertEndpoint(path.remote);
      assert((path.prefix?.length ?? 0) <= MAX_PREFIX_BYTES, 'a path prefix has at most 64 bytes');
    }
    this.#send({ type: 'set-path', peer, path });
  }

  installKeys(keys: TransportKeys): void {
    this.installKeysFrom(keys, 0n);
  }

  /** `installKeys` with the counter of the first packet sent, for tests of the message limits. */
  installKeysFrom(keys: TransportKeys, firstCounter: bigint): void {
    assertPeer(keys.peer);
    assert(keys.sendKey.length === 32 && keys.receiveKey.length === 32, 'keys have 32 bytes');
    const shared =
      this.#others.length > 0 ? new Uint8Array(new SharedArrayBuffer(KEY_STATE_BYTES)) : undefined;
    this.#send({ type: 'install-keys', keys, firstCounter, shared });
  }

  activateKeys(localIndex: number): void {
    this.#send({ type: 'activate-keys', localIndex });
  }

  removeKeys(localIndex: number): void {
    this.#send({ type: 'remove-keys', localIndex });
  }

  sendKeepalive(peer: PeerIndex): void {
    assertPeer(peer);
    this.#first.send({ type: 'send-keepalive', peer });
  }

  setLan(peer: PeerIndex, options: LanOptions): void {
    assertPeer(peer);
    if (options.groups !== 'all') for (const group of options.groups) assertAddress(group);
    this.#send({ type: 'set-lan', peer, options });
  }

  sendMessage(peer: PeerIndex, bytes: Uint8Array): void {
    assertPeer(peer);
    assert(bytes.length > 0 && bytes.length <= MAX_MESSAGE_BYTES, 'a message has 1 to 1,200 bytes');
    this.#first.send({ type: 'send-message', peer, bytes });
  }

  sendDatagram(
    socket: SocketId,
    remote: Endpoint,
    bytes: Uint8Array,
    options: DatagramOptions = {},
  ): void {
    assertEndpoint(remote);
    assert(bytes.length <= MAX_SEND_BYTES, 'a datagram has at most 65,507 bytes');
    const { ttl = 0, dontFragment = false } = options;
    this.#first.send({ type: 'send-datagram', socket, remote, bytes, ttl, dontFragment });
  }

  setLocalPublicKey(publicKey: Uint8Array): void {
    assert(publicKey.length === 32, 'a public key has 32 bytes');
    this.#send({ type: 'set-public-key', publicKey });
  }

  counters(): EngineCounters {
    return Object.fromEntries(
      COUNTER_NAMES.map((name, i) => [name, this.#sum(({ engine }) => engine[i]!)]),
    );
  }

  /** The counters of each thread, ended ones included: how the work is spread. */
  threadCounters(): EngineCounters[] {
    return this.#shared.map(({ engine }) =>
      Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, engine[i]!])),
    );
  }

  peerCounters(peer: PeerIndex): PeerCounters {
    assertPeer(peer);
    const at = peer * PEER_NUMBERS;
    const sum = (number: number): number => this.#sum(({ peers }) => peers[at + number]!);
    return {
      sentBytes: sum(PEER_SENT_BYTES),
      sentPackets: sum(PEER_SENT_PACKETS),
      receivedBytes: sum(PEER_RECEIVED_BYTES),
      receivedPackets: sum(PEER_RECEIVED_PACKETS),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end(new BuriError('engine-closed', 'the packet engine was closed'));
  }

  #sum(of: (shared: SharedCounters) => number): number {
    return this.#shared.reduce((sum, shared) => sum + of(shared), 0);
  }

  #send(command: Exclude<Command, AskedCommand>): void {
    this.#first.send(command);
    for (const thread of this.#others) thread.send(command);
  }

  async #askAll(question: Question): Promise<void> {
    await Promise.all([this.#first, ...this.#others].map((thread) => thread.ask(question)));
  }

  /** One change of device and sockets after the other, because each goes through all threads. */
  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#changing === undefined ? change() : this.#changing.then(change);
    const settled = result.then(
      () => {},
      () => {},
    );
    this.#changing = settled;
    void settled.then(() => {
      if (this.#changing === settled) this.#changing = undefined;
    });
    return result;
  }

  /** Lets the other threads join what the first has opened. Those that cannot end: the engine goes on with fewer. */
  async #join(open: (thread: EngineThread) => Promise<unknown>): Promise<void> {
    const threads = this.#others;
    const results = await Promise.allSettled(threads.map(open));
    if (this.#ended !== undefined) throw this.#ended;
    for (const [i, result] of results.entries()) {
      if (result.status === 'fulfilled') continue;
      if (!(result.reason instanceof BuriError)) throw result.reason;
      await this.#retire(threads[i]!, result.reason);
    }
  }

  /** What a thread received before its sockets closed is still delivered. */
  async #retire(thread: EngineThread, reason: BuriError): Promise<void> {
    this.#others = this.#others.filter((other) => other !== thread);
    await thread.ask({ type: 'close-all' });
    await thread.end(reason);
    this.#onFewerThreads?.(this.threads, reason);
  }

  #onEvent(event: EngineEvent): void {
    switch (event.type) {
      case 'datagram':
        this.#events.onDatagram(event.kind, event.bytes, event.socket, event.remote);
        return;
      case 'want-session':
        this.#events.onWantSession(event.peer);
        return;
      case 'activity':
        this.#events.onActivity(event.activity);
        return;
      case 'roam':
        this.#events.onRoam(event.peer, event.socket, event.remote);
        return;
      case 'confirmed':
        this.#events.onConfirmed(event.peer, event.localIndex);
        return;
      case 'rekey-limit':
        this.#events.onRekeyLimit(event.peer, event.localIndex);
        return;
      case 'groups-changed':
        this.#events.onGroupsChanged();
        return;
      case 'message':
        this.#events.onMessage(event.peer, event.bytes);
        return;
      case 'device-lost':
        this.#loseDevice(event.reason);
        return;
      default:
        event satisfies never;
    }
  }

  /** Every thread notices that the device is gone; the owner hears it once, when another can be opened. */
  #loseDevice(reason: string): void {
    if (!this.#hasDevice) return;
    this.#hasDevice = false;
    this.#inTurn(() => this.#askAll({ type: 'close-device' })).then(
      () => this.#events.onDeviceLost(reason),
      () => {}, // the engine ended meanwhile
    );
  }

  /** A thread is gone, and so is the engine: for the owner it is as if the device had vanished. */
  #fail(error: BuriError): void {
    if (this.#ended !== undefined) return;
    void this.#end(error);
    this.#events.onDeviceLost(error.message);
  }

  /** Ends all threads; whoever waits for an answer hears why. */
  async #end(reason: BuriError): Promise<void> {
    this.#ended ??= reason;
    await Promise.all([this.#first, ...this.#others].map((thread) => thread.end(reason)));
  }
}

const oneQueue = (name: string): BuriError =>
  new BuriError('device-one-queue', `the interface '${name}' takes one thread only`);

const assertPeer = (peer: PeerIndex): void =>
  assert(Number.isInteger(peer) && peer >= 0 && peer < MAX_PEERS, 'a peer index is 0 to 65,535');

const assertAddress = (address: string): void =>
  assert(addressBytes(address) !== undefined, `'${address}' is an address`);

function assertEndpoint({ address, port }: Endpoint): void {
  assertAddress(address);
  assert(port >= 1 && port <= 65_535, 'a port is 1 to 65,535');
}
