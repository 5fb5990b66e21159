import { INNER_HEADER_BYTES } from '#wire/inner.ts';
import { MAX_LINK } from '../layout.ts';
import { fold, get16, get32, onesSum, put16, put32, setIpv4Checksum } from './checksum.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP, parseInner } from './inner.ts';

export const NEEDS_CSUM = 1;
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
const GSO_ECN = 0x80;

const TCP_FIN = 1;
const TCP_PSH = 8;
const TCP_CWR = 0x80;
const MAX_HEADERS_BYTES = 256;

/** The virtio-net header of a packet from the device (virtio 1.2 section 5.1.6). */
export interface VnetHeader {
  readonly flags: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly csumStart: number;
  readonly csumOffset: number;
}

/**
 * Takes a packet of the device apart into the packets that it stands for, with all checksums set: one that stands for itself is
 * completed in place. `link` bytes stand before the IP header of a super-packet: the inner header and the Ethernet header of
 * a frame. TCP is cut as small as it takes to fit into `mtuBytes` (0: not known). Undefined when the headers do not hold together.
 */
export function segment(
  packet: Uint8Array,
  header: VnetHeader,
  link = 0,
  mtuBytes = 0,
): Uint8Array[] | undefined {
  if (header.gsoType === GSO_NONE) {
    if ((header.flags & NEEDS_CSUM) === 0) return [packet];
    return completeChecksum(packet, header);
  }
  const room = mtuBytes === 0 ? 0 : mtuBytes - link;
  if (link === 0) return segmentIp(packet, header, room);
  const csumStart = header.csumStart - link;
  if (link < 0 || link > MAX_LINK || link >= packet.length || csumStart < 0) return undefined;
  return segmentIp(packet.subarray(link), { ...header, csumStart }, room)?.map((bytes) => {
    const frame = new Uint8Array(link + bytes.length);
    frame.set(packet.subarray(0, link));
    frame.set(bytes, link);
    // The inner header holds the length of what follows it.
    put16(frame, 2, frame.length - INNER_HEADER_BYTES);
    return frame;
  });
}

function segmentIp(
  packet: Uint8Array,
  header: VnetHeader,
  mtuBytes: number,
): Uint8Array[] | undefined {
  const shape = parseSuper(packet, header);
  if (shape === undefined) return undefined;
  const segments: Uint8Array[] = [];
  const { headersLength } = shape;
  const isCut = shape.tcp && mtuBytes !== 0;
  const gsoSize = isCut ? Math.min(header.gsoSize, mtuBytes - headersLength) : header.gsoSize;
  for (let at = headersLength; at < packet.length; at += gsoSize) {
    const payload = packet.subarray(at, at + gsoSize);
    const bytes = new Uint8Array(headersLength + payload.length);
    bytes.set(packet.subarray(0, headersLength));
    bytes.set(payload, headersLength);
    const last = at + gsoSize >= packet.length;
    writeHeaders(bytes, shape, packet.length, segments.length, gsoSize, last);
    segments.push(bytes);
  }
  return segments;
}

function completeChecksum(packet: Uint8Array, header: VnetHeader): Uint8Array[] | undefined {
  const { csumStart, csumOffset } = header;
  const field = csumStart + csumOffset;
  if (csumStart >= packet.length || field + 2 > packet.length) return undefined;
  const sum = ~onesSum(packet.subarray(csumStart)) & 0xffff;
  // A UDP checksum of zero would mean 'none' (RFC 768).
  put16(packet, field, sum === 0 && csumOffset === 6 ? 0xffff : sum);
  return [packet];
}

interface Shape {
  readonly family: 4 | 6;
  readonly tcp: boolean;
  readonly l4: number;
  readonly headersLength: number;
}

function parseSuper(packet: Uint8Array, header: VnetHeader): Shape | undefined {
  const type = header.gsoType & ~GSO_ECN;
  const inner = parseInner(packet);
  if (inner === undefined || inner.length !== packet.length || inner.fragment) return undefined;
  const { family } = inner;
  if (type !== GSO_UDP_L4 && type !== (family === 4 ? GSO_TCPV4 : GSO_TCPV6)) return undefined;
  const tcp = type !== GSO_UDP_L4;
  const l4 = header.csumStart;
  if ((header.flags & NEEDS_CSUM) === 0 || header.gsoSize === 0) return undefined;
  if (family === 4 ? l4 !== inner.headerLength : l4 < inner.headerLength) return undefined;
  if (family === 4 && inner.protocol !== (tcp ? PROTOCOL_TCP : PROTOCOL_UDP)) return undefined;
  if (header.csumOffset !== (tcp ? 16 : 6)) return undefined;
  if (l4 + (tcp ? 20 : 8) > packet.length) return undefined;
  const l4Header = tcp ? (packet[l4 + 12]! >> 4) * 4 : 8;
  const headersLength = l4 + l4Header;
  if (tcp && l4Header < 20) return undefined;
  if (headersLength > MAX_HEADERS_BYTES || headersLength >= packet.length) return undefined;
  return { family, tcp, l4, headersLength };
}

function writeHeaders(
  bytes: Uint8Array,
  shape: Shape,
  wholeLength: number,
  index: number,
  gsoSize: number,
  last: boolean,
): void {
  const { l4 } = shape;
  if (shape.family === 4) {
    put16(bytes, 2, bytes.length);
    put16(bytes, 4, get16(bytes, 4) + index);
    setIpv4Checksum(bytes, l4);
  } else {
    put16(bytes, 4, bytes.length - 40);
  }
  const field = l4 + (shape.tcp ? 16 : 6);
  const l4Length = bytes.length - l4;
  // The field holds the pseudo-header's sum over the whole length.
  const pseudo = get16(bytes, field) + (~(wholeLength - l4) & 0xffff) + l4Length;
  if (shape.tcp) {
    put32(bytes, l4 + 4, get32(bytes, l4 + 4) + index * gsoSize);
    if (!last) bytes[l4 + 13]! &= ~(TCP_FIN | TCP_PSH);
    if (index > 0) bytes[l4 + 13]! &= ~TCP_CWR;
  } else {
    put16(bytes, l4 + 4, l4Length);
  }
  put16(bytes, field, 0);
  const sum = ~onesSum(bytes.subarray(l4), fold(pseudo)) & 0xffff;
  put16(bytes, field, sum === 0 && !shape.tcp ? 0xffff : sum);
}
