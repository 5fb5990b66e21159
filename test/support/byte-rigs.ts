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
  readonly key: number;
  readonly path: number;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** One implementation with its own tables. */
export abstract class Rig {
  readonly tables: Tables = newTables(new Float64Array(COUNTER_NAMES.length));
  abstract readonly work: Pick<
    Addon,
    'setKey' | 'setPath' | 'setOffloads' | 'classify' | 'openRuns'
  >;
  abstract sealRuns(items: number): SealedRun[];

  /** Puts packets where the device would, seals them, and returns the runs and the rows that sealing filled in. */
  seal(items: readonly PlainItem[]): { runs: SealedRun[]; rows: number[][] } {
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
      table[row + layout.ITEM_KEY] = item.key;
      table[row + layout.ITEM_PATH] = item.path;
      at = (at + item.packet.length + layout.PACKET_GAP_BYTES + 63) & ~63;
    }
    const runs = this.sealRuns(items.length);
    const rows = items.map((_, i) => [
      ...table.subarray(i * layout.ITEM_WORDS + layout.ITEM_SEALED, (i + 1) * layout.ITEM_WORDS),
    ]);
    return { runs, rows };
  }

  /** Puts messages where the socket would, classifies, assigns keys by receiver index, opens, and returns all of it. */
  open(
    messages: readonly { bytes: Uint8Array; segment: number }[],
    keyOf: (index: number) => number,
  ) {
    const { messages: table, runs, incoming } = this.tables;
    for (const [i, { bytes, segment }] of messages.entries()) {
      const row = i * layout.MESSAGE_WORDS;
      table[row + layout.MESSAGE_OFFSET] = i * layout.SLOT_BYTES;
      table[row + layout.MESSAGE_LENGTH] = bytes.length;
      table[row + layout.MESSAGE_SEGMENT] = segment;
      incoming.set(bytes, i * layout.SLOT_BYTES);
    }
    const count = this.work.classify(messages.length);
    for (let i = 0; i < count; i++) {
      const row = i * layout.RUN_WORDS;
      if (runs[row + layout.RUN_KIND] !== layout.KIND_TRANSPORT) continue;
      runs[row + layout.RUN_KEY] = keyOf(runs[row + layout.RUN_INDEX]!);
    }
    const units = this.work.openRuns(count);
    return {
      runs: [...runs.subarray(0, count * layout.RUN_WORDS)],
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
  readonly work = new PortableByteWork(this.tables, nodeCrypto, {
    setPath: () => true,
    clearPath: () => {},
    sendRun: (path, length, segment, count) => {
      this.#runs.push({ path, segment, count, bytes: hex(this.tables.run.subarray(0, length)) });
    },
  });

  sealRuns(items: number): SealedRun[] {
    this.#runs = [];
    this.work.seal(items);
    return this.#runs;
  }
}
