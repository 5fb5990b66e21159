/**
 * The byte work of `native/relay.c` in TypeScript, written for clarity: the oracle of its tests. A batch is grouped to runs, and runs
 * to sends: datagrams of one path, in order, of one size but for the last.
 */
import { MAX_SEGMENTS, MAX_SEND_BYTES } from '#engine/layout.ts';
import { deliveredPrefix, isDeliveredBare, relayType } from '#wire/relay.ts';
import {
  RELAY_BARE,
  RELAY_CONTROL,
  RELAY_DATA_HEADER,
  RELAY_PROBE,
  RELAY_PROBE_BYTES,
  RELAY_WRAPPED,
} from './layout.ts';

const MAGIC = [0x42, 0x55, 0x52, 2] as const;
const PROBE_MAGIC = [0x42, 0x55, 0x52, 1] as const;
const HEADER_BYTES = 8;

export interface TwinRun {
  readonly kind: number;
  readonly datagrams: Uint8Array[];
}

/** Kind of a datagram, 0 for what is dropped. */
export function kindOf(bytes: Uint8Array): number {
  if (bytes.length < HEADER_BYTES || !MAGIC.every((byte, i) => bytes[i] === byte)) return 0;
  if (bytes[5] !== 0 || bytes[6] !== 0 || bytes[7] !== 0) return 0;
  if (relayType(bytes) !== 'data') return RELAY_CONTROL;
  const payload = bytes.subarray(RELAY_DATA_HEADER);
  if (payload.length === 0) return 0;
  if (isDeliveredBare(payload)) return RELAY_BARE;
  const isProbe = PROBE_MAGIC.every((byte, i) => payload[i] === byte);
  return isProbe && payload.length > RELAY_PROBE_BYTES ? RELAY_PROBE : RELAY_WRAPPED;
}

/** The runs of one message, whose datagrams have `segment` bytes but for the last; 0: it is one. */
export function groupRuns(
  message: Uint8Array,
  merged: number,
): { readonly runs: TwinRun[]; readonly unknown: number } {
  const segment = merged === 0 ? message.length : merged;
  const runs: TwinRun[] = [];
  let unknown = message.length === 0 ? 1 : 0;
  let last: TwinRun | undefined;
  for (let at = 0; at < message.length; at += segment) {
    const datagram = message.subarray(at, at + segment);
    const kind = kindOf(datagram);
    if (kind === 0) {
      unknown++;
      // What comes behind it does not lie behind the last run.
      last = undefined;
      continue;
    }
    const joins =
      last?.kind === kind &&
      (kind === RELAY_BARE || kind === RELAY_WRAPPED) &&
      sameHeader(last.datagrams[0]!, datagram);
    if (joins) last!.datagrams.push(datagram);
    else {
      last = { kind, datagrams: [datagram] };
      runs.push(last);
    }
  }
  return { runs, unknown };
}

export interface TwinSend {
  readonly path: number;
  readonly segment: number;
  readonly datagrams: Uint8Array[];
  used: number;
}

/** What is sent of runs that have a path, where UDP_SEGMENT may be used for all. */
export function planSends(
  runs: readonly { readonly run: TwinRun; readonly path: number; readonly from: number }[],
): TwinSend[] {
  const sends: TwinSend[] = [];
  const lastOf = new Map<number, TwinSend>();
  for (const { run, path, from } of runs) {
    for (const datagram of run.datagrams) {
      const bytes = delivered(run.kind, datagram, from);
      const last = lastOf.get(path);
      if (last !== undefined && takes(last, bytes.length)) {
        last.datagrams.push(bytes);
        last.used += bytes.length;
      } else {
        const send = { path, segment: bytes.length, datagrams: [bytes], used: bytes.length };
        lastOf.set(path, send);
        sends.push(send);
      }
    }
  }
  return sends;
}

function takes({ segment, datagrams, used }: TwinSend, length: number): boolean {
  const isClosed = datagrams.at(-1)!.length < segment;
  if (isClosed || datagrams.length === MAX_SEGMENTS) return false;
  return length <= segment && used + length <= MAX_SEND_BYTES;
}

function delivered(kind: number, datagram: Uint8Array, from: number): Uint8Array {
  const payload = datagram.subarray(RELAY_DATA_HEADER);
  return kind === RELAY_BARE ? payload : Buffer.concat([deliveredPrefix(from), payload]);
}

const sameHeader = (a: Uint8Array, b: Uint8Array): boolean =>
  Buffer.compare(a.subarray(0, RELAY_DATA_HEADER), b.subarray(0, RELAY_DATA_HEADER)) === 0;
