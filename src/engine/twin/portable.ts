import type { Crypto } from '#core/crypto.ts';
import { INNER_HEADER_BYTES } from '#wire/inner.ts';
import { type ByteWork, SUITE_CHACHA20_POLY1305, type Suite } from '../addon.ts';
import { COUNTER } from '../counters.ts';
import {
  FAMILY_FRAME,
  FAMILY_MESSAGE,
  FLAG_ANY_SIZE,
  ITEM_BYTES,
  ITEM_CSUM_OFFSET,
  ITEM_CSUM_START,
  ITEM_FLAGS,
  ITEM_GSO_SIZE,
  ITEM_GSO_TYPE,
  ITEM_KEY,
  ITEM_LENGTH,
  ITEM_LINK,
  ITEM_OFFSET,
  ITEM_PATH,
  ITEM_SEALED,
  ITEM_STATUS,
  ITEM_WORDS,
  KIND_TRANSPORT,
  LEAST_PATH_MTU,
  MAX_PIECES,
  MAX_RUNS,
  MAX_SEGMENTS,
  MAX_SEND_BYTES,
  MESSAGE_LENGTH,
  MESSAGE_OFFSET,
  MESSAGE_SEGMENT,
  MESSAGE_WORDS,
  PIECE_LENGTH,
  PIECE_NEXT,
  PIECE_OFFSET,
  PIECE_WORDS,
  RUN_AUTHENTIC,
  RUN_BYTES,
  RUN_INDEX,
  RUN_KEEPALIVES,
  RUN_KEY,
  RUN_KIND,
  RUN_LENGTH,
  RUN_MESSAGE,
  RUN_OFFSET,
  RUN_SEGMENT,
  RUN_WORDS,
  STATUS_MALFORMED,
  STATUS_REFUSED,
  STATUS_REKEY,
  STATUS_TOO_BIG,
  UNIT_BYTES,
  UNIT_CSUM_OFFSET,
  UNIT_CSUM_START,
  UNIT_DESTINATION,
  UNIT_FAMILY,
  UNIT_FIRST,
  UNIT_FLAGS,
  UNIT_GSO_SIZE,
  UNIT_GSO_TYPE,
  UNIT_HEADER_LENGTH,
  UNIT_KEY,
  UNIT_PIECES,
  UNIT_SOURCE,
  UNIT_WORDS,
} from '../layout.ts';
import type { Tables } from '../tables.ts';
import { splitRuns } from './classify.ts';
import { coalesce, type OpenedPacket, type Unit } from './coalesce.ts';
import { clampMss, fitOf, fragments } from './fit.ts';
import { addressWords, macWords, parseInner, parseWrapped } from './inner.ts';
import { GSO_NONE, NEEDS_CSUM, segment } from './segment.ts';
import {
  paddedLength,
  TRANSPORT_HEADER_BYTES,
  TRANSPORT_OVERHEAD_BYTES,
  TransportKey,
} from './transport.ts';

/** What the twin leaves to the addon: paths of the sockets, and sending what lies in the run buffer. */
export type RunSender = Pick<
  ByteWork & { sendRun(path: number, length: number, segment: number, count: number): void },
  'setPath' | 'clearPath' | 'sendRun'
>;

interface TwinPath {
  readonly prefix: Uint8Array;
  /** 0: not known. */
  readonly mtuBytes: number;
}

/**
 * The byte work of `native/` in TypeScript, over the same tables and with the same results: the oracle of differential
 * tests and the slow portable engine.
 */
export class PortableByteWork implements ByteWork {
  readonly #tables: Tables;
  readonly #crypto: Crypto;
  readonly #sender: RunSender;
  readonly #keys = new Map<number, TransportKey>();
  readonly #paths = new Map<number, TwinPath>();
  readonly #run = { path: -1, used: 0, segment: 0, count: 0, closed: false };
  #offloads = 0;
  #mtuBytes = 0;

  constructor(tables: Tables, crypto: Crypto, sender: RunSender) {
    this.#tables = tables;
    this.#crypto = crypto;
    this.#sender = sender;
  }

