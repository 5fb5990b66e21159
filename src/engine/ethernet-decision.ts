import { isGroupManagement } from '#core/lan/groups.ts';
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  isCableMac,
  isGroupMac,
  isMemberMac,
  MAC_BYTES,
  payloadOf,
  readAddress,
  stationAt,
} from './ethernet.ts';
import type { Segment } from './ethernet-judge.ts';
import {
  ARP_REQUEST,
  ARP_SENDER_IP,
  ARP_TARGET_IP,
  arpOperation,
  IPV6_HEADER_BYTES,
  ND_ADVERTISEMENT,
  ND_SOLICITATION,
  ND_TARGET,
  ndType,
  PROTOCOL_ICMPV6,
} from './ethernet-neighbours.ts';

/** What becomes of a frame of the device; a number of at least 0 is the peer to whom it goes as a frame. */
/** IP between members: it goes without its Ethernet header, as from a TUN device. */
export const OUT_PACKET = -1;
/** For everybody in Ethernet mode. */
export const OUT_FLOOD = -2;
/** An ARP request or neighbour solicitation that is answered here. */
export const OUT_ASK_ARP = -3;
export const OUT_ASK_ND = -4;
/** Nobody else is concerned: the system asks whether its own address is free, or looks for a router. */
export const OUT_QUIET = -5;
/** Its source is not this device: that would be bridging. */
export const OUT_STRANGER = -6;
/** For a member that is not there, or for neighbours on the cable. */
export const OUT_NOBODY = -7;
export const OUT_MALFORMED = -8;

const words = new Int32Array(4);

/**
 * Decides about a frame that the device delivered. `family` is 4 or 6 where one whole IP packet stands right behind its
 * header, else 0.
 */
export function decideFrame(
  frames: Uint8Array,
  at: number,
  length: number,
  family: number,
  segment: Segment,
): number {
  if (family === 4 || family === 6) return decideIp(frames, at, length, family, segment);
  const payload = payloadOf(frames, at, length);
  if (payload < 0) return OUT_MALFORMED;
  if (payload === ((ETHERNET_HEADER_BYTES << 16) | ETHERTYPE_ARP)) {
    return decideArp(frames, at, length, segment);
  }
  return byMac(frames, at, segment);
}

/**
 * From us to a member, to an address that only a member can have, or to a group: as in TUN mode. Anything else of IP is a
 * frame, whose receivers would refuse the address of another member as its source. IGMP and MLD tell what this host joined,
 * whatever their source.
 */
function decideIp(
  frames: Uint8Array,
  at: number,
  length: number,
  family: 4 | 6,
  segment: Segment,
): number {
  const ip = at + ETHERNET_HEADER_BYTES;
  if (family === 6 && frames[ip + 6] === PROTOCOL_ICMPV6) {
    const type = ndType(
      frames,
      ip + IPV6_HEADER_BYTES,
      length - ETHERNET_HEADER_BYTES - IPV6_HEADER_BYTES,
    );
    if (type >= 0) return decideDiscovery(frames, at, length, type, segment);
  }
  if (isGroupManagement(frames, ip, length - ETHERNET_HEADER_BYTES, family)) return OUT_PACKET;
  readAddress(frames, ip + (family === 4 ? 12 : 8), family, words);
  if (segment.ours.lookup(family, words, 0) < 0) {
    return isOfMembers(family, segment) ? OUT_STRANGER : byMac(frames, at, segment);
  }
  readAddress(frames, ip + (family === 4 ? 16 : 24), family, words);
  const first = words[0]! >>> 24;
  const isGroup = family === 4 ? first >= 224 : first === 0xff;
  return isGroup || isOfMembers(family, segment) ? OUT_PACKET : byMac(frames, at, segment);
}

/** Whether the address in `words` is a member's, or one that only members may have. */
const isOfMembers = (family: 4 | 6, segment: Segment): boolean =>
  segment.routes.lookup(family, words, 0) >= 0 || segment.pools.lookup(family, words, 0) >= 0;

/** Where a frame goes that travels as such. */
function byMac(frames: Uint8Array, at: number, segment: Segment): number {
  if (stationAt(frames, at + MAC_BYTES) !== segment.station) return OUT_STRANGER;
  if (isGroupMac(frames, at)) return isCableMac(frames, at) ? OUT_NOBODY : OUT_FLOOD;
  if (!isMemberMac(frames, at)) return OUT_FLOOD;
  words.fill(0);
  words[0] = stationAt(frames, at);
  const peer = segment.routes.lookup(4, words, 0);
  return peer >= 0 ? peer : OUT_NOBODY;
}

/** Who is asked for: a member (answered here), our own or a free address of the pools (silence), or none of these. */
function decideAsked(family: 4 | 6, segment: Segment, answer: number): number | undefined {
  if (segment.ours.lookup(family, words, 0) >= 0) return OUT_QUIET;
  if (segment.routes.lookup(family, words, 0) >= 0) return answer;
  return segment.pools.lookup(family, words, 0) >= 0 ? OUT_QUIET : undefined;
}

function decideArp(frames: Uint8Array, at: number, length: number, segment: Segment): number {
  const arp = at + ETHERNET_HEADER_BYTES;
  const operation = arpOperation(frames, arp, length - ETHERNET_HEADER_BYTES);
  if (operation < 0) return OUT_MALFORMED;
  readAddress(frames, arp + ARP_SENDER_IP, 4, words);
  const fromUs = segment.ours.lookup(4, words, 0) >= 0;
  if (!fromUs && isOfMembers(4, segment)) return OUT_STRANGER;
  if (operation === ARP_REQUEST) {
    readAddress(frames, arp + ARP_TARGET_IP, 4, words);
    return decideAsked(4, segment, OUT_ASK_ARP) ?? byMac(frames, at, segment);
  }
  // Everybody knows our own MAC already.
  return fromUs && isGroupMac(frames, at) ? OUT_QUIET : byMac(frames, at, segment);
}

function decideDiscovery(
  frames: Uint8Array,
  at: number,
  length: number,
  type: number,
  segment: Segment,
): number {
  if (type !== ND_SOLICITATION && type !== ND_ADVERTISEMENT) return OUT_QUIET;
  const target = ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + ND_TARGET;
  if (length < target + 16) return OUT_MALFORMED;
  readAddress(frames, at + target, 6, words);
  if (type === ND_SOLICITATION) {
    return decideAsked(6, segment, OUT_ASK_ND) ?? byMac(frames, at, segment);
  }
  return segment.ours.lookup(6, words, 0) >= 0 ? OUT_QUIET : byMac(frames, at, segment);
}
