/** The relay's part of the C addon and its twin side by side, and the scripts that both play (native/fuzz/script.h). */
import { hash } from 'node:crypto';
import { COUNTER, COUNTER_NAMES } from '#engine/counters.ts';
import {
  MAX_SEND_BYTES,
  MESSAGE_LENGTH,
  MESSAGE_OFFSET,
  MESSAGE_SEGMENT,
  MESSAGE_WORDS,
  OFFLOAD_UDP_SEGMENT,
  SHARE_NOT,
  SLOT_BYTES,
} from '#engine/layout.ts';
import { bindRelayAddon, newRelayTables } from '#relay/udp/addon.ts';
import * as layout from '#relay/udp/layout.ts';
import { groupRuns, planSends, type TwinRun } from '#relay/udp/twin.ts';
import { Script, word } from './fuzz-scripts.ts';

const PATTERN_TIMES = 16;
const MAX_CONTENT = 2048;
const PATHS = [0, 1, 2, 3] as const;

export interface RelayMessage {
  readonly bytes: Uint8Array;
  readonly segment: number;
}

/** What a batch came to, in a form that can be compared. */
export interface RelayBatch {
  readonly runs: readonly {
    readonly kind: number;
    readonly count: number;
    readonly bytes: string;
  }[];
  readonly sends: readonly RelaySend[];
  readonly unknown: number;
}

export interface RelaySend {
  readonly path: number;
  readonly segment: number;
  readonly count: number;
  readonly bytes: string;
}

export interface RelayRig {
  handle(messages: readonly RelayMessage[]): RelayBatch;
}

/** Short ones as they are, others by their digest: there are many. */
const named = (bytes: Uint8Array): string =>
  bytes.length <= 512 ? Buffer.from(bytes).toString('hex') : hash('sha1', bytes, 'hex');

/** Where a run goes: what a switchboard decides is none of the bytes' business. */
const pathOf = (destination: number): number => ((destination & 4) !== 0 ? -1 : destination & 3);

export class NativeRelayRig implements RelayRig {
  readonly #bound;
  readonly #bytes = new Uint8Array(8 << 20);
  readonly #rows = new Int32Array(4 * layout.RELAY_RUNS);

  constructor(counters: Float64Array = new Float64Array(COUNTER_NAMES.length)) {
    this.#bound = bindRelayAddon(newRelayTables(counters));
    const { addon } = this.#bound;
    const local = Uint8Array.of(127, 0, 0, 1);
    const [socket] = addon.socketOpen(local, 0, OFFLOAD_UDP_SEGMENT, SHARE_NOT, -1);
    if (socket < 0) throw new Error(`no socket: ${socket}`);
    for (const path of PATHS) addon.setPath(path, socket, local, 9, new Uint8Array(0), 0);
  }

  get layout(): Readonly<Record<string, number>> {
    return this.#bound.addon.relayLayout;
  }

  handle(messages: readonly RelayMessage[]): RelayBatch {
    const { addon, tables } = this.#bound;
    const { incoming, runs, counters } = tables;
    const before = counters[COUNTER['in-unknown-kind']]!;
    for (const [i, { bytes, segment }] of messages.entries()) {
      incoming.set(bytes, i * SLOT_BYTES);
      const row = i * MESSAGE_WORDS;
      tables.messages.fill(0, row, row + MESSAGE_WORDS);
      tables.messages[row + MESSAGE_OFFSET] = i * SLOT_BYTES;
      tables.messages[row + MESSAGE_LENGTH] = bytes.length;
      tables.messages[row + MESSAGE_SEGMENT] = segment;
    }
    const count = addon.relayGroup(messages.length);
    const grouped: { kind: number; count: number; bytes: string }[] = [];
    for (let i = 0; i < count; i++) {
      const run = runs.subarray(i * layout.RELAY_WORDS, (i + 1) * layout.RELAY_WORDS);
      const kind = run[layout.RELAY_KIND]!;
      const offset = run[layout.RELAY_OFFSET]!;
      const length = run[layout.RELAY_LENGTH]!;
      const datagrams = Math.ceil(length / run[layout.RELAY_SEGMENT]!);
      if (datagrams !== run[layout.RELAY_COUNT]) throw new Error('datagrams miscounted');
      const bytes = named(incoming.subarray(offset, offset + length));
      grouped.push({ kind, count: datagrams, bytes });
      const isData = kind === layout.RELAY_BARE || kind === layout.RELAY_WRAPPED;
      run[layout.RELAY_PATH] = isData ? pathOf(run[layout.RELAY_DESTINATION]!) : -1;
      run[layout.RELAY_FROM] = run[layout.RELAY_TOKEN]!;
    }
    const sends = this.#sends(count);
    return { runs: grouped, sends, unknown: counters[COUNTER['in-unknown-kind']]! - before };
  }