  setOffloads(offloads: number, mtuBytes: number): void {
    this.#offloads = offloads;
    this.#mtuBytes = mtuBytes;
  }

  setKey(
    slot: number,
    suite: Suite,
    remoteIndex: number,
    sendKey: Uint8Array,
    receiveKey: Uint8Array,
    counterLow: number,
    counterHigh: number,
  ): boolean {
    const counter = (BigInt(counterHigh >>> 0) << 32n) | BigInt(counterLow >>> 0);
    const name = suite === SUITE_CHACHA20_POLY1305 ? 'chacha20poly1305' : 'aes256gcm';
    this.clearKey(slot);
    const key = new TransportKey(this.#crypto, name, remoteIndex, sendKey, receiveKey, counter);
    this.#keys.set(slot, key);
    return true;
  }

  clearKey(slot: number): void {
    this.#keys.get(slot)?.erase();
    this.#keys.delete(slot);
  }

  setPath(
    slot: number,
    socket: number,
    address: Uint8Array,
    port: number,
    prefix: Uint8Array,
    mtuBytes: number,
  ): boolean {
    const made = this.#sender.setPath(slot, socket, address, port, prefix, mtuBytes);
    const known = mtuBytes >= LEAST_PATH_MTU ? mtuBytes : 0;
    if (made) this.#paths.set(slot, { prefix: prefix.slice(), mtuBytes: known });
    return made;
  }

  clearPath(slot: number): void {
    this.#paths.delete(slot);
    this.#sender.clearPath(slot);
  }

  classify(messages: number): number {
    const { messages: table, runs, incoming, counters } = this.#tables;
    let count = 0;
    for (let i = 0; i < messages; i++) {
      const message = i * MESSAGE_WORDS;
      const offset = table[message + MESSAGE_OFFSET]!;
      const buffer = incoming.subarray(offset, offset + table[message + MESSAGE_LENGTH]!);
      const size = table[message + MESSAGE_SEGMENT]! || buffer.length;
      const split = splitRuns(buffer, size);
      counters[COUNTER['in-unknown-kind']]! += split.unknown;
      for (const run of split.runs) {
        if (count === MAX_RUNS) {
          counters[COUNTER['in-batch-full']]!++;
          continue;
        }
        const row = count++ * RUN_WORDS;
        runs.fill(0, row, row + RUN_WORDS);
        runs[row + RUN_MESSAGE] = i;
        runs[row + RUN_OFFSET] = offset + run.offset;
        runs[row + RUN_LENGTH] = run.length;
        runs[row + RUN_SEGMENT] = size;
        runs[row + RUN_KIND] = run.kind;
        runs[row + RUN_INDEX] = run.index;
        runs[row + RUN_KEY] = -1;
      }
    }
    return count;
  }

  openRuns(runs: number): number {
    const packets: OpenedPacket[] = [];
    const table = this.#tables.runs;
    for (let i = 0; i < runs; i++) {
      const row = i * RUN_WORDS;
      const slot = table[row + RUN_KEY]!;
      const key = this.#keys.get(slot);
      if (key === undefined || table[row + RUN_KIND] !== KIND_TRANSPORT) continue;
      const end = table[row + RUN_OFFSET]! + table[row + RUN_LENGTH]!;
      const size = table[row + RUN_SEGMENT]!;
      for (let at = table[row + RUN_OFFSET]!; at < end; at += size) {
        this.#openDatagram(row, slot, key, at, Math.min(at + size, end), packets);
      }
    }
    const units = coalesce(packets, this.#offloads);
    this.#writeUnits(units);
    return units.length;
  }

  seal(items: number): void {
    const { items: table } = this.#tables;
    for (let i = 0; i < items; i++) {
      const row = i * ITEM_WORDS;
      table[row + ITEM_SEALED] = table[row + ITEM_BYTES] = table[row + ITEM_STATUS] = 0;
      const key = this.#keys.get(table[row + ITEM_KEY]!);
      const path = this.#paths.get(table[row + ITEM_PATH]!);
      if (key !== undefined && path !== undefined) this.#sealItem(row, key, path);
    }
    this.#flush();
  }

  complete(items: number): void {
    const { items: table } = this.#tables;
    for (let i = 0; i < items; i++) {
      const row = i * ITEM_WORDS;
      table[row + ITEM_STATUS] = 0;
      if (table[row + ITEM_GSO_TYPE] !== GSO_NONE) continue;
      if (this.#segment(row) === undefined) table[row + ITEM_STATUS] = STATUS_MALFORMED;
      else table[row + ITEM_FLAGS]! &= ~NEEDS_CSUM;
    }
  }

  keepalive(slot: number, path: number): boolean {
    const key = this.#keys.get(slot);
    const to = this.#paths.get(path);
    if (key === undefined || to === undefined) return false;
    const sealed = key.seal(new Uint8Array(0));
    if (sealed !== undefined) this.#append(path, to.prefix, sealed);
    this.#flush();
    return sealed !== undefined;
  }

  #openDatagram(
    row: number,
    slot: number,
    key: TransportKey,
    from: number,
    to: number,
    packets: OpenedPacket[],
  ): void {
    const { runs, incoming, counters } = this.#tables;
    const result = key.open(incoming.subarray(from, to));
    if (result.type !== 'opened') {
      counters[COUNTER[result.type === 'forged' ? 'in-forged' : 'in-replayed']]!++;
      return;
    }
    runs[row + RUN_AUTHENTIC]!++;
    if (result.plaintext.length === 0) {
      runs[row + RUN_KEEPALIVES]!++;
      counters[COUNTER['in-keepalives']]!++;
      return;
    }
    const ip = parseInner(result.plaintext);
    const inner = ip ?? parseWrapped(result.plaintext);
    if (inner === undefined) {
      counters[COUNTER['in-malformed']]!++;
      return;
    }
    if (packets.length === MAX_PIECES) {
      counters[COUNTER['in-batch-full']]!++;
      return;
    }
    // In place, as C opens: the pieces of units are offsets into the receive buffer.
    incoming.set(result.plaintext, from + TRANSPORT_HEADER_BYTES);
    const at = from + TRANSPORT_HEADER_BYTES + (ip === undefined ? INNER_HEADER_BYTES : 0);
    runs[row + RUN_BYTES]! += inner.length;
    packets.push({ bytes: incoming.subarray(at, at + inner.length), inner, key: slot });
  }

  #writeUnits(units: readonly Unit[]): void {
    const { units: table, pieces, incoming } = this.#tables;
    let piece = 0;
    for (const [i, unit] of units.entries()) {
      const row = i * UNIT_WORDS;
      const { from, to } = unitAddresses(unit);
      table.fill(0, row, row + UNIT_WORDS);
      table[row + UNIT_FIRST] = piece;
      table[row + UNIT_PIECES] = unit.pieces.length;
      table[row + UNIT_KEY] = unit.key;
      table[row + UNIT_FAMILY] = unit.family;
      table.set(from, row + UNIT_SOURCE);
      table.set(to, row + UNIT_DESTINATION);
      table[row + UNIT_BYTES] = unit.innerBytes;
      table[row + UNIT_FLAGS] = unit.flags;
      table[row + UNIT_GSO_TYPE] = unit.gsoType;
      table[row + UNIT_HEADER_LENGTH] = unit.headersLength;
      table[row + UNIT_GSO_SIZE] = unit.gsoSize;
      table[row + UNIT_CSUM_START] = unit.csumStart;
      table[row + UNIT_CSUM_OFFSET] = unit.csumOffset;
      for (const [j, bytes] of unit.pieces.entries()) {
        const at = piece++ * PIECE_WORDS;
        pieces[at + PIECE_OFFSET] = bytes.byteOffset - incoming.byteOffset;
        pieces[at + PIECE_LENGTH] = bytes.length;
        pieces[at + PIECE_NEXT] = j + 1 < unit.pieces.length ? piece : -1;
      }
    }
  }

  #sealItem(row: number, key: TransportKey, { prefix, mtuBytes }: TwinPath): void {
    const { items } = this.#tables;
    const packets = this.#segment(row, mtuBytes);
    if (packets === undefined) {
      items[row + ITEM_STATUS]! |= STATUS_MALFORMED;
      return;
    }
    if (items[row + ITEM_GSO_TYPE] === GSO_NONE) clampMss(packets[0]!, mtuBytes);
    const paddedTo = mtuBytes === 0 ? this.#mtuBytes : Math.min(mtuBytes, this.#mtuBytes);
    for (const packet of packets.flatMap((whole) => this.#fitting(row, whole, mtuBytes))) {
      const padded = new Uint8Array(paddedLength(packet.length, paddedTo));
      padded.set(packet);
      if (prefix.length + padded.length + TRANSPORT_OVERHEAD_BYTES > MAX_SEND_BYTES) {
        items[row + ITEM_STATUS]! |= STATUS_MALFORMED;
        return;
      }
      const sealed = key.seal(padded);
      if (sealed === undefined) {
        items[row + ITEM_STATUS]! |= STATUS_REFUSED;
        return;
      }
      if (key.isAtRekeyLimit) items[row + ITEM_STATUS]! |= STATUS_REKEY;
      this.#append(items[row + ITEM_PATH]!, prefix, sealed);
      items[row + ITEM_SEALED]!++;
      items[row + ITEM_BYTES]! += packet.length;
    }
  }

  /** The packet as it fits through the path: whole, in pieces, or not at all. */
  #fitting(row: number, packet: Uint8Array, mtuBytes: number): Uint8Array[] {
    const { items, counters } = this.#tables;
    const isAnySize = (items[row + ITEM_FLAGS]! & FLAG_ANY_SIZE) !== 0;
    const fit = isAnySize ? 'whole' : fitOf(packet, mtuBytes);
    switch (fit) {
      case 'whole':
        return [packet];
      case 'fragments':
        counters[COUNTER['out-fragmented']]!++;
        return fragments(packet, mtuBytes);
      case 'too-big':
        items[row + ITEM_STATUS]! |= STATUS_TOO_BIG;
        return [];
      default:
        return fit satisfies never;
    }
  }

