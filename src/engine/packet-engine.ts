import { Worker } from 'node:worker_threads';
import { assert, BuriError } from '#core/errors.ts';
import { addressBytes, type Endpoint } from '#wire/endpoint.ts';
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
import { MAX_PREFIX_BYTES, MAX_SEND_BYTES } from './layout.ts';
import type { Command, EngineEvent, Report, WorkerSettings } from './messages.ts';
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
} from './tables.ts';
import { QUEUES, queueOf } from './uplink.ts';

export interface PacketEngineOptions {
  /** Byte work in TypeScript instead of C: slow, and the same on the wire. */
  readonly portable?: boolean;
  /** Goes without these offloads, as on a kernel that lacks them. For tests and broken drivers. */
  readonly withoutOffloads?: readonly OffloadName[];
}

interface Waiting {
  resolve(result: DeviceInfo | SocketInfo | undefined): void;
  reject(error: Error): void;
}

type Answered = Extract<Command, { id: number }>;
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

/** The engine over a worker thread and the C addon. BuriError on construction: addon-missing. */
export class PacketEngine implements Engine {
  readonly #events: EngineEvents;
  readonly #worker: Worker;
  readonly #shared = newSharedCounters(QUEUES.length);
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #failure: BuriError | undefined;
  #disposed = false;

  constructor(events: EngineEvents, options: PacketEngineOptions = {}) {
    assertAddonBuilt();
    this.#events = events;
    const settings: WorkerSettings = {
      shared: this.#shared,
      portable: options.portable ?? false,
      withoutOffloads: offloadBits(options.withoutOffloads ?? []),
    };
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: settings });
    this.#worker.on('message', (report: Report) => this.#onReport(report));
    this.#worker.on('error', (error) => {
      const text = error instanceof Error ? error.message : String(error);
      this.#fail(
        new BuriError('engine-failed', `the packet engine failed: ${text}`, { cause: error }),
      );
    });
  }

  openDevice(options: DeviceOptions): Promise<DeviceInfo> {
    for (const address of options.addresses) assertAddress(address);
    for (const address of options.broadcasts ?? []) assertAddress(address);
    return this.#ask({ type: 'open-device', options }) as Promise<DeviceInfo>;
  }

  async closeDevice(): Promise<void> {
    await this.#ask({ type: 'close-device' });
  }

  openSocket(options: SocketOptions): Promise<SocketInfo> {
    return this.#ask({ type: 'open-socket', options }) as Promise<SocketInfo>;
  }

  async closeSocket(socket: SocketId): Promise<void> {
    await this.#ask({ type: 'close-socket', socket });
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
    this.#send({ type: 'install-keys', keys, firstCounter });
  }

  activateKeys(localIndex: number): void {
    this.#send({ type: 'activate-keys', localIndex });
  }

  removeKeys(localIndex: number): void {
    this.#send({ type: 'remove-keys', localIndex });
  }

  sendKeepalive(peer: PeerIndex): void {
    assertPeer(peer);
    this.#send({ type: 'send-keepalive', peer });
  }

  setLan(peer: PeerIndex, options: LanOptions): void {
    assertPeer(peer);
    if (options.groups !== 'all') for (const group of options.groups) assertAddress(group);
    this.#send({ type: 'set-lan', peer, options });
  }

  sendMessage(peer: PeerIndex, bytes: Uint8Array): void {
    assertPeer(peer);
    assert(bytes.length > 0 && bytes.length <= MAX_MESSAGE_BYTES, 'a message has 1 to 1,200 bytes');
    this.#send({ type: 'send-message', peer, bytes });
  }

  sendDatagram(
    socket: SocketId,
    remote: Endpoint,
    bytes: Uint8Array,
    options: DatagramOptions = {},
  ): void {
    assertEndpoint(remote);
    assert(bytes.length <= MAX_SEND_BYTES, 'a datagram has at most 65,507 bytes');
    this.#send({ type: 'send-datagram', socket, remote, bytes, ttl: options.ttl ?? 0 });
  }

  setLocalPublicKey(publicKey: Uint8Array): void {
    assert(publicKey.length === 32, 'a public key has 32 bytes');
    this.#send({ type: 'set-public-key', publicKey });
  }

  counters(): EngineCounters {
    return Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, this.#shared.engine[i]!]));
  }

  peerCounters(peer: PeerIndex): PeerCounters {
    assertPeer(peer);
    const numbers = this.#shared.peers;
    const at = peer * PEER_NUMBERS;
    return {
      sentBytes: numbers[at + PEER_SENT_BYTES]!,
      sentPackets: numbers[at + PEER_SENT_PACKETS]!,
      receivedBytes: numbers[at + PEER_RECEIVED_BYTES]!,
      receivedPackets: numbers[at + PEER_RECEIVED_PACKETS]!,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    const ended = new BuriError('engine-closed', 'the packet engine was closed');
    for (const { reject } of this.#waiting.values()) reject(ended);
    this.#waiting.clear();
    await this.#worker.terminate();
  }

  #send(command: Exclude<Command, Answered>): void {
    if (!this.#disposed) this.#worker.postMessage(command);
  }

  #ask(command: WithoutId<Answered>): Promise<DeviceInfo | SocketInfo | undefined> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#disposed) {
      return Promise.reject(new BuriError('engine-closed', 'the packet engine was closed'));
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...command, id });
    });
  }

  #onReport(report: Report): void {
    switch (report.type) {
      case 'events':
        for (const event of report.events) this.#onEvent(event);
        return;
      case 'done':
        this.#waiting.get(report.id)?.resolve(report.result);
        this.#waiting.delete(report.id);
        return;
      case 'failed': {
        const error = new BuriError(report.code, report.message);
        if (report.id === undefined) {
          this.#fail(error);
          return;
        }
        this.#waiting.get(report.id)?.reject(error);
        this.#waiting.delete(report.id);
        return;
      }
      default:
        report satisfies never;
    }
  }

  #onEvent(event: EngineEvent): void {
    Atomics.add(this.#shared.consumed, QUEUES.indexOf(queueOf(event)), 1);
    if (this.#disposed) return;
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
        this.#events.onDeviceLost(event.reason);
        return;
      default:
        event satisfies never;
    }
  }

  /** The worker is gone: whoever waits hears it, and so does the owner, for whom it is as if the device had vanished. */
  #fail(error: BuriError): void {
    if (this.#disposed || this.#failure !== undefined) return;
    this.#failure = error;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
    this.#events.onDeviceLost(error.message);
  }
}

const assertPeer = (peer: PeerIndex): void =>
  assert(Number.isInteger(peer) && peer >= 0 && peer < MAX_PEERS, 'a peer index is 0 to 65,535');

const assertAddress = (address: string): void =>
  assert(addressBytes(address) !== undefined, `'${address}' is an address`);

function assertEndpoint({ address, port }: Endpoint): void {
  assertAddress(address);
  assert(port >= 1 && port <= 65_535, 'a port is 1 to 65,535');
}
