/** The C addon and its twin side by side on the same input. */
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { type Addon, loadAddon } from '#engine/addon.ts';
import { COUNTER_NAMES } from '#engine/counters.ts';
import * as layout from '#engine/layout.ts';
import { newTables, OUT_BATCH_BYTES, type Tables } from '#engine/tables.ts';
import { PortableByteWork } from '#engine/twin/portable.ts';

export interface SealedRun {
  readonly path: number;
  readonly segment: number;
  readonly count: number;
  readonly bytes: string;
}

export interface OpenedUnit {
  readonly row: readonly number[];
  readonly bytes: string;
}

export interface PlainItem {
  readonly packet: Uint8Array;
  readonly flags: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
  /** Of a frame: what stands before its IP header. */
  readonly link?: number;
  readonly key: number;
  readonly path: number;
}

export interface ReceivedMessage {
  readonly bytes: Uint8Array;
  readonly segment: number;
}

export interface Opened {
  readonly runs: readonly number[];
  readonly units: readonly OpenedUnit[];
  readonly counters: readonly number[];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** One implementation with its own tables. */
export abstract class Rig {
  readonly tables: Tables = newTables(new Float64Array(COUNTER_NAMES.length));
  abstract readonly work: Pick<
    Addon,
    'setKey' | 'setPath' | 'setOffloads' | 'classify' | 'openRuns' | 'complete'
  >;
  abstract sealRuns(items: number): SealedRun[];
  /** Seals without describing the runs, for measurements. */
  abstract sealOnly(items: number): void;

  /** Puts packets where the device would. */
  place(items: readonly PlainItem[]): void {
    const { items: table, out } = this.tables;
    let at = 0;
    for (const [i, item] of items.entries()) {
      const row = i * layout.ITEM_WORDS;
      out.set(item.packet, at);
      table.fill(0, row, row + layout.ITEM_WORDS);
      table[row + layout.ITEM_OFFSET] = at;
      table[row + layout.ITEM_LENGTH] = item.packet.length;
      table[row + layout.ITEM_FLAGS] = item.flags;
      table[row + layout.ITEM_GSO_TYPE] = item.gsoType;
      table[row + layout.ITEM_GSO_SIZE] = item.gsoSize;
      table[row + layout.ITEM_CSUM_START] = item.csumStart;
      table[row + layout.ITEM_CSUM_OFFSET] = item.csumOffset;
      table[row + layout.ITEM_LINK] = item.link ?? 0;
      table[row + layout.ITEM_KEY] = item.key;
      table[row + layout.ITEM_PATH] = item.path;
      at = (at + item.packet.length + layout.PACKET_GAP_BYTES + 63) & ~63;
    }
  }

  /** Places and seals packets, perhaps with checksums completed first; returns the runs and the rows that sealing filled in. */
  seal(items: readonly PlainItem[], complete = false): { runs: SealedRun[]; rows: number[][] } {
    this.place(items);
    if (complete) this.work.complete(items.length);
    return this.#sealPlaced(items.length);
  }

  /** Places a packet once and seals it under each of the keys, as for several peers. */
  sealShared(item: PlainItem, slots: readonly number[]): { runs: SealedRun[]; rows: number[][] } {
    const { items: table } = this.tables;
    this.place([item]);
    this.work.complete(1);
    for (const [i, slot] of slots.entries()) {
      const row = i * layout.ITEM_WORDS;
      table.copyWithin(row, 0, layout.ITEM_WORDS);
      table[row + layout.ITEM_KEY] = table[row + layout.ITEM_PATH] = slot;
    }
    return this.#sealPlaced(slots.length);
  }

  /** What lies in the outbound buffer where an item's packet was placed. */
  placed(index: number): string {
    const { items: table, out } = this.tables;
    const row = index * layout.ITEM_WORDS;
    const offset = table[row + layout.ITEM_OFFSET]!;
    return hex(out.subarray(offset, offset + table[row + layout.ITEM_LENGTH]!));
  }

  #sealPlaced(items: number): { runs: SealedRun[]; rows: number[][] } {
    const runs = this.sealRuns(items);
    const rows = Array.from({ length: items }, (_, i) => [
      ...this.tables.items.subarray(
        i * layout.ITEM_WORDS + layout.ITEM_SEALED,
        (i + 1) * layout.ITEM_WORDS,
      ),
    ]);
    return { runs, rows };
  }