  #segment(row: number, mtuBytes = 0): Uint8Array[] | undefined {
    const { items, out } = this.#tables;
    const offset = items[row + ITEM_OFFSET]!;
    const header = {
      flags: items[row + ITEM_FLAGS]!,
      gsoType: items[row + ITEM_GSO_TYPE]!,
      gsoSize: items[row + ITEM_GSO_SIZE]!,
      csumStart: items[row + ITEM_CSUM_START]!,
      csumOffset: items[row + ITEM_CSUM_OFFSET]!,
    };
    const packet = out.subarray(offset, offset + items[row + ITEM_LENGTH]!);
    if (packet.length === 0) return undefined;
    return segment(packet, header, items[row + ITEM_LINK]!, mtuBytes);
  }

  /** Adds a datagram to the run, or sends the run first when it does not fit in: another path, larger, or too many. */
  #append(path: number, prefix: Uint8Array, sealed: Uint8Array): void {
    const run = this.#run;
    const size = prefix.length + sealed.length;
    const joins =
      run.count > 0 &&
      !run.closed &&
      run.path === path &&
      size <= run.segment &&
      run.count < MAX_SEGMENTS &&
      run.used + size <= MAX_SEND_BYTES;
    if (!joins) {
      this.#flush();
      run.path = path;
      run.segment = size;
    }
    this.#tables.run.set(prefix, run.used);
    this.#tables.run.set(sealed, run.used + prefix.length);
    run.used += size;
    run.count++;
    if (size < run.segment) run.closed = true;
  }

  #flush(): void {
    const run = this.#run;
    if (run.count > 0) this.#sender.sendRun(run.path, run.used, run.segment, run.count);
    run.used = 0;
    run.count = 0;
    run.closed = false;
  }
}

const noAddresses = { from: [0, 0, 0, 0], to: [0, 0, 0, 0] };

function unitAddresses({ pieces, family }: Unit): { from: number[]; to: number[] } {
  switch (family) {
    case 4:
    case 6:
      return addressWords(pieces[0]!, family);
    case FAMILY_FRAME:
      return macWords(pieces[0]!);
    case FAMILY_MESSAGE:
      return noAddresses;
    default:
      return family satisfies never;
  }
}