  #sends(runs: number): RelaySend[] {
    const sends: RelaySend[] = [];
    const count = this.#bound.addon.relaySendInto(runs, this.#bytes, this.#rows);
    for (let i = 0, at = 0; i < count; i++) {
      const [path, length, segment, datagrams] = this.#rows.subarray(4 * i, 4 * i + 4);
      const bytes = named(this.#bytes.subarray(at, at + length!));
      sends.push({ path: path!, segment: segment!, count: datagrams!, bytes });
      at += length!;
    }
    return sends;
  }
}

export class TwinRelayRig implements RelayRig {
  handle(messages: readonly RelayMessage[]): RelayBatch {
    const runs: TwinRun[] = [];
    let unknown = 0;
    for (const { bytes, segment } of messages) {
      const grouped = groupRuns(bytes, segment);
      runs.push(...grouped.runs);
      unknown += grouped.unknown;
    }
    const routed = runs.flatMap((run) => {
      if (run.kind !== layout.RELAY_BARE && run.kind !== layout.RELAY_WRAPPED) return [];
      const [first] = run.datagrams;
      const view = new DataView(first!.buffer, first!.byteOffset, first!.length);
      const path = pathOf(view.getUint32(16, true));
      return path < 0 ? [] : [{ run, path, from: view.getUint32(8, true) }];
    });
    const sends = planSends(routed).map(({ path, segment, datagrams }) => ({
      ...{ path, segment, count: datagrams.length, bytes: named(Buffer.concat(datagrams)) },
    }));
    return {
      runs: runs.map(({ kind, datagrams }) => ({
        ...{ kind, count: datagrams.length, bytes: named(Buffer.concat(datagrams)) },
      })),
      ...{ sends, unknown },
    };
  }
}

export function playRelay(rig: RelayRig, input: Uint8Array): RelayBatch[] {
  const script = new Script(input);
  const batches: RelayBatch[] = [];
  let messages: { parts: Uint8Array[]; length: number; segment: number }[] = [];
  const handle = (): void => {
    const whole = messages.map(({ parts, segment }) => ({ bytes: Buffer.concat(parts), segment }));
    batches.push(rig.handle(whole));
    messages = [];
  };
  while (!script.hasEnded) {
    const op = script.byte();
    const times = (script.byte() & 63) + 1;
    const bytes = readDatagram(script, op);
    for (let i = 0; i < times; i++) {
      const current = messages.at(-1);
      const fits = current !== undefined && current.length + bytes.length <= MAX_SEND_BYTES;
      const begins = !fits || (i === 0 && (op & 2) !== 0);
      const isFull = begins && messages.length === layout.RELAY_SLOTS;
      const handles = messages.length > 0 && ((i === 0 && (op & 1) !== 0) || isFull);
      if (handles) handle();
      if (begins || handles) {
        messages.push({ parts: [bytes], length: bytes.length, segment: bytes.length });
      } else {
        current!.parts.push(bytes);
        current!.length += bytes.length;
      }
    }
  }
  if (messages.length > 0) handle();
  return batches;
}

function readDatagram(script: Script, op: number): Uint8Array {
  const destination = script.byte();
  const content = script.content(Math.min(script.word(), MAX_CONTENT));
  const header = (op & 4) === 0 ? [] : dataHeader(op >> 4, destination);
  const times = (op & 8) === 0 ? 0 : PATTERN_TIMES;
  const most = MAX_SEND_BYTES - header.length;
  const bytes = new Uint8Array(header.length + Math.min(most, content.length * (1 + times)));
  for (let i = header.length + content.length; i < bytes.length; i++) bytes[i] = i;
  bytes.set(header);
  bytes.set(content, header.length);
  return bytes;
}

const dataHeader = (token: number, destination: number): number[] => [
  ...[0x42, 0x55, 0x52, 2, 1, 0, 0, 0, token, 0, 0, 0, 0, 0, 0, 0, destination, 0, 0, 0],
];

export interface RelayStep {
  /** Bits of the operation, see script.h. */
  readonly op: number;
  readonly times?: number;
  readonly destination?: number;
  readonly content: Uint8Array;
}

export const relayScript = (steps: readonly RelayStep[]): Uint8Array =>
  Uint8Array.from(
    steps.flatMap(({ op, times = 0, destination = 0, content }) => [
      ...[op, times, destination, ...word(content.length), ...content],
    ]),
  );
