import type { Crypto } from '#core/crypto.ts';
import type { LocalLan } from '#core/lan/lan.ts';
import type { MemberInput } from '#core/member/io.ts';
import type { Path } from '#core/path/path.ts';
import { onPath } from '#core/path/relay-path.ts';
import { Keypair, type TransportKeys } from '#core/session/keypair.ts';
import {
  ACTIVITY_INTERVAL_MS,
  Activity,
  peerActivity,
  RECEIVED_DATA,
  RECEIVED_KEEPALIVE,
  SENT_DATA,
  SENT_KEEPALIVE,
} from '#engine/activity.ts';
import { Mac1Check } from '#engine/mac1.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import { INNER_HEADER_BYTES, readInnerHeader, writeInnerHeader } from '#wire/inner.ts';
import { looksLikeStun } from '#wire/stun.ts';
import { decodeTransport, messageKind } from '#wire/wireguard.ts';
import type { VirtualClock } from '../clock.ts';
import * as bounds from './bounds.ts';
import { readAddresses } from './packets.ts';
import { Violation } from './trace.ts';

/** What the engine's worker tells the main thread: the daemon hands it to the member machine as it is. */
export type Report = Extract<
  MemberInput,
  { readonly type: 'datagram' | 'want' | 'activity' | 'roam' | 'confirmed' | 'message' }
>;

/** What the world hears of: for its invariants. */
export interface PlaneWatcher {
  /** A packet goes to the device. */
  delivered(packet: Uint8Array, peer: number): void;
  /** A packet authenticated under these keys with this counter. */
  accepted(receiveKey: string, counter: number): void;
}

export interface PlaneOptions {
  readonly clock: VirtualClock;
  readonly crypto: Crypto;
  readonly publicKey: Uint8Array;
  /** Of this client, inside. */
  readonly addresses: readonly string[];
  readonly transmit: (socket: number, remote: Endpoint, bytes: Uint8Array, ttl?: number) => void;
  readonly report: (report: Report) => void;
  readonly watcher: PlaneWatcher;
}

const wantIntervalMs = 250;
const roamIntervalMs = 100;
/** From worker to main thread. */
const reportDelayMs = 0.2;
/** Of probes, and of what relays say and deliver. */
const buriMagics = [0x4255_5201, 0x4255_5202];
const nothing = new Uint8Array(0);

interface PlanePeer {
  prefixes: readonly string[];
  path: Path | undefined;
  active: PlaneKey | undefined;
  readonly keys: Set<PlaneKey>;
  readonly staged: Uint8Array[];
  wantedAt: number;
  roamedAt: number;
}

interface PlaneKey {
  readonly peer: number;
  readonly slot: number;
  readonly keypair: Keypair;
  readonly name: string;
  confirmed: boolean;
}

/**
 * The packet engine without device, sockets and worker: the same decisions in the same order, for one packet at a time
 * (`src/engine/outbound.ts`, `inbound.ts`). Commands take effect at once, reports come a moment later.
 */
export class SimDataPlane {
  readonly #options: PlaneOptions;
  readonly #mac1: Mac1Check;
  readonly #peers = new Map<number, PlanePeer>();
  readonly #routes = new Map<string, number>();
  readonly #byIndex = new Map<number, PlaneKey>();
  readonly #slots: (PlaneKey | undefined)[] = [];
  readonly #activity: Activity;
  /** What the peers take of what is for many, as they told. */
  readonly lan = new Map<number, LocalLan>();
  readonly counters = { sourceRefused: 0, destinationRefused: 0, noPeer: 0, unknownIndex: 0 };
  #reportsWaiting = 0;
  #flushArmed = false;
  #stopped = false;

