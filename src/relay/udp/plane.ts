/**
 * The relay's datagrams by UDP: batches in, one decision for each run, batches out. Whatever is decided lies in the table that C filled in,
 * which sends from where it received.
 */
import { READABLE } from '#engine/addon.ts';
import { COUNTER_NAMES } from '#engine/counters.ts';
import { SHARE_NOT } from '#engine/layout.ts';
import { ALL_OFFLOADS, type OffloadName, offloadBits } from '#engine/offloads.ts';
import { socketError } from '#engine/open-errors.ts';
import { addressBytes, type Endpoint } from '#wire/endpoint.ts';
import { deliveredPrefix } from '#wire/relay.ts';
import { maxAllocations } from '../limits.ts';
import { addressOf, type UdpSource } from '../source.ts';
import { type BoundAddon, bindRelayAddon } from './addon.ts';
import {
  RELAY_ADDRESS,
  RELAY_BARE,
  RELAY_CONTROL,
  RELAY_DATA_HEADER,
  RELAY_FAMILY,
  RELAY_FROM,
  RELAY_KIND,
  RELAY_LENGTH,
  RELAY_OFFSET,
  RELAY_PATH,
  RELAY_PORT,
  RELAY_PROBE,
  RELAY_SEGMENT,
  RELAY_WORDS,
} from './layout.ts';

/** Batches of a socket in one turn of the loop; then everybody else has theirs. */
const BATCHES_PER_TURN = 8;
const NO_PREFIX = new Uint8Array(0);
const NO_ADDRESS = Uint8Array.of(0, 0, 0, 0);

/** Whoever decides; called synchronously. */
export interface PlaneHandler {
  /** Where a run goes: a slot, or -1. */
  route(rows: Int32Array, at: number, socket: number, nowMs: number): number;
  /** The bytes are a view of memory that is used again. */
  onControl(from: UdpSource, bytes: Uint8Array): void;
  /** WebSocket that a slot is delivered to, or -1. */
  connectionOf(slot: number): number;
  /** Where a slot is, when it is by UDP. */
  udpOf(slot: number): UdpSource | undefined;
  /** One datagram as it is delivered, to be copied before this returns. */
  toWebSocket(connection: number, header: Uint8Array | undefined, payload: Uint8Array): void;
  /** What the turn met: more was there than it took, or the kernel had dropped some. */
  onTurn(overloaded: boolean): void;
}

export interface PlaneOptions {
  readonly withoutOffloads?: readonly OffloadName[];
}

/** All planes of a thread share one addon, which calls back for the socket that is ready, and its table of paths, each a part. */
const planes = new Map<number, UdpPlane>();
const parts: (UdpPlane | undefined)[] = [];
let shared: BoundAddon | undefined;

function addonOfThread(): BoundAddon {
  if (shared === undefined) {
    shared = bindRelayAddon();
    shared.addon.onReady((id) => planes.get(id - 1)?.pump(id - 1));
  }
  return shared;
}

export class UdpPlane implements Disposable {
  readonly #bound: BoundAddon;
  readonly #handler: PlaneHandler;
  readonly #offloads: number;
  readonly #sockets: number[] = [];
  readonly #overflow = COUNTER_NAMES.indexOf('in-overflow');
  readonly #part: number;
  /** Path of slot 0. */
  readonly #base: number;
  #dropped = 0;

