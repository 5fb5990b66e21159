import { COUNTER_NAMES } from './counters.ts';
import {
  ITEM_WORDS,
  MAX_ITEMS,
  MAX_PIECES,
  MAX_RUNS,
  MAX_SLOTS,
  MAX_UNITS,
  MESSAGE_WORDS,
  PACKET_GAP_BYTES,
  PIECE_WORDS,
  RUN_WORDS,
  SLOT_BYTES,
  SUPER_PACKET_BYTES,
  UNIT_WORDS,
} from './layout.ts';

/** So much is read from the device before it is sealed: a few full super-packets, which stay in the cache. */
export const OUT_BATCH_BYTES = 128 * 1024;
const OUT_BYTES = OUT_BATCH_BYTES + SUPER_PACKET_BYTES + MAX_ITEMS * 2 * PACKET_GAP_BYTES;

export const MAX_PEERS = 65_536;

/** Numbers of a peer in shared memory. */
export const PEER_SENT_BYTES = 0;
export const PEER_SENT_PACKETS = 1;
export const PEER_RECEIVED_BYTES = 2;
export const PEER_RECEIVED_PACKETS = 3;
export const PEER_NUMBERS = 4;

/** Memory that the worker writes and the main thread reads. */
export interface SharedCounters {
  readonly engine: Float64Array<SharedArrayBuffer>;
  readonly peers: Float64Array<SharedArrayBuffer>;
  /** Events that the threads of an engine have sent up and that the main thread has consumed, by queue (see `uplink.ts`). */
  readonly posted: Int32Array<SharedArrayBuffer>;
  readonly consumed: Int32Array<SharedArrayBuffer>;
}

/** @param first those of the engine's first thread: the bounds of its queues are for all threads together. */
export function newSharedCounters(queues: number, first?: SharedCounters): SharedCounters {
  return {
    engine: new Float64Array(new SharedArrayBuffer(COUNTER_NAMES.length * 8)),
    peers: new Float64Array(new SharedArrayBuffer(MAX_PEERS * PEER_NUMBERS * 8)),
    posted: first?.posted ?? new Int32Array(new SharedArrayBuffer(queues * 4)),
    consumed: first?.consumed ?? new Int32Array(new SharedArrayBuffer(queues * 4)),
  };
}

/** The buffers of one engine, all of fixed size: nothing is allocated per packet. */
export interface Tables {
  readonly out: Uint8Array;
  readonly incoming: Uint8Array;
  readonly run: Uint8Array;
  readonly items: Int32Array;
  readonly messages: Int32Array;
  readonly runs: Int32Array;
  readonly units: Int32Array;
  readonly pieces: Int32Array;
  readonly counters: Float64Array;
}

export function newTables(counters: Float64Array): Tables {
  return {
    out: new Uint8Array(OUT_BYTES),
    incoming: new Uint8Array(MAX_SLOTS * SLOT_BYTES),
    run: new Uint8Array(SUPER_PACKET_BYTES),
    items: new Int32Array(MAX_ITEMS * ITEM_WORDS),
    messages: new Int32Array(MAX_SLOTS * MESSAGE_WORDS),
    runs: new Int32Array(MAX_RUNS * RUN_WORDS),
    units: new Int32Array(MAX_UNITS * UNIT_WORDS),
    pieces: new Int32Array(MAX_PIECES * PIECE_WORDS),
    counters,
  };
}
