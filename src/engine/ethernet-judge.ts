import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  isCableMac,
  isGroupMac,
  isMemberMac,
  linkLocalStation,
  MAC_BYTES,
  MAX_TAGS,
  payloadOf,
  readAddress,
  stationAt,
  TAG_BYTES,
} from './ethernet.ts';
import {
  ARP_SENDER_IP,
  ARP_SENDER_MAC,
  arpOperation,
  icmpv6Offset,
  ND_ADVERTISEMENT,
  ND_OPTIONS,
  ND_SOLICITATION,
  ND_TARGET,
  ndMacOffset,
  ndType,
} from './ethernet-neighbours.ts';
import type { PrefixTable } from './prefix-table.ts';

/** What is to be known of the virtual LAN to judge a frame. */
export interface Segment {
  /** Our own station. */
  readonly station: number;
  /** MTU of the device: of IP, without Ethernet's header. */
  readonly mtuBytes: number;
  /** Our own addresses. */
  readonly ours: PrefixTable;
  /** Addresses of members, to their peers. */
  readonly routes: PrefixTable;
  /** What belongs to members, also where nobody has it yet. */
  readonly pools: PrefixTable;
}

/** Verdicts about a frame that a member sent. */
export const FRAME_GOOD = 0;
/** The source, somewhere in the frame, is not the sender's own. */
export const FRAME_SOURCE = 1;
/** For another member, or for nobody beyond the sender's cable. */
export const FRAME_DESTINATION = 2;
/** Too short, too long, or headers that lie. */
export const FRAME_MALFORMED = 3;
/** Speaks as a router: a member must not become the way to everywhere. */
export const FRAME_ROUTER = 4;

const words = new Int32Array(4);

/**
 * Whether a frame that came out of the tunnel of `peer` may go into the device. Its source has to be the sender's MAC, and
 * no address in it may be another member's: the source of IP, the sender of ARP, the target of an advertisement. IP from
 * outside the pools passes, as on any cable: nobody owns it.
 */
export function judgeFrame(
  frames: Uint8Array,
  at: number,
  length: number,
  segment: Segment,
  peer: number,
  station: number,
): number {
  if (length < ETHERNET_HEADER_BYTES) return FRAME_MALFORMED;
  if (length > segment.mtuBytes + ETHERNET_HEADER_BYTES + MAX_TAGS * TAG_BYTES) {
    return FRAME_MALFORMED;
  }
  if (station === 0 || stationAt(frames, at + MAC_BYTES) !== station) return FRAME_SOURCE;
  if (!isForUs(frames, at, segment)) return FRAME_DESTINATION;
  const payload = payloadOf(frames, at, length);
  if (payload < 0) return FRAME_MALFORMED;
  const start = at + (payload >>> 16);
  const size = length - (payload >>> 16);
  switch (payload & 0xffff) {
    case ETHERTYPE_IPV4:
      return judgeIpv4(frames, start, size, segment, peer);
    case ETHERTYPE_IPV6:
      return judgeIpv6(frames, start, size, segment, peer, station);
    case ETHERTYPE_ARP:
      return judgeArp(frames, start, size, segment, peer, station);
    default:
      return FRAME_GOOD;
  }
}

/** Our MAC, a group's, or one that is no member's: what is flooded because nobody knows where it is. */
function isForUs(frames: Uint8Array, at: number, segment: Segment): boolean {
  if (isGroupMac(frames, at)) return !isCableMac(frames, at);
  return !isMemberMac(frames, at) || stationAt(frames, at) === segment.station;
}

/** Whether the address in `words` is another member's, ours, or one that only members may have. */
export function isForeign(family: 4 | 6, segment: Segment, peer: number): boolean {
  const owner = segment.routes.lookup(family, words, 0);
  if (owner >= 0) return owner !== peer;
  return segment.ours.lookup(family, words, 0) >= 0 || segment.pools.lookup(family, words, 0) >= 0;
}

function judgeIpv4(
  bytes: Uint8Array,
  at: number,
  length: number,
  segment: Segment,
  peer: number,
): number {
  if (length < 20 || bytes[at]! >> 4 !== 4) return FRAME_MALFORMED;
  readAddress(bytes, at + 12, 4, words);
  return isForeign(4, segment, peer) ? FRAME_SOURCE : FRAME_GOOD;
}

function judgeIpv6(
  bytes: Uint8Array,
  at: number,
  length: number,
  segment: Segment,
  peer: number,
  station: number,
): number {
  const icmp = icmpv6Offset(bytes, at, length);
  if (icmp === -2 || bytes[at]! >> 4 !== 6) return FRAME_MALFORMED;
  readAddress(bytes, at + 8, 6, words);
  if (isForeign6(segment, peer, station)) return FRAME_SOURCE;
  if (icmp < 0) return FRAME_GOOD;
  const message = at + icmp;
  const size = length - icmp;
  const type = ndType(bytes, message, size);
  if (type < 0) return FRAME_GOOD;
  if (type !== ND_SOLICITATION && type !== ND_ADVERTISEMENT) return FRAME_ROUTER;
  if (size < ND_OPTIONS) return FRAME_MALFORMED;
  const mac = ndMacOffset(bytes, message, size);
  if (mac === -2) return FRAME_MALFORMED;
  if (mac >= 0 && stationAt(bytes, message + mac) !== station) return FRAME_SOURCE;
  if (type === ND_SOLICITATION) return FRAME_GOOD;
  readAddress(bytes, message + ND_TARGET, 6, words);
  return isForeign6(segment, peer, station) ? FRAME_SOURCE : FRAME_GOOD;
}

/** As `isForeign`, and a link-local address made of another member's MAC. */
function isForeign6(segment: Segment, peer: number, station: number): boolean {
  const owner = linkLocalStation(words);
  return (owner !== 0 && owner !== station) || isForeign(6, segment, peer);
}

function judgeArp(
  bytes: Uint8Array,
  at: number,
  length: number,
  segment: Segment,
  peer: number,
  station: number,
): number {
  if (arpOperation(bytes, at, length) < 0) return FRAME_MALFORMED;
  if (stationAt(bytes, at + ARP_SENDER_MAC) !== station) return FRAME_SOURCE;
  readAddress(bytes, at + ARP_SENDER_IP, 4, words);
  return isForeign(4, segment, peer) ? FRAME_SOURCE : FRAME_GOOD;
}
