import { get16, put16, setIpv4Checksum } from './checksum.ts';
import { PROTOCOL_TCP, parseInner } from './inner.ts';

const IPV6_LEAST_MTU_BYTES = 1280;
const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;
const OFFSET_MASK = 0x1fff;
const TCP_SYN = 2;
const OPTION_END = 0;
const OPTION_NOP = 1;
const OPTION_MSS = 2;
const OPTION_COPIED = 0x80;

/** What becomes of a packet: sent as it is, cut, or refused because whoever sent it has to be told. */
export type Fit = 'whole' | 'fragments' | 'too-big';

/** What is not IP cannot be cut or answered, and IPv6 has to pass up to its least MTU. An MTU of 0 is not known. */
export function fitOf(packet: Uint8Array, mtuBytes: number): Fit {
  if (mtuBytes === 0 || packet.length <= mtuBytes) return 'whole';
  const inner = parseInner(packet);
  if (inner === undefined || inner.length !== packet.length) return 'whole';
  if (inner.family === 6) return packet.length <= IPV6_LEAST_MTU_BYTES ? 'whole' : 'too-big';
  return (get16(packet, 6) & DONT_FRAGMENT) !== 0 ? 'too-big' : 'fragments';
}

/** Cuts an IPv4 packet (RFC 791 section 3.2). Options that are not to be copied are no-operations in all pieces but the first. */
export function fragments(packet: Uint8Array, mtuBytes: number): Uint8Array[] {
  const headerLength = (packet[0]! & 15) * 4;
  const most = (mtuBytes - headerLength) & ~7;
  const pieces: Uint8Array[] = [];
  const payload = packet.subarray(headerLength);
  for (let at = 0; at < payload.length; at += most) {
    const piece = new Uint8Array(headerLength + Math.min(most, payload.length - at));
    piece.set(packet.subarray(0, headerLength));
    piece.set(payload.subarray(at, at + most), headerLength);
    writeFragmentHeader(piece, headerLength, at, at + most >= payload.length);
    pieces.push(piece);
  }
  return pieces;
}

function writeFragmentHeader(
  piece: Uint8Array,
  headerLength: number,
  at: number,
  isLast: boolean,
): void {
  const field = get16(piece, 6);
  const offset = ((field & OFFSET_MASK) + at / 8) & OFFSET_MASK;
  put16(piece, 2, piece.length);
  put16(piece, 6, (field & ~OFFSET_MASK) | (isLast ? 0 : MORE_FRAGMENTS) | offset);
  let i = 20;
  while (at > 0 && i < headerLength && piece[i] !== OPTION_END) {
    const isSingle = piece[i] === OPTION_NOP || i + 1 >= headerLength;
    let size = isSingle ? 1 : piece[i + 1]!;
    if (size === 0 || size > headerLength - i) size = headerLength - i;
    if ((piece[i]! & OPTION_COPIED) === 0) piece.fill(OPTION_NOP, i, i + size);
    i += size;
  }
  setIpv4Checksum(piece, headerLength);
}

/** Lowers the MSS option of a TCP SYN to what fits, in place; its checksum is complete. */
export function clampMss(packet: Uint8Array, mtuBytes: number): void {
  const inner = mtuBytes === 0 ? undefined : parseInner(packet);
  if (inner === undefined || inner.length !== packet.length) return;
  if (inner.protocol !== PROTOCOL_TCP || inner.fragment) return;
  const tcp = packet.subarray(inner.headerLength);
  if (tcp.length < 20 || (tcp[13]! & TCP_SYN) === 0) return;
  const end = (tcp[12]! >> 4) * 4;
  const most = mtuBytes - (inner.family === 4 ? 40 : 60);
  if (end > tcp.length) return;
  let i = 20;
  while (i < end && tcp[i] !== OPTION_END) {
    if (tcp[i] === OPTION_NOP) {
      i++;
      continue;
    }
    const size = i + 1 < end ? tcp[i + 1]! : 0;
    if (size < 2 || size > end - i) return;
    if (tcp[i] === OPTION_MSS && size === 4 && get16(tcp, i + 2) > most) {
      replaceWord(tcp, get16(tcp, i + 2), most, i % 2 !== 0);
      put16(tcp, i + 2, most);
    }
    i += size;
  }
}

/** RFC 1624: the checksum of TCP as if the word had always been another. */
function replaceWord(tcp: Uint8Array, before: number, now: number, isOdd: boolean): void {
  const placed = (word: number) => (isOdd ? ((word & 0xff) << 8) | (word >> 8) : word);
  let sum = (~get16(tcp, 16) & 0xffff) + (~placed(before) & 0xffff) + placed(now);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  put16(tcp, 16, ~sum);
}
