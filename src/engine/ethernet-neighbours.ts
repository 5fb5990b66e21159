import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  MAC_BYTES,
  writeMac,
} from './ethernet.ts';
import { get16, get32, onesSum, pseudoHeaderSum, put16 } from './twin/checksum.ts';

/**
 * The protocols by which machines on a cable find each other's MAC. Both are answered from the table of members.
 *
 * ARP (RFC 826) for IPv4 over Ethernet, 28 bytes:
 *
 *     0            2                4             5             6           8        14       18       24
 *     hardware 1   protocol 0x800   MAC bytes 6   IP bytes 4    operation   sender   sender   target   target
 *                                                               1: request  MAC      IPv4     MAC      IPv4
 *
 * Neighbour discovery (RFC 4861 section 4) over ICMPv6; solicitation (135) and advertisement (136):
 *
 *     0      1        2          4          8        24
 *     type   code 0   checksum   flags, 0   target   options: type (1: source's, 2: target's MAC), length in 8 bytes, ...
 */
export const ARP_BYTES = 28;
export const ARP_REQUEST = 1;
const ARP_REPLY = 2;
const ARP_OPERATION = 6;
export const ARP_SENDER_MAC = 8;
export const ARP_SENDER_IP = 14;
const ARP_TARGET_MAC = 18;
export const ARP_TARGET_IP = 24;

export const IPV6_HEADER_BYTES = 40;
export const PROTOCOL_ICMPV6 = 58;
export const ND_ROUTER_SOLICITATION = 133;
export const ND_ROUTER_ADVERTISEMENT = 134;
export const ND_SOLICITATION = 135;
export const ND_ADVERTISEMENT = 136;
export const ND_REDIRECT = 137;
export const ND_TARGET = 8;
export const ND_OPTIONS = 24;
const ND_SOLICITED = 0x40;
const ND_OVERRIDE = 0x20;
const OPTION_SOURCE_MAC = 1;
const OPTION_TARGET_MAC = 2;

/** The operation of an ARP packet of IPv4 over Ethernet; -1 when it is none. */
export function arpOperation(bytes: Uint8Array, at: number, length: number): number {
  if (length < ARP_BYTES || get32(bytes, at) !== 0x00010800) return -1;
  if (get16(bytes, at + 4) !== 0x0604) return -1;
  const operation = get16(bytes, at + ARP_OPERATION);
  return operation === ARP_REQUEST || operation === ARP_REPLY ? operation : -1;
}

/** The frame that answers an ARP request (a frame, which starts at `at`) in the name of a station. */
export function arpReply(request: Uint8Array, at: number, station: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER_BYTES + ARP_BYTES);
  const asked = at + ETHERNET_HEADER_BYTES;
  const arp = ETHERNET_HEADER_BYTES;
  frame.set(request.subarray(asked + ARP_SENDER_MAC, asked + ARP_SENDER_MAC + MAC_BYTES));
  writeMac(frame, MAC_BYTES, station);
  put16(frame, 12, ETHERTYPE_ARP);
  frame.set(request.subarray(asked, asked + ARP_OPERATION), arp);
  put16(frame, arp + ARP_OPERATION, ARP_REPLY);
  writeMac(frame, arp + ARP_SENDER_MAC, station);
  frame.set(request.subarray(asked + ARP_TARGET_IP, asked + ARP_BYTES), arp + ARP_SENDER_IP);
  frame.set(request.subarray(asked + ARP_SENDER_MAC, asked + ARP_TARGET_MAC), arp + ARP_TARGET_MAC);
  return frame;
}

/** Extension headers that are walked through: more than any host sends. */
const MAX_EXTENSION_HEADERS = 8;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;

/**
 * Offset of the ICMPv6 message in an IPv6 packet, behind its extension headers; -1: there is none (as in a fragment that is
 * not the first); -2: the headers do not hold together, or are too many.
 */
