import { constants } from 'node:os';
import { BuriError } from '#core/errors.ts';
import { addressBytes } from '#wire/endpoint.ts';
import { ACTIVITY_INTERVAL_MS, Activity, peerActivity, SENT_KEEPALIVE } from './activity.ts';
import { type Addon, type ByteWork, READABLE, suiteOf, WRITABLE } from './addon.ts';
import { COUNTER } from './counters.ts';
import type {
  DeviceOptions,
  EnginePath,
  SocketInfo,
  SocketOptions,
  TransportKeys,
} from './engine.ts';
import { macOf } from './ethernet.ts';
import type { Segment } from './ethernet-judge.ts';
import { FanOut } from './fan-out.ts';
import { GroupTraffic } from './group-traffic.ts';
import { pumpSocket, type Received } from './inbound.ts';
import { LanTable } from './lan-table.ts';
import {
  ITEM_WORDS,
  MAX_SLOTS,
  MAX_SOCKETS,
  SHARE_FIRST,
  SHARE_JOIN,
  SHARE_NOT,
} from './layout.ts';
import { Mac1Check } from './mac1.ts';
import type {
  AskedCommand,
  Command,
  OpenedDevice,
  Report,
  Share,
  WorkerSettings,
} from './messages.ts';
import { ALL_OFFLOADS, offloadNames } from './offloads.ts';
import { adoptError, deviceError, socketError } from './open-errors.ts';
import { pumpDevice, sendStaged } from './outbound.ts';
import { MESSAGE_RATE, sendMessage } from './peer-messages.ts';
import { PeerTable } from './peer-table.ts';
import { type PlaneState, wantSession } from './plane-state.ts';
import { PrefixTable, parsePrefix } from './prefix-table.ts';
import { Staging } from './staging.ts';
import { newTables, OUT_BATCH_BYTES, PEER_NUMBERS, type Tables } from './tables.ts';
import { PeerBuckets } from './token-bucket.ts';
import { TOO_BIG_RATE } from './too-big.ts';
import { Uplink } from './uplink.ts';

/** Batches of each direction in one turn of the loop; then everybody else has theirs. */
const BATCHES_PER_TURN = 4;

const NO_PREFIX = new Uint8Array(0);

const SHARES = { alone: SHARE_NOT, first: SHARE_FIRST, join: SHARE_JOIN } as const;

/** Units that the device had no room for; receiving pauses until they are written. */
interface Blocked {
  next: number;
  units: number;
}

/**
 * The worker's side of the engine: executes commands in order, and moves packets whenever the device or a socket is
 * ready. Everything is synchronous; nothing runs while nothing is ready.
 */
