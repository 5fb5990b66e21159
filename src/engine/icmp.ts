/**
 * What a router answers when a packet does not fit through its next link, in whole IP packets:
 * IPv4 'fragmentation needed and DF set' (RFC 792, next-hop MTU of RFC 1191), IPv6 'packet too big' (RFC 4443 section 3.2).
 *
 *     type  code  checksum (2)  IPv4: zero (2), MTU (2); IPv6: MTU (4)  the packet, as far as there is room
 */
import {
  fold,
  get16,
  onesSum,
  pseudoHeaderSum,
  put16,
  put32,
  setIpv4Checksum,
} from './twin/checksum.ts';
import { parseInner } from './twin/inner.ts';

const PROTOCOL_ICMP = 1;
const PROTOCOL_ICMPV6 = 58;
const ICMP_HEADER_BYTES = 8;
/** RFC 1812 section 4.3.2.3, and the least MTU of IPv6. */
const MOST_BYTES = { 4: 576, 6: 1280 } as const;
const HEADER_BYTES = { 4: 20, 6: 40 } as const;
const HOP_LIMIT = 64;
/** Errors are never answered by errors (RFC 1122 section 3.2.2): unreachable, quench, redirect, exceeded, parameter. */
const ICMP_ERRORS: readonly number[] = [3, 4, 5, 11, 12];

/**
 * The answer to whoever sent `packet`, as from its destination; undefined where there must be none. IPv6 is never told less
 * than its least MTU.
 */
export function packetTooBig(packet: Uint8Array, mtuBytes: number): Uint8Array | undefined {
  const inner = parseInner(packet);
  if (inner === undefined || !mayBeAnswered(packet, inner.protocol, inner.headerLength)) {
    return undefined;
  }
  const { family } = inner;
  const header = HEADER_BYTES[family];
  const quoted = Math.min(packet.length, MOST_BYTES[family] - header - ICMP_HEADER_BYTES);
  const answer = new Uint8Array(header + ICMP_HEADER_BYTES + quoted);
  const icmp = answer.subarray(header);
  icmp.set(packet.subarray(0, quoted), ICMP_HEADER_BYTES);
  if (family === 4) {
    writeIpv4Header(answer, packet);
    icmp[0] = 3;
    icmp[1] = 4;
    put16(icmp, 6, Math.min(mtuBytes, 0xffff));
    put16(icmp, 2, ~onesSum(icmp) & 0xffff);
  } else {
    writeIpv6Header(answer, packet);
    icmp[0] = 2;
    put32(icmp, 4, Math.max(mtuBytes, MOST_BYTES[6]));
    const pseudo = pseudoHeaderSum(answer, PROTOCOL_ICMPV6, icmp.length);
    put16(icmp, 2, ~fold(onesSum(icmp, pseudo)) & 0xffff);
  }
  return answer;
}

function mayBeAnswered(packet: Uint8Array, protocol: number, headerLength: number): boolean {
  if (packet[0]! >> 4 === 6) {
    // IPv6 answers too big even for groups; a source that is one is nobody.
    return packet[8] !== 0xff && !(protocol === PROTOCOL_ICMPV6 && packet[headerLength]! < 128);
  }
  const isFirst = (get16(packet, 6) & 0x1fff) === 0;
  const isGroup = packet[16]! >= 224 || packet[12]! >= 224;
  const isError = protocol === PROTOCOL_ICMP && ICMP_ERRORS.includes(packet[headerLength] ?? 3);
  return isFirst && !isGroup && !isError;
}

function writeIpv4Header(answer: Uint8Array, packet: Uint8Array): void {
  answer[0] = 0x45;
  // Internetwork control (RFC 1812 section 4.3.2.5).
  answer[1] = 0xc0;
  put16(answer, 2, answer.length);
  answer[8] = HOP_LIMIT;
  answer[9] = PROTOCOL_ICMP;
  answer.set(packet.subarray(16, 20), 12);
  answer.set(packet.subarray(12, 16), 16);
  setIpv4Checksum(answer, HEADER_BYTES[4]);
}

function writeIpv6Header(answer: Uint8Array, packet: Uint8Array): void {
  answer[0] = 0x60;
  put16(answer, 4, answer.length - HEADER_BYTES[6]);
  answer[6] = PROTOCOL_ICMPV6;
  answer[7] = HOP_LIMIT;
  answer.set(packet.subarray(24, 40), 8);
  answer.set(packet.subarray(8, 24), 24);
}
