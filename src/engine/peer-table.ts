import { addressBytes, type Endpoint, familyOf, formatAddress } from '#wire/endpoint.ts';
import { type Prefix, PrefixTable, parsePrefix } from './prefix-table.ts';
import { MAX_PEERS } from './tables.ts';

/** Words of a remote address as MESSAGE rows have them: socket, family, port, four address words. */
const REMOTE_WORDS = 7;

/**
 * What the data plane knows of peers and keys, by number: arrays of integers, read once per super-packet.
 * Peers are indexed by the caller's PeerIndex, keys by slots given here.
 */
export class PeerTable {
  /** Inner prefixes to peers: where packets go, and whose they may be. */
  readonly routes = new PrefixTable();
  /** Slot of the keys that packets are sealed under, plus one; 0: none. */
  readonly #activeKey = new Int32Array(MAX_PEERS);
  readonly #withPath = new Set<number>();
  readonly #mtuBytes = new Map<number, number>();
  readonly #remote = new Int32Array(MAX_PEERS * REMOTE_WORDS);
  readonly #wantedAt = new Float64Array(MAX_PEERS);
  readonly #roamedAt = new Float64Array(MAX_PEERS);
  readonly #prefixes = new Map<number, readonly Prefix[]>();
  readonly #stations = new Map<number, number>();
  readonly #keysOfPeer = new Map<number, Set<number>>();
  readonly #slotByIndex = new Map<number, number>();
  readonly #freeSlots: number[] = [];
  readonly #keys: KeyState[] = [];

  setPrefixes(peer: number, texts: readonly string[]): void {
    this.#clearPrefixes(peer);
    const prefixes = texts.flatMap((text) => parsePrefix(text) ?? []);
    for (const prefix of prefixes) this.routes.set(prefix, peer);
    this.#prefixes.set(peer, prefixes);
    const own = prefixes.find(({ family, lengthBits }) => family === 4 && lengthBits === 32);
    if (own !== undefined) this.#stations.set(peer, own.words[0]!);
  }

  /** The last four bytes of the peer's MAC, which are its IPv4 address; 0 when it has none. */
  stationOf(peer: number): number {
    return this.#stations.get(peer) ?? 0;
  }

  isKnown(peer: number): boolean {
    return this.#prefixes.has(peer);
  }

  /** Forgets a peer; returns the slots of its keys, which are free from then on. */
  remove(peer: number): number[] {
    this.#clearPrefixes(peer);
    this.#prefixes.delete(peer);
    this.clearPath(peer);
    this.#wantedAt[peer] = this.#roamedAt[peer] = 0;
    const slots = [...(this.#keysOfPeer.get(peer) ?? [])];
    for (const slot of slots) this.removeKey(this.#keys[slot]!.localIndex);
    return slots;
  }

  #clearPrefixes(peer: number): void {
    this.#stations.delete(peer);
    for (const prefix of this.#prefixes.get(peer) ?? []) this.routes.delete(prefix, peer);
  }

  setPath(peer: number, socket: number, remote: Endpoint, mtuBytes: number): void {
    const bytes = addressBytes(remote.address);
    const words = this.#remote.subarray(peer * REMOTE_WORDS, (peer + 1) * REMOTE_WORDS);
    words.fill(0);
    words[0] = socket;
    words[1] = familyOf(remote.address);
    words[2] = remote.port;
    for (const [i, byte] of (bytes ?? []).entries())
      words[3 + (i >> 2)]! |= byte << (24 - 8 * (i & 3));
    this.#withPath.add(peer);
    this.#mtuBytes.set(peer, mtuBytes);
  }

  clearPath(peer: number): void {
    this.#withPath.delete(peer);
    this.#mtuBytes.delete(peer);
  }

  /** Peers whose path leads through a socket. */
  peersOnSocket(socket: number): number[] {
    return [...this.#withPath].filter((peer) => this.#remote[peer * REMOTE_WORDS] === socket);
  }

  /** The largest packet of the inside that fits through the peer's path in one piece; 0: not known. */
  mtuOf(peer: number): number {
    return this.#mtuBytes.get(peer) ?? 0;
  }

  hasPath(peer: number): boolean {
    return this.#withPath.has(peer);
  }

  /** Whether a message (its words from the family on) came from where the peer's path leads. */
  isOnPath(peer: number, socket: number, messages: Int32Array, family: number): boolean {
    const remote = this.#remote;
    const at = peer * REMOTE_WORDS;
    if (!this.#withPath.has(peer) || remote[at] !== socket) return false;
    for (let i = 0; i < REMOTE_WORDS - 1; i++) {
      if (remote[at + 1 + i] !== messages[family + i]) return false;
    }
    return true;
  }

  /** Whether this many milliseconds passed since the last time; notes the time when they did. */
  mayWant(peer: number, nowMs: number, everyMs: number): boolean {
    return passed(this.#wantedAt, peer, nowMs, everyMs);
  }

  mayRoam(peer: number, nowMs: number, everyMs: number): boolean {
    return passed(this.#roamedAt, peer, nowMs, everyMs);
  }

  /** Gives keys a slot, replacing those of the same local index. */
  addKey(peer: number, localIndex: number): number {
    this.removeKey(localIndex);
    const slot = this.#freeSlots.pop() ?? this.#keys.length;
    this.#keys[slot] = { peer, localIndex, confirmed: false, limitReported: false };
    this.#slotByIndex.set(localIndex | 0, slot);
    const slots = this.#keysOfPeer.get(peer) ?? new Set();
    this.#keysOfPeer.set(peer, slots.add(slot));
    return slot;
  }

  /** The slot that was freed, or -1. */
  removeKey(localIndex: number): number {
    const slot = this.slotOf(localIndex);
    if (slot < 0) return -1;
    const { peer } = this.#keys[slot]!;
    if (this.#activeKey[peer] === slot + 1) this.#activeKey[peer] = 0;
    this.#slotByIndex.delete(localIndex | 0);
    const slots = this.#keysOfPeer.get(peer);
    slots?.delete(slot);
    if (slots?.size === 0) this.#keysOfPeer.delete(peer);
    this.#freeSlots.push(slot);
    return slot;
  }

  /** Slot of keys by local index, of either sign; -1: none. */
  slotOf(localIndex: number): number {
    return this.#slotByIndex.get(localIndex | 0) ?? -1;
  }

  activate(slot: number): void {
    this.#activeKey[this.#keys[slot]!.peer] = slot + 1;
  }

  /** Slot of the keys that the peer's packets are sealed under; -1: none. */
  activeKey(peer: number): number {
    return this.#activeKey[peer]! - 1;
  }

  key(slot: number): KeyState {
    return this.#keys[slot]!;
  }
}

interface KeyState {
  readonly peer: number;
  readonly localIndex: number;
  /** Whether a packet under these keys has authenticated. */
  confirmed: boolean;
  limitReported: boolean;
}

function passed(times: Float64Array, peer: number, nowMs: number, everyMs: number): boolean {
  const last = times[peer]!;
  if (last !== 0 && nowMs - last < everyMs) return false;
  times[peer] = nowMs;
  return true;
}

/** The remote address of a MESSAGE row. */
export function endpointOf(messages: Int32Array, family: number): Endpoint {
  const bytes = new Uint8Array(messages[family] === 4 ? 4 : 16);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = messages[family + 2 + (i >> 2)]! >>> (24 - 8 * (i & 3));
  }
  return { address: formatAddress(bytes), port: messages[family + 1]! };
}