  /** Puts messages where the socket would. */
  receive(messages: readonly ReceivedMessage[]): void {
    const { messages: table, incoming } = this.tables;
    for (const [i, { bytes, segment }] of messages.entries()) {
      const row = i * layout.MESSAGE_WORDS;
      table[row + layout.MESSAGE_OFFSET] = i * layout.SLOT_BYTES;
      table[row + layout.MESSAGE_LENGTH] = bytes.length;
      table[row + layout.MESSAGE_SEGMENT] = segment;
      incoming.set(bytes, i * layout.SLOT_BYTES);
    }
  }

  /** Classifies, assigns keys by receiver index, and opens. */
  openOnly(messages: number, keyOf: (index: number) => number): { runs: number; units: number } {
    const { runs: table } = this.tables;
    const runs = this.work.classify(messages);
    for (let i = 0; i < runs; i++) {
      const row = i * layout.RUN_WORDS;
      if (table[row + layout.RUN_KIND] !== layout.KIND_TRANSPORT) continue;
      table[row + layout.RUN_KEY] = keyOf(table[row + layout.RUN_INDEX]!);
    }
    return { runs, units: this.work.openRuns(runs) };
  }

  /** Receives and opens messages; returns all that came out. */
  open(messages: readonly ReceivedMessage[], keyOf: (index: number) => number): Opened {
    this.receive(messages);
    const { runs, units } = this.openOnly(messages.length, keyOf);
    return {
      runs: [...this.tables.runs.subarray(0, runs * layout.RUN_WORDS)],
      units: Array.from({ length: units }, (_, i) => this.#unit(i)),
      counters: [...this.tables.counters],
    };
  }

  #unit(index: number): OpenedUnit {
    const { units, pieces, incoming } = this.tables;
    const row = index * layout.UNIT_WORDS;
    const parts: Uint8Array[] = [];
    for (let at = units[row + layout.UNIT_FIRST]!; at >= 0; ) {
      const piece = at * layout.PIECE_WORDS;
      const offset = pieces[piece + layout.PIECE_OFFSET]!;
      parts.push(incoming.subarray(offset, offset + pieces[piece + layout.PIECE_LENGTH]!));
      at = pieces[piece + layout.PIECE_NEXT]!;
    }
    const words = [...units.subarray(row + layout.UNIT_FIRST + 1, row + layout.UNIT_WORDS)];
    return { row: words, bytes: hex(Buffer.concat(parts)) };
  }
}

export class NativeRig extends Rig {
  readonly work: Addon = loadAddon();
  readonly #bytes = new Uint8Array(4 << 20);
  readonly #rows = new Int32Array(4 * 4_096);

  constructor() {
    super();
    const { out, incoming, run, items, messages, runs, units, pieces, counters } = this.tables;
    this.work.bind(
      out,
      OUT_BATCH_BYTES,
      incoming,
      run,
      items,
      messages,
      runs,
      units,
      pieces,
      counters,
    );
  }

  sealOnly(items: number): void {
    this.work.sealInto(items, this.#bytes, this.#rows);
  }

  sealRuns(items: number): SealedRun[] {
    const count = this.work.sealInto(items, this.#bytes, this.#rows);
    let at = 0;
    return Array.from({ length: count }, (_, i) => {
      const [path = 0, length = 0, segment = 0, datagrams = 0] = this.#rows.subarray(
        4 * i,
        4 * i + 4,
      );
      at += length;
      return { path, segment, count: datagrams, bytes: hex(this.#bytes.subarray(at - length, at)) };
    });
  }
}

export class TwinRig extends Rig {
  #runs: SealedRun[] = [];
  #recording = true;
  readonly work = new PortableByteWork(this.tables, nodeCrypto, {
    setPath: () => true,
    clearPath: () => {},
    sendRun: (path, length, segment, count) => {
      if (!this.#recording) return;
      this.#runs.push({ path, segment, count, bytes: hex(this.tables.run.subarray(0, length)) });
    },
  });

  sealOnly(items: number): void {
    this.#recording = false;
    this.work.seal(items);
    this.#recording = true;
  }

  sealRuns(items: number): SealedRun[] {
    this.#runs = [];
    this.work.seal(items);
    return this.#runs;
  }
}
