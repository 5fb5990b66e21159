/**
 * Who holds an allocation, as arrays of numbers: what is looked at for every run of datagrams is a few words, and nothing is allocated
 * for one. What only control messages need stands in an object beside them.
 */
import type { Crypto } from '#core/crypto.ts';
import { burstSeconds, minBurstBytes, minBurstPackets, receivedPerSent } from './limits.ts';
import type { Requests } from './requests.ts';
import { SOURCE_WORDS, type Source, writeSource } from './source.ts';
import type { Ticket } from './tickets.ts';

/** An allocation, apart from what the data path needs. */
export interface Holder {
  ticket: Ticket;
  source: Source;
  token: bigint;
  readonly requests: Requests;
}

export class Allocations {
  readonly capacity: number;
  /** By slot: the source that data must come from. */
  readonly sources: Int32Array;
  /** Where that was before, and when it moved; data that was under way then still counts. */
  readonly previous: Int32Array;
  readonly leftAt: Float64Array;
  readonly clients: Int32Array;
  /** WebSocket to deliver to, or -1. */
  readonly connections: Int32Array;
  /** Time of the last refresh or data. */
  readonly heardAt: Float64Array;
  /** When who sends data from elsewhere was told so. */
  readonly movedAt: Float64Array;
  readonly #tokenHigh: Int32Array;
  readonly #holders: (Holder | undefined)[];
  readonly #byToken = new Map<number, number>();
  readonly #byClient = new Map<number, number>();
  readonly #free: number[];
  readonly #sent: Float64Array;
  readonly #received: Float64Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.sources = new Int32Array(capacity * SOURCE_WORDS);
    this.previous = new Int32Array(capacity * SOURCE_WORDS);
    this.leftAt = new Float64Array(capacity);
    this.clients = new Int32Array(capacity);
    this.connections = new Int32Array(capacity).fill(-1);
    this.heardAt = new Float64Array(capacity);
    this.movedAt = new Float64Array(capacity);
    this.#tokenHigh = new Int32Array(capacity);
    this.#holders = new Array(capacity).fill(undefined);
    this.#sent = new Float64Array(capacity * BUCKET_NUMBERS);
    this.#received = new Float64Array(capacity * BUCKET_NUMBERS);
    this.#free = Array.from({ length: capacity }, (_, i) => capacity - 1 - i);
  }

  get size(): number {
    return this.#byClient.size;
  }

  get isFull(): boolean {
    return this.#free.length === 0;
  }

  holder(slot: number): Holder | undefined {
    return this.#holders[slot];
  }

  slots(): IterableIterator<number> {
    return this.#byClient.values();
  }

  ofClient(client: number): number | undefined {
    return this.#byClient.get(client);
  }

  /** By the two words of a token; undefined when it is nobody's. */
  ofToken(low: number, high: number): number | undefined {
    const slot = this.#byToken.get(low);
    return slot !== undefined && this.#tokenHigh[slot] === high ? slot : undefined;
  }

  ofTokenNumber(token: bigint): number | undefined {
    return this.ofToken(Number(BigInt.asIntN(32, token)), Number(BigInt.asIntN(32, token >> 32n)));
  }

  /** There must be room. Returns the slot. */
  add(crypto: Crypto, ticket: Ticket, source: Source, requests: Requests): number {
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error('no slot is free');
    this.movedAt[slot] = Number.NEGATIVE_INFINITY;
    this.#holders[slot] = { ticket, source, token: 0n, requests };
    this.clients[slot] = ticket.client;
    this.#byClient.set(ticket.client, slot);
    this.newToken(crypto, slot);
    this.#place(slot, source);
    this.setRates(slot, ticket);
    return slot;
  }

  remove(slot: number): void {
    const holder = this.#holders[slot];
    if (holder === undefined) return;
    this.#byToken.delete(Number(BigInt.asIntN(32, holder.token)));
    this.#byClient.delete(holder.ticket.client);
    this.#holders[slot] = undefined;
    this.connections[slot] = -1;
    this.#free.push(slot);
  }

  /** Data of a slot goes there from now on, and comes from there. */
  move(slot: number, to: Source, nowMs: number): void {
    const own = slot * SOURCE_WORDS;
    this.previous.set(this.sources.subarray(own, own + SOURCE_WORDS), own);
    this.leftAt[slot] = nowMs;
    this.#place(slot, to);
  }

  /** Random; its lower half tells allocations apart. What was sent with the one before counts no more. */
  newToken(crypto: Crypto, slot: number): void {
    const holder = this.#holders[slot]!;
    this.leftAt[slot] = Number.NEGATIVE_INFINITY;
    this.#byToken.delete(Number(BigInt.asIntN(32, holder.token)));
    let low: number;
    let high: number;
    do {
      const bytes = crypto.random(8);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      low = view.getInt32(0);
      high = view.getInt32(4);
    } while (this.#byToken.has(low));
    this.#byToken.set(low, slot);
    this.#tokenHigh[slot] = high;
    holder.token = (BigInt.asUintN(32, BigInt(high)) << 32n) | BigInt.asUintN(32, BigInt(low));
  }

  setRates(slot: number, { bytesPerSecond, packetsPerSecond }: Ticket): void {
    setBuckets(this.#sent, slot, bytesPerSecond, packetsPerSecond);
    const [bytes, packets] = [bytesPerSecond, packetsPerSecond].map((n) => n * receivedPerSent);
    setBuckets(this.#received, slot, bytes!, packets!);
  }

  /** What the slot sends: takes from both buckets, or from none: 0, or which of them is empty. */
  take(slot: number, packets: number, bytes: number, nowMs: number): 0 | 'bytes' | 'packets' {
    return take(this.#sent, slot, packets, bytes, nowMs);
  }

  /** The same of what all others send it. */
  takeReceived(slot: number, packets: number, bytes: number, nowMs: number) {
    return take(this.#received, slot, packets, bytes, nowMs);
  }

  #place(slot: number, source: Source): void {
    this.#holders[slot]!.source = source;
    writeSource(this.sources, slot * SOURCE_WORDS, source);
    this.connections[slot] = source.kind === 'ws' ? source.connection : -1;
  }
}

// Of a slot and direction: two token buckets. A burst holds the largest run: 64 KiB.
const BYTES_PER_MS = 0;
const BYTES_MOST = 1;
const BYTES_LEFT = 2;
const PACKETS_PER_MS = 3;
const PACKETS_MOST = 4;
const PACKETS_LEFT = 5;
const FILLED_AT = 6;
const BUCKET_NUMBERS = 7;

function setBuckets(
  buckets: Float64Array,
  slot: number,
  bytesPerSecond: number,
  packetsPerSecond: number,
): void {
  const at = slot * BUCKET_NUMBERS;
  buckets[at + BYTES_PER_MS] = bytesPerSecond / 1000;
  buckets[at + BYTES_MOST] = Math.max(minBurstBytes, bytesPerSecond * burstSeconds);
  buckets[at + PACKETS_PER_MS] = packetsPerSecond / 1000;
  buckets[at + PACKETS_MOST] = Math.max(minBurstPackets, packetsPerSecond * burstSeconds);
  buckets[at + BYTES_LEFT] = buckets[at + BYTES_MOST]!;
  buckets[at + PACKETS_LEFT] = buckets[at + PACKETS_MOST]!;
  buckets[at + FILLED_AT] = Number.NEGATIVE_INFINITY;
}

function take(
  buckets: Float64Array,
  slot: number,
  packets: number,
  bytes: number,
  nowMs: number,
): 0 | 'bytes' | 'packets' {
  const at = slot * BUCKET_NUMBERS;
  const elapsedMs = nowMs - buckets[at + FILLED_AT]!;
  if (elapsedMs > 0) {
    const filledBytes = buckets[at + BYTES_LEFT]! + elapsedMs * buckets[at + BYTES_PER_MS]!;
    const filledPackets = buckets[at + PACKETS_LEFT]! + elapsedMs * buckets[at + PACKETS_PER_MS]!;
    buckets[at + BYTES_LEFT] = Math.min(buckets[at + BYTES_MOST]!, filledBytes);
    buckets[at + PACKETS_LEFT] = Math.min(buckets[at + PACKETS_MOST]!, filledPackets);
    buckets[at + FILLED_AT] = nowMs;
  }
  if (buckets[at + BYTES_LEFT]! < bytes) return 'bytes';
  if (buckets[at + PACKETS_LEFT]! < packets) return 'packets';
  buckets[at + BYTES_LEFT]! -= bytes;
  buckets[at + PACKETS_LEFT]! -= packets;
  return 0;
}
