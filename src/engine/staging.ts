/** What waits for one peer at most, and for all of them. */
export const STAGED_BYTES_PER_PEER = 128 * 1024;
export const STAGED_BYTES_TOTAL = 1024 * 1024;

/** Words of a record's header: bytes of the record, peer (-1: dropped or taken), next record of the peer, item words. */
const SIZE = 0;
const PEER = 1;
const NEXT = 2;
const ITEM = 3;
const NONE = -1;

/**
 * Packets that wait for keys or a path, in one ring of fixed size: nothing is allocated per packet, also not in a flood
 * towards a peer that is away. When room is short the oldest go, first those of the same peer.
 */
export class Staging {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #itemWords: number;
  readonly #perPeerBytes: number;
  /** Oldest and newest record, and bytes staged, of each peer that has any. */
  readonly #peers = new Map<number, { first: number; last: number; bytes: number }>();
  #head = 0;
  #tail = 0;
  #used = 0;
  /** Records dropped for want of room since the last call of `takeDropped`. */
  #dropped = 0;

  constructor(
    itemWords: number,
    totalBytes = STAGED_BYTES_TOTAL,
    perPeerBytes = STAGED_BYTES_PER_PEER,
  ) {
    this.#itemWords = itemWords;
    this.#perPeerBytes = perPeerBytes;
    this.#words = new Int32Array(totalBytes / 4);
    this.#bytes = new Uint8Array(this.#words.buffer);
  }

  /** Copies a packet and its row; drops older ones to make room. */
  add(peer: number, row: Int32Array, packet: Uint8Array): void {
    const header = (ITEM + this.#itemWords) * 4;
    const size = (header + packet.length + 7) & ~7;
    while ((this.#peers.get(peer)?.bytes ?? 0) + size > this.#perPeerBytes) {
      if (!this.#dropOldestOf(peer)) {
        this.#dropped++;
        return;
      }
    }
    const at = this.#reserve(size);
    const word = at / 4;
    this.#words[word + SIZE] = size;
    this.#words[word + PEER] = peer;
    this.#words[word + NEXT] = NONE;
    this.#words.set(row, word + ITEM);
    this.#bytes.set(packet, at + header);
    this.#link(peer, at, size);
  }

  /** Bytes staged for a peer, headers of records included. */
  bytesOf(peer: number): number {
    return this.#peers.get(peer)?.bytes ?? 0;
  }

  /**
   * Takes the oldest packet of a peer: copies its row to `row` and its bytes to `target`. Returns the length of the packet, or -1 when
   * there is none.
   */
  take(peer: number, row: Int32Array, target: Uint8Array, lengthWord: number): number {
    const queue = this.#peers.get(peer);
    if (queue === undefined) return -1;
    const at = queue.first;
    const word = at / 4 + ITEM;
    const header = (ITEM + this.#itemWords) * 4;
    for (let i = 0; i < this.#itemWords; i++) row[i] = this.#words[word + i]!;
    const length = row[lengthWord]!;
    target.set(this.#bytes.subarray(at + header, at + header + length));
    this.#unlinkFirst(peer, queue);
    return length;
  }

  /** Forgets what waits for a peer. */
  clear(peer: number): void {
    let queue = this.#peers.get(peer);
    while (queue !== undefined) {
      this.#unlinkFirst(peer, queue);
      queue = this.#peers.get(peer);
    }
  }

  /** How many were dropped for want of room since the last call. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  #link(peer: number, at: number, size: number): void {
    const queue = this.#peers.get(peer);
    if (queue === undefined) {
      this.#peers.set(peer, { first: at, last: at, bytes: size });
      return;
    }
    this.#words[queue.last / 4 + NEXT] = at;
    queue.last = at;
    queue.bytes += size;
  }

  #unlinkFirst(peer: number, queue: { first: number; last: number; bytes: number }): void {
    const word = queue.first / 4;
    this.#words[word + PEER] = NONE;
    queue.bytes -= this.#words[word + SIZE]!;
    const next = this.#words[word + NEXT]!;
    if (next === NONE) this.#peers.delete(peer);
    else queue.first = next;
    if (this.#peers.size === 0) this.#head = this.#tail = this.#used = 0;
  }

  #dropOldestOf(peer: number): boolean {
    const queue = this.#peers.get(peer);
    if (queue === undefined) return false;
    this.#unlinkFirst(peer, queue);
    this.#dropped++;
    return true;
  }

  /** Room for a record at the head: records never wrap, so the rest of the ring may be skipped. */
  #reserve(size: number): number {
    const total = this.#bytes.length;
    for (;;) {
      const skip = this.#head + size > total ? total - this.#head : 0;
      if (this.#used + skip + size <= total) {
        if (skip > 0) this.#write(this.#head, skip);
        const at = skip > 0 ? 0 : this.#head;
        this.#used += skip + size;
        this.#head = (at + size) % total;
        return at;
      }
      this.#reclaimTail();
    }
  }

  /** A record of nothing, so that the tail can walk over it. Sizes are multiples of 8, so two words always fit. */
  #write(at: number, size: number): void {
    this.#words[at / 4 + SIZE] = size;
    this.#words[at / 4 + PEER] = NONE;
  }

  #reclaimTail(): void {
    const word = this.#tail / 4;
    const size = this.#words[word + SIZE]!;
    const peer = this.#words[word + PEER]!;
    // The oldest record of all that is still alive is also the oldest of its peer.
    if (peer !== NONE) this.#dropOldestOf(peer);
    if (this.#used === 0) return;
    this.#tail = (this.#tail + size) % this.#bytes.length;
    this.#used -= size;
  }
}