export class DataPlane {
  readonly #state: PlaneState;
  readonly #withoutOffloads: number;
  readonly #post: (report: Report) => void;
  readonly #sockets = new Set<number>();
  /** Those of them that another thread reads. */
  readonly #sendOnly = new Set<number>();
  readonly #received: Received = { messages: 0, units: 0 };
  #deviceOpen = false;
  #blocked: Blocked | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    settings: WorkerSettings,
    addon: Addon,
    newByteWork: (tables: Tables) => ByteWork,
    post: (report: Report) => void,
    catchUp: () => void,
  ) {
    const tables = newTables(settings.shared.engine);
    const { out, incoming, run, items, messages, runs, units, pieces, counters } = tables;
    addon.bind(out, OUT_BATCH_BYTES, incoming, run, items, messages, runs, units, pieces, counters);
    addon.onReady((id, events) => this.#onReady(id, events));
    const peers = new PeerTable();
    const uplink = new Uplink(post, settings.shared.posted, settings.shared.consumed, counters);
    this.#post = post;
    this.#withoutOffloads = settings.withoutOffloads;
    this.#state = {
      addon,
      bytes: newByteWork(tables),
      tables,
      peerNumbers: settings.shared.peers,
      peers,
      ours: new PrefixTable(),
      ethernet: undefined,
      staging: new Staging(ITEM_WORDS),
      activity: new Activity((slot, flags) => {
        const { peer, localIndex } = peers.key(slot);
        return uplink.push({ type: 'activity', activity: peerActivity(peer, localIndex, flags) });
      }),
      uplink,
      lan: new LanTable(),
      groups: new GroupTraffic(settings.threads),
      fanOut: new FanOut(),
      messageRates: new PeerBuckets(MESSAGE_RATE),
      tooBigRates: new PeerBuckets(TOO_BIG_RATE),
      catchUp: settings.isFurther ? catchUp : undefined,
      mac1: undefined,
    };
  }

  execute(command: Command): void {
    if (!('id' in command)) {
      this.#apply(command);
    } else {
      try {
        this.#post({ type: 'done', id: command.id, result: this.#answer(command) });
      } catch (error) {
        if (!(error instanceof BuriError)) throw error;
        const { code, message } = error;
        this.#post({ type: 'failed', id: command.id, code, message });
      }
    }
    this.#endTurn(performance.now());
  }

  #answer(command: AskedCommand): OpenedDevice | SocketInfo | undefined {
    switch (command.type) {
      case 'open-device':
        return this.#openDevice(command.options, command.share);
      case 'close-device':
        this.#closeDevice();
        return undefined;
      case 'open-socket':
        return this.#openSocket(command.options, command.share, command.socket ?? -1);
      case 'adopt-socket':
        return this.#adoptSocket(command.descriptor, command.share, command.socket ?? -1);
      case 'close-socket':
        this.#closeSocket(command.socket);
        return undefined;
      case 'close-all':
        this.#closeDevice();
        for (const socket of [...this.#sockets]) this.#closeSocket(socket);
        return undefined;
      default:
        return command satisfies never;
    }
  }

  #apply(command: Exclude<Command, AskedCommand>): void {
    const { peers, staging, addon, bytes, lan, groups, messageRates } = this.#state;
    switch (command.type) {
      case 'set-peer':
        peers.setPrefixes(command.peer, command.innerPrefixes);
        lan.addPeer(command.peer);
        return;
      case 'remove-peer':
        staging.clear(command.peer);
        lan.removePeer(command.peer);
        groups.removePeer(command.peer);
        messageRates.remove(command.peer);
        this.#state.tooBigRates.remove(command.peer);
        for (const slot of peers.remove(command.peer)) this.#eraseKey(slot);
        bytes.clearPath(command.peer);
        this.#state.peerNumbers.fill(
          0,
          command.peer * PEER_NUMBERS,
          (command.peer + 1) * PEER_NUMBERS,
        );
        return;
      case 'set-path':
        this.#setPath(command.peer, command.path);
        return;
      case 'install-keys':
        this.#installKeys(command.keys, command.firstCounter, command.shared);
        return;
      case 'activate-keys': {
        const slot = peers.slotOf(command.localIndex);
        if (slot < 0) return;
        peers.activate(slot);
        sendStaged(this.#state, peers.key(slot).peer, performance.now());
        return;
      }
      case 'remove-keys': {
        const slot = peers.removeKey(command.localIndex);
        if (slot >= 0) this.#eraseKey(slot);
        return;
      }
      case 'send-keepalive':
        this.#sendKeepalive(command.peer);
        return;
      case 'set-lan':
        lan.set(command.peer, command.options);
        return;
      case 'send-message':
        sendMessage(this.#state, command.peer, command.bytes, performance.now());
        return;
      case 'send-datagram': {
        const { socket, remote, ttl, dontFragment } = command;
        const address = addressBytes(remote.address);
        const sent =
          address !== undefined &&
          addon.sendDatagram(socket, address, remote.port, command.bytes, ttl, dontFragment);
        this.#state.tables.counters[COUNTER[sent ? 'datagrams-sent' : 'datagrams-dropped']]!++;
        return;
      }
      case 'set-public-key':
        this.#state.mac1 = new Mac1Check(command.publicKey);
        return;
      default:
        command satisfies never;
    }
  }

  #openDevice(options: DeviceOptions, share: Share): OpenedDevice {
    if (this.#deviceOpen) throw deviceError(-constants.errno.EALREADY, options.name);
    const offloads = ALL_OFFLOADS & ~this.#withoutOffloads;
    const { addon } = this.#state;
    const segment = this.#segmentOf(options);
    const mac = segment === undefined ? undefined : macOf(segment.station);
    const open = (queues: boolean): [number, string, number] =>
      addon.deviceOpen(options.name, options.mtuBytes, offloads, queues, mac);
    let isShared = share !== 'alone';
    let [result, name, found] = open(isShared);
    if (result === -constants.errno.EINVAL && share === 'first') {
      // A persistent device that was made with one queue.
      isShared = false;
      [result, name, found] = open(false);
    }
    if (result < 0) throw deviceError(result, options.name);
    this.#deviceOpen = true;
    this.#state.bytes.setOffloads(found, options.mtuBytes);
    this.#state.ours = prefixesOf(options.addresses);
    this.#state.ethernet = segment;
    this.#state.groups.setBroadcasts(options.broadcasts ?? []);
    addon.watch(0, READABLE);
    return { name, offloads: offloadNames(found), isShared };
  }

  /** What a TAP device has to know; undefined for a TUN device. */
  #segmentOf({ mode, mtuBytes, addresses, pools }: DeviceOptions): Segment | undefined {
    if (mode === 'tun') return undefined;
    const ours = prefixesOf(addresses);
    const own = addresses.map(parsePrefix).find((prefix) => prefix?.family === 4);
    const station = own?.words[0] ?? 0;
    return {
      station,
      mtuBytes,
      ours,
      routes: this.#state.peers.routes,
      pools: prefixesOf(pools ?? []),
    };
  }

  #closeDevice(): void {
    this.#deviceOpen = false;
    this.#state.addon.deviceClose();
    if (this.#blocked !== undefined) this.#unblock();
  }

  #openSocket(options: SocketOptions, share: Share, index: number): SocketInfo {
    const { addon } = this.#state;
    const address = options.address ?? (options.family === 4 ? '0.0.0.0' : '::');
    const bytes = addressBytes(address);
    const offloads = ALL_OFFLOADS & ~this.#withoutOffloads;
    if (bytes === undefined || bytes.length !== (options.family === 4 ? 4 : 16)) {
      throw socketError(-constants.errno.EADDRNOTAVAIL, address, options.port);
    }
    this.#assertRoom();
    const [socket, port, found] = addon.socketOpen(
      bytes,
      options.port,
      offloads,
      SHARES[share],
      index,
    );
    if (socket < 0) throw socketError(socket, address, options.port);
    this.#sockets.add(socket);
    addon.watch(1 + socket, this.#blocked === undefined ? READABLE : 0);
    return { socket, port, offloads: offloadNames(found) };
  }

  /** The threads share one queue of datagrams, so only the first reads it: order within a flow matters more. */
  #adoptSocket(descriptor: number, share: Share, index: number): SocketInfo {
    const { addon } = this.#state;
    this.#assertRoom();
    const offloads = ALL_OFFLOADS & ~this.#withoutOffloads;
    const [socket, port, found] = addon.socketAdopt(descriptor, offloads, index);
    if (socket < 0) throw adoptError(socket);
    this.#sockets.add(socket);
    if (share === 'join') this.#sendOnly.add(socket);
    else addon.watch(1 + socket, this.#blocked === undefined ? READABLE : 0);
    return { socket, port, offloads: offloadNames(found) };
  }

  #assertRoom(): void {
    if (this.#sockets.size < MAX_SOCKETS) return;
    throw new BuriError('too-many-sockets', `the engine has at most ${MAX_SOCKETS} sockets`);
  }

  #closeSocket(socket: number): void {
    if (!this.#sockets.delete(socket)) return;
    this.#sendOnly.delete(socket);
    for (const peer of this.#state.peers.peersOnSocket(socket)) this.#setPath(peer, undefined);
    this.#state.addon.socketClose(socket);
  }

  #setPath(peer: number, path: EnginePath | undefined): void {
    const { peers, bytes } = this.#state;
    const address = path === undefined ? undefined : addressBytes(path.remote.address);
    if (path === undefined || address === undefined) {
      peers.clearPath(peer);
      bytes.clearPath(peer);
      return;
    }
    const { socket, remote, prefix = NO_PREFIX, mtuBytes = 0 } = path;
    if (!bytes.setPath(peer, socket, address, remote.port, prefix, mtuBytes)) return;
    peers.setPath(peer, socket, remote, mtuBytes);
    sendStaged(this.#state, peer, performance.now());
  }

  #installKeys(keys: TransportKeys, firstCounter: bigint, shared: Uint8Array | undefined): void {
    const { peers, bytes } = this.#state;
    const { peer, localIndex, remoteIndex, sendKey, receiveKey } = keys;
    const slot = peers.addKey(peer, localIndex);
    this.#state.activity.forget(slot);
    const suite = suiteOf(keys.suite, this.#withoutOffloads);
    const low = Number(BigInt.asIntN(32, firstCounter));
    const high = Number(BigInt.asIntN(32, firstCounter >> 32n));
    const made = bytes.setKey(slot, suite, remoteIndex | 0, sendKey, receiveKey, low, high, shared);
    sendKey.fill(0);
    receiveKey.fill(0);
    if (!made) peers.removeKey(localIndex);
  }

  #eraseKey(slot: number): void {
    this.#state.bytes.clearKey(slot);
    this.#state.activity.forget(slot);
  }

  #sendKeepalive(peer: number): void {
    const { peers, bytes, activity } = this.#state;
    const key = peers.activeKey(peer);
    if (key < 0 || !peers.hasPath(peer) || !bytes.keepalive(key, peer)) {
      if (peers.isKnown(peer)) wantSession(this.#state, peer, performance.now());
      return;
    }
    activity.mark(key, SENT_KEEPALIVE);
  }

  #onReady(id: number, events: number): void {
    const nowMs = performance.now();
    if (this.#blocked !== undefined && id === 0 && (events & WRITABLE) !== 0) {
      this.#write(this.#blocked.next, this.#blocked.units);
    }
    if (id === 0) this.#turnDevice(nowMs);
    else this.#turnSocket(id - 1, nowMs);
    this.#endTurn(nowMs);
  }

  #turnDevice(nowMs: number): void {
    for (let i = 0; i < BATCHES_PER_TURN; i++) {
      const items = pumpDevice(this.#state, nowMs);
      if (items < 0) this.#loseDevice(items);
      // One packet alone is rarely followed at once; several mostly are.
      if (items < 2) return;
    }
  }

  /** Reading the device right after writing it saves a turn of the loop: the answer is often there already. */
  #turnSocket(socket: number, nowMs: number): void {
    for (let i = 0; i < BATCHES_PER_TURN; i++) {
      if (this.#blocked !== undefined || !this.#sockets.has(socket)) return;
      pumpSocket(this.#state, socket, nowMs, this.#received);
      const { messages, units } = this.#received;
      if (units > 0 && this.#deviceOpen) {
        this.#write(0, units);
        this.#turnDevice(nowMs);
      }
      if (messages < MAX_SLOTS) return;
    }
  }

  /** A full device waits: the units stay where they are, and nothing is received until they are gone. */
  #write(first: number, units: number): void {
    const { addon } = this.#state;
    const next = addon.deviceWrite(first, units);
    if (next < units) {
      if (this.#blocked === undefined) {
        for (const socket of this.#sockets) addon.watch(1 + socket, 0);
        addon.watch(0, READABLE | WRITABLE);
      }
      this.#blocked = { next, units };
    } else if (this.#blocked !== undefined) {
      this.#unblock();
    }
  }

  #unblock(): void {
    const { addon } = this.#state;
    this.#blocked = undefined;
    if (this.#deviceOpen) addon.watch(0, READABLE);
    for (const socket of this.#sockets) {
      if (!this.#sendOnly.has(socket)) addon.watch(1 + socket, READABLE);
    }
  }

  #loseDevice(result: number): void {
    if (!this.#deviceOpen) return;
    this.#closeDevice();
    const name = Object.entries(constants.errno).find(([, value]) => value === -result)?.[0];
    this.#state.uplink.push({
      type: 'device-lost',
      reason: `reading the virtual interface failed (${name ?? `errno ${-result}`}); was it deleted?`,
    });
  }

  #endTurn(nowMs: number): void {
    if (this.#state.activity.settle(nowMs)) this.#armTimer();
    this.#state.uplink.flush();
  }

  #armTimer(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.#state.activity.flush(performance.now())) this.#armTimer();
      this.#state.uplink.flush();
    }, ACTIVITY_INTERVAL_MS);
  }
}

/** All of them with the value 0. */
function prefixesOf(texts: readonly string[]): PrefixTable {
  const table = new PrefixTable();
  for (const text of texts) {
    const prefix = parsePrefix(text);
    if (prefix !== undefined) table.set(prefix, 0);
  }
  return table;
}