  constructor(handler: PlaneHandler, options: PlaneOptions = {}) {
    this.#bound = addonOfThread();
    this.#handler = handler;
    this.#offloads = ALL_OFFLOADS & ~offloadBits(options.withoutOffloads ?? []);
    const free = parts.indexOf(undefined);
    this.#part = free < 0 ? parts.length : free;
    this.#base = this.#part * maxAllocations;
    parts[this.#part] = this;
  }

  /** Binds a socket. BuriError: port-in-use, address-unavailable. Returns its number and port. */
  open(address: string, port: number): { readonly socket: number; readonly port: number } {
    const bytes = addressBytes(address);
    if (bytes === undefined) throw new Error(`not an address: ${address}`);
    const { addon } = this.#bound;
    const [socket, bound] = addon.socketOpen(bytes, port, this.#offloads, SHARE_NOT, -1);
    if (socket < 0) throw socketError(socket, address, port);
    planes.set(socket, this);
    this.#sockets.push(socket);
    addon.watch(1 + socket, READABLE);
    return { socket, port: bound };
  }

  /** System counters of the thread's relays, by name. */
  get counters(): Readonly<Record<string, number>> {
    const { counters } = this.#bound.tables;
    return Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, counters[i]!]));
  }

  /** Where a slot's datagrams go. */
  place(slot: number, { socket, endpoint }: UdpSource): void {
    const bytes = addressBytes(endpoint.address);
    if (bytes === undefined) return;
    this.#bound.addon.setPath(this.#base + slot, socket, bytes, endpoint.port, NO_PREFIX, 0);
  }

  forget(slot: number): void {
    this.#bound.addon.clearPath(this.#base + slot);
  }

  send(socket: number, to: Endpoint, bytes: Uint8Array, isWhole = false): void {
    const address = addressBytes(to.address) ?? NO_ADDRESS;
    this.#bound.addon.sendDatagram(socket, address, to.port, bytes, 0, isWhole);
  }

  /** Of a TCP connection: what the kernel takes before it is sent. */
  limitUnsent(fd: number, bytes: number): void {
    this.#bound.addon.limitUnsent(fd, bytes);
  }

  /** Called by the loop while datagrams wait. */
  pump(socket: number): void {
    const { addon, tables } = this.#bound;
    const nowMs = performance.now();
    let batches = 0;
    while (batches < BATCHES_PER_TURN) {
      const runs = addon.relayReceive(socket);
      if (runs < 0) break;
      batches++;
      if (this.#decide(socket, runs, nowMs)) addon.relaySend(runs);
    }
    const dropped = tables.counters[this.#overflow]!;
    this.#handler.onTurn(batches === BATCHES_PER_TURN || dropped > this.#dropped);
    this.#dropped = dropped;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets.splice(0)) {
      planes.delete(socket);
      this.#bound.addon.socketClose(socket);
    }
    parts[this.#part] = undefined;
  }

  /** Says of every run where it goes. Whether there is something to send for C. */
  #decide(socket: number, runs: number, nowMs: number): boolean {
    const rows = this.#bound.tables.runs;
    const handler = this.#handler;
    let sends = false;
    for (let at = 0, end = runs * RELAY_WORDS; at < end; at += RELAY_WORDS) {
      const kind = rows[at + RELAY_KIND]!;
      if (kind === RELAY_CONTROL) {
        this.#toControl(socket, rows, at);
        continue;
      }
      const slot = handler.route(rows, at, socket, nowMs);
      if (slot < 0) continue;
      const connection = handler.connectionOf(slot);
      if (connection >= 0) this.#toWebSocket(connection, rows, at);
      else if (kind === RELAY_PROBE) this.#sendProbe(rows, at, handler.udpOf(slot));
      else {
        rows[at + RELAY_PATH] = this.#base + slot;
        sends = true;
      }
    }
    return sends;
  }

  #toControl(socket: number, rows: Int32Array, at: number): void {
    const address = addressOf(rows, rows[at + RELAY_FAMILY]!, at + RELAY_ADDRESS);
    const endpoint = { address, port: rows[at + RELAY_PORT]! };
    const offset = rows[at + RELAY_OFFSET]!;
    const bytes = this.#bound.tables.incoming.subarray(offset, offset + rows[at + RELAY_LENGTH]!);
    this.#handler.onControl({ kind: 'udp', socket, endpoint }, bytes);
  }

  /** The probe asks for the path's size: it is cut nowhere, or it gets lost. */
  #sendProbe(rows: Int32Array, at: number, to: UdpSource | undefined): void {
    if (to === undefined) return;
    const header = deliveredPrefix(rows[at + RELAY_FROM]!);
    this.send(to.socket, to.endpoint, Buffer.concat([header, this.#payload(rows, at, 0)]), true);
  }

  #toWebSocket(connection: number, rows: Int32Array, at: number): void {
    const isBare = rows[at + RELAY_KIND] === RELAY_BARE;
    const header = isBare ? undefined : deliveredPrefix(rows[at + RELAY_FROM]!);
    const length = rows[at + RELAY_LENGTH]!;
    for (let skip = 0; skip < length; skip += rows[at + RELAY_SEGMENT]!) {
      this.#handler.toWebSocket(connection, header, this.#payload(rows, at, skip));
    }
  }

  /** Of the datagram that begins so many bytes into a run. */
  #payload(rows: Int32Array, at: number, skip: number): Uint8Array {
    const offset = rows[at + RELAY_OFFSET]!;
    const end = offset + Math.min(rows[at + RELAY_LENGTH]!, skip + rows[at + RELAY_SEGMENT]!);
    return this.#bound.tables.incoming.subarray(offset + skip + RELAY_DATA_HEADER, end);
  }
}
