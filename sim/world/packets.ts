/**
 * Packets of the virtual LAN as the members' applications send them: an IP header, a marker that must never be seen on a
 * link, a number that the world knows the packet by, and random bytes.
 *
 *     IPv4 or IPv6 header ‖ marker (16) ‖ number (4) ‖ filling
 */
import { addressBytes, formatAddress } from '#wire/endpoint.ts';

export const marker = new TextEncoder().encode('in the clear 16b');
const headerBytes = { 4: 20, 6: 40 } as const;
/** Experimental (RFC 3692): nothing here is TCP or UDP. */
const protocolNumber = 253;

export interface InnerPacket {
  readonly source: string;
  readonly destination: string;
  readonly number: number;
}

export function encodePacket(
  { source, destination, number }: InnerPacket,
  filling: Uint8Array,
): Uint8Array {
  const family = destination.includes(':') ? 6 : 4;
  const header = headerBytes[family];
  const length = header + marker.length + 4 + filling.length;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  if (family === 4) {
    bytes[0] = 0x45;
    view.setUint16(2, length);
    bytes[8] = 64;
    bytes[9] = protocolNumber;
    bytes.set(addressBytes(source)!, 12);
    bytes.set(addressBytes(destination)!, 16);
  } else {
    bytes[0] = 0x60;
    view.setUint16(4, length - header);
    bytes[6] = protocolNumber;
    bytes[7] = 64;
    bytes.set(addressBytes(source)!, 8);
    bytes.set(addressBytes(destination)!, 24);
  }
  bytes.set(marker, header);
  view.setUint32(header + marker.length, number);
  bytes.set(filling, header + marker.length + 4);
  return bytes;
}

/** Addresses of an IP packet and its bytes without padding; undefined when it is none. */
export function readAddresses(
  padded: Uint8Array,
): { source: string; destination: string; bytes: Uint8Array } | undefined {
  const version = padded.length === 0 ? 0 : padded[0]! >> 4;
  if (version !== 4 && version !== 6) return undefined;
  const header = headerBytes[version];
  if (padded.length < header) return undefined;
  const view = new DataView(padded.buffer, padded.byteOffset);
  const length = version === 4 ? view.getUint16(2) : header + view.getUint16(4);
  if (length < header || length > padded.length) return undefined;
  const [from, to, end] = version === 4 ? [12, 16, 20] : [8, 24, 40];
  return {
    source: formatAddress(padded.subarray(from, to)),
    destination: formatAddress(padded.subarray(to, end)),
    bytes: padded.subarray(0, length),
  };
}

/** The number of a packet of this world. */
export function packetNumber(bytes: Uint8Array): number | undefined {
  const at = headerBytes[bytes[0]! >> 4 === 6 ? 6 : 4] + marker.length;
  if (bytes.length < at + 4) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at);
}