export function icmpv6Offset(bytes: Uint8Array, at: number, length: number): number {
  if (length < IPV6_HEADER_BYTES) return -2;
  let next = bytes[at + 6]!;
  let offset = IPV6_HEADER_BYTES;
  for (let headers = 0; headers <= MAX_EXTENSION_HEADERS; headers++) {
    if (next === PROTOCOL_ICMPV6) return offset < length ? offset : -2;
    const size = extensionBytes(next, bytes[at + offset + 1] ?? 0);
    if (size === 0) return -1;
    if (offset + size > length) return -2;
    if (next === FRAGMENT && (get16(bytes, at + offset + 2) & 0xfff8) !== 0) return -1;
    next = bytes[at + offset]!;
    offset += size;
  }
  return -2;
}

/** Bytes of an extension header by its length field; 0 when it is none. */
function extensionBytes(header: number, lengthField: number): number {
  switch (header) {
    case HOP_BY_HOP:
    case ROUTING:
    case DESTINATION_OPTIONS:
      return 8 * (lengthField + 1);
    case AUTHENTICATION:
      return 4 * (lengthField + 2);
    case FRAGMENT:
      return 8;
    default:
      return 0;
  }
}

/** The type of a neighbour discovery message (an ICMPv6 message at `at`), from 133 to 137; -1: another message. */
export function ndType(bytes: Uint8Array, at: number, length: number): number {
  const type = length > 0 ? bytes[at]! : 0;
  return type >= ND_ROUTER_SOLICITATION && type <= ND_REDIRECT ? type : -1;
}

/**
 * Offset of the MAC that the options of a solicitation or advertisement tell (of its sender, or its target), from the
 * start of the message; -1: they tell none; -2: options that lie about their length, or several MACs.
 */
export function ndMacOffset(bytes: Uint8Array, at: number, length: number): number {
  const wanted = bytes[at] === ND_SOLICITATION ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC;
  let found = -1;
  for (let offset = ND_OPTIONS; offset < length; ) {
    if (offset + 2 > length) return -2;
    const size = 8 * bytes[at + offset + 1]!;
    if (size === 0 || offset + size > length) return -2;
    if (bytes[at + offset] === wanted) {
      if (found >= 0) return -2;
      found = offset + 2;
    }
    offset += size;
  }
  return found;
}

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

/**
 * The frame that answers a neighbour solicitation (a frame, which starts at `at`) in the name of a station. A solicitation
 * from the unspecified address asks whether an address is free: the answer goes to all nodes (RFC 4861 section 7.2.4).
 */
export function neighbourAdvertisement(
  solicitation: Uint8Array,
  at: number,
  station: number,
): Uint8Array {
  const ip = ETHERNET_HEADER_BYTES;
  const icmp = ip + IPV6_HEADER_BYTES;
  const frame = new Uint8Array(icmp + ND_OPTIONS + 8);
  const asker = solicitation.subarray(at + ip + 8, at + ip + 24);
  const target = solicitation.subarray(at + icmp + ND_TARGET, at + icmp + ND_OPTIONS);
  const free = asker.every((byte) => byte === 0);
  frame.set(free ? ALL_NODES_MAC : solicitation.subarray(at + MAC_BYTES, at + 2 * MAC_BYTES));
  writeMac(frame, MAC_BYTES, station);
  put16(frame, 12, ETHERTYPE_IPV6);
  frame[ip] = 0x60;
  put16(frame, ip + 4, ND_OPTIONS + 8);
  frame[ip + 6] = PROTOCOL_ICMPV6;
  frame[ip + 7] = 255;
  frame.set(target, ip + 8);
  frame.set(free ? ALL_NODES : asker, ip + 24);
  frame[icmp] = ND_ADVERTISEMENT;
  frame[icmp + 4] = ND_OVERRIDE | (free ? 0 : ND_SOLICITED);
  frame.set(target, icmp + ND_TARGET);
  frame[icmp + ND_OPTIONS] = OPTION_TARGET_MAC;
  frame[icmp + ND_OPTIONS + 1] = 1;
  writeMac(frame, icmp + ND_OPTIONS + 2, station);
  const packet = frame.subarray(ip);
  const sum = pseudoHeaderSum(packet, PROTOCOL_ICMPV6, ND_OPTIONS + 8);
  put16(frame, icmp + 2, ~onesSum(packet.subarray(IPV6_HEADER_BYTES), sum) & 0xffff);
  return frame;
}
