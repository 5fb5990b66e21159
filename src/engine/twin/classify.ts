import {
  KIND_BURI,
  KIND_COOKIE,
  KIND_INITIATION,
  KIND_RESPONSE,
  KIND_STUN,
  KIND_TRANSPORT,
} from '../layout.ts';
import { get32 } from './checksum.ts';

const STUN_MAGIC_COOKIE = 0x2112a442;
/** Probes; and what relays say and deliver under a header. */
const BURI_MAGIC = 0x42555201;
const RELAY_MAGIC = 0x42555202;

const SIZE_OF_KIND: Readonly<Record<number, number>> = {
  [KIND_INITIATION]: 148,
  [KIND_RESPONSE]: 92,
  [KIND_COOKIE]: 64,
};

/** Kind of a datagram, 0 for none: WireGuard by type and size, STUN by its cookie (RFC 8489), else Buri's own magic. */
export function kindOf(bytes: Uint8Array): number {
  if (bytes.length < 4) return 0;
  const type = bytes[1] === 0 && bytes[2] === 0 && bytes[3] === 0 ? bytes[0]! : 0;
  if (type === KIND_TRANSPORT && bytes.length >= 32) return KIND_TRANSPORT;
  if (SIZE_OF_KIND[type] === bytes.length) return type;
  if (bytes.length >= 20 && bytes[0]! < 0x40 && get32(bytes, 4) === STUN_MAGIC_COOKIE) {
    return KIND_STUN;
  }
  const magic = get32(bytes, 0);
  return magic === BURI_MAGIC || magic === RELAY_MAGIC ? KIND_BURI : 0;
}

/** Consecutive datagrams of one kind and, for transport, one receiver index. */
export interface Run {
  readonly kind: number;
  /** Receiver index as a signed 32-bit number; 0 for other kinds. */
  readonly index: number;
  readonly offset: number;
  length: number;
}

/** Splits a received buffer of datagrams of `segment` bytes (the last may be shorter). */
export function splitRuns(
  buffer: Uint8Array,
  segment: number,
): { readonly runs: Run[]; readonly unknown: number } {
  const runs: Run[] = [];
  let unknown = buffer.length === 0 ? 1 : 0;
  for (let offset = 0; offset < buffer.length; offset += segment) {
    const bytes = buffer.subarray(offset, offset + segment);
    const kind = kindOf(bytes);
    if (kind === 0) {
      unknown++;
      continue;
    }
    const index =
      kind === KIND_TRANSPORT ? new DataView(bytes.buffer, bytes.byteOffset).getInt32(4, true) : 0;
    const last = runs.at(-1);
    const continues =
      last?.kind === KIND_TRANSPORT &&
      kind === KIND_TRANSPORT &&
      last.index === index &&
      last.offset + last.length === offset;
    if (continues) last.length += bytes.length;
    else runs.push({ kind, index, offset, length: bytes.length });
  }
  return { runs, unknown };
}