  constructor(options: PlaneOptions) {
    this.#options = options;
    this.#mac1 = new Mac1Check(options.publicKey);
    this.#activity = new Activity((slot, flags) => {
      const key = this.#slots[slot];
      if (key === undefined) return true;
      const activity = peerActivity(key.peer, key.keypair.localIndex, flags);
      this.#report({ type: 'activity', activity });
      return true;
    });
  }

  get size(): number {
    return this.#peers.size;
  }

  stop(): void {
    this.#stopped = true;
    for (const peer of [...this.#peers.keys()]) this.removePeer(peer);
  }

  // Commands.

  setPeer(peer: number, prefixes: readonly string[]): void {
    const known = this.#peers.get(peer);
    this.#unroute(peer, known);
    for (const prefix of prefixes) this.#routes.set(prefix, peer);
    if (known !== undefined) known.prefixes = prefixes;
    else {
      const fresh = { path: undefined, active: undefined, keys: new Set<PlaneKey>(), staged: [] };
      this.#peers.set(peer, { prefixes, ...fresh, wantedAt: -Infinity, roamedAt: -Infinity });
    }
  }

  removePeer(peer: number): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    this.#unroute(peer, known);
    for (const key of [...known.keys]) this.removeKeys(key.keypair.localIndex);
    this.#peers.delete(peer);
    this.lan.delete(peer);
  }

  setLan(peer: number, lan: LocalLan): void {
    if (this.#peers.has(peer)) this.lan.set(peer, lan);
  }

  /** Dropped when there is no session. */
  sendMessage(peer: number, bytes: Uint8Array): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    const packet = new Uint8Array(INNER_HEADER_BYTES + bytes.length);
    writeInnerHeader(packet, 0, { kind: 'message', length: bytes.length });
    packet.set(bytes, INNER_HEADER_BYTES);
    this.#seal(known, packet);
    this.#settle();
  }

  setPath(peer: number, path: Path | undefined): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    known.path = path;
    this.#sendStaged(peer);
    this.#settle();
  }

  installKeys(keys: TransportKeys): void {
    const peer = this.#peers.get(keys.peer);
    if (peer === undefined) return;
    this.removeKeys(keys.localIndex);
    const free = this.#slots.indexOf(undefined);
    const slot = free < 0 ? this.#slots.length : free;
    const name = Buffer.from(keys.receiveKey).toString('base64');
    const keypair = new Keypair(this.#options.crypto, keys);
    const key = { peer: keys.peer, slot, keypair, name, confirmed: false };
    this.#slots[slot] = key;
    this.#activity.forget(slot);
    this.#byIndex.set(keys.localIndex, key);
    peer.keys.add(key);
    if (peer.keys.size > bounds.maxKeypairsPerPeer) {
      throw new Violation(`peer ${keys.peer} has ${peer.keys.size} keypairs`);
    }
  }

  activateKeys(localIndex: number): void {
    const key = this.#byIndex.get(localIndex);
    if (key === undefined) return;
    this.#peers.get(key.peer)!.active = key;
    this.#sendStaged(key.peer);
    this.#settle();
  }

  removeKeys(localIndex: number): void {
    const key = this.#byIndex.get(localIndex);
    if (key === undefined) return;
    const peer = this.#peers.get(key.peer);
    if (peer?.active === key) peer.active = undefined;
    peer?.keys.delete(key);
    key.keypair.erase();
    this.#byIndex.delete(localIndex);
    this.#activity.forget(key.slot);
    this.#slots[key.slot] = undefined;
  }

  sendKeepalive(peer: number): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    if (known.active === undefined || known.path === undefined) this.#want(peer);
    else this.#seal(known, nothing);
    this.#settle();
  }

  sendDatagram(socket: number, remote: Endpoint, bytes: Uint8Array, ttl?: number): void {
    this.#options.transmit(socket, remote, bytes, ttl);
  }

  // What arrives.

  /** A packet of the operating system. */
  write(packet: Uint8Array): void {
    const { destination } = readAddresses(packet)!;
    const peer = this.#routes.get(destination);
    const known = peer === undefined ? undefined : this.#peers.get(peer);
    if (peer === undefined || known === undefined) {
      this.counters.noPeer += 1;
      return;
    }
    if (known.active !== undefined && known.path !== undefined) this.#seal(known, packet);
    else {
      known.staged.push(packet);
      if (known.staged.length > bounds.maxStagedPerPeer) known.staged.shift();
      this.#want(peer);
    }
    this.#settle();
  }

  /** A member that does not play by the rules seals whatever it likes. False without keys. */
  forge(destination: string, packet: Uint8Array): boolean {
    const known = this.#peers.get(this.#routes.get(destination) ?? -1);
    if (known?.active === undefined || known.path === undefined) return false;
    this.#seal(known, packet);
    this.#settle();
    return true;
  }

  receive(bytes: Uint8Array, socket: number, remote: Endpoint): void {
    if (this.#stopped) return;
    const kind = messageKind(bytes);
    if (kind === 'transport') this.#open(bytes, { socket, remote });
    else if (kind !== undefined) {
      const hasMac1 = kind !== 'cookie-reply';
      if (hasMac1 && !this.#mac1.accepts(bytes)) return;
      this.#report({ type: 'datagram', kind, bytes, socket, remote });
    } else if (looksLikeStun(bytes)) {
      this.#report({ type: 'datagram', kind: 'stun', bytes, socket, remote });
    } else if (bytes.length >= 4 && buriMagics.includes(magicOf(bytes))) {
      this.#report({ type: 'datagram', kind: 'buri', bytes, socket, remote });
    }
    this.#settle();
  }

  #open(bytes: Uint8Array, from: Path): void {
    const header = decodeTransport(bytes);
    const key = header && this.#byIndex.get(header.receiverIndex);
    if (header === undefined || key === undefined) {
      this.counters.unknownIndex += 1;
      return;
    }
    const opened = key.keypair.open(bytes);
    if ('failure' in opened) return;
    this.#options.watcher.accepted(key.name, header.counter);
    const { peer } = key;
    const known = this.#peers.get(peer)!;
    const isData = opened.packet.length > 0;
    this.#activity.mark(key.slot, isData ? RECEIVED_DATA : RECEIVED_KEEPALIVE);
    if (!key.confirmed) {
      key.confirmed = true;
      this.#report({ type: 'confirmed', peer, localIndex: key.keypair.localIndex });
    }
    const { path } = known;
    const isOnPath =
      path !== undefined && path.socket === from.socket && sameEndpoint(path.remote, from.remote);
    const now = this.#options.clock.monotonic;
    if (!isOnPath && now - known.roamedAt >= roamIntervalMs) {
      known.roamedAt = now;
      this.#report({ type: 'roam', peer, socket: from.socket, remote: from.remote });
    }
    if (isData) this.#judge(opened.packet, peer);
  }

  /** The source check: a peer may send only from its own inner addresses, and only to ours. */
  #judge(padded: Uint8Array, peer: number): void {
    const header = readInnerHeader(padded);
    if (header?.kind === 'message') {
      const bytes = padded.slice(INNER_HEADER_BYTES, INNER_HEADER_BYTES + header.length);
      this.#report({ type: 'message', peer, bytes });
      return;
    }
    const addresses = readAddresses(padded);
    if (addresses === undefined || this.#routes.get(addresses.source) !== peer) {
      this.counters.sourceRefused += 1;
    } else if (!this.#options.addresses.includes(addresses.destination)) {
      this.counters.destinationRefused += 1;
    } else this.#options.watcher.delivered(addresses.bytes, peer);
  }

  #seal(peer: PlanePeer, packet: Uint8Array): void {
    const { active, path } = peer;
    const message = active?.keypair.seal(packet);
    if (active === undefined || path === undefined || message === undefined) return;
    this.#activity.mark(active.slot, packet.length > 0 ? SENT_DATA : SENT_KEEPALIVE);
    this.#options.transmit(path.socket, path.remote, onPath(path, message));
  }

  #sendStaged(peer: number): void {
    const known = this.#peers.get(peer)!;
    if (known.active === undefined || known.path === undefined) return;
    for (const packet of known.staged.splice(0)) this.#seal(known, packet);
  }

  #want(peer: number): void {
    const known = this.#peers.get(peer)!;
    const now = this.#options.clock.monotonic;
    if (now - known.wantedAt < wantIntervalMs) return;
    known.wantedAt = now;
    this.#report({ type: 'want', peer });
  }

  #unroute(peer: number, known: PlanePeer | undefined): void {
    for (const prefix of known?.prefixes ?? []) {
      if (this.#routes.get(prefix) === peer) this.#routes.delete(prefix);
    }
  }

  #report(report: Report): void {
    if (this.#stopped) return;
    this.#reportsWaiting += 1;
    if (this.#reportsWaiting > bounds.maxReportsWaiting) {
      throw new Violation('the main thread does not take the reports of the data plane');
    }
    this.#options.clock.in(reportDelayMs, () => {
      this.#reportsWaiting -= 1;
      if (!this.#stopped) this.#options.report(report);
    });
  }

  /** The end of a turn: tells of traffic after silence at once, of the rest a little later. */
  #settle(): void {
    const { clock } = this.#options;
    if (!this.#activity.settle(clock.monotonic) || this.#flushArmed) return;
    this.#flushArmed = true;
    clock.in(ACTIVITY_INTERVAL_MS, () => {
      this.#flushArmed = false;
      if (!this.#stopped) this.#activity.flush(clock.monotonic);
    });
  }
}

const magicOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
