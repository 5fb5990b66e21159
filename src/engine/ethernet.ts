import { get16, get32, put16, put32 } from './twin/checksum.ts';

/**
 * Ethernet frames as a TAP device reads and writes them (IEEE 802.3 clause 3, without FCS):
 *
 *     0                 6            12                             14
 *     destination MAC   source MAC   EtherType, or length ≤ 1500    payload ...
 *
 * Every member has the MAC 7a:79 and the four bytes of its virtual IPv4 address, as Hamachi gave it. Those four bytes as a
 * word are its *station*; 0 is nobody's. An EtherType may stand behind VLAN tags, or behind an 802.2 SNAP header (RFC 1042);
 * Novell's two other framings (802.3 raw, 802.2 LLC) have none.
 */
export const ETHERNET_HEADER_BYTES = 14;
export const MAC_BYTES = 6;
/** Tags that a frame may have: what IEEE 802.1Q stacks. */
export const MAX_TAGS = 2;
export const TAG_BYTES = 4;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_SERVICE_VLAN = 0x88a8;
/** Smaller numbers are lengths (IEEE 802.3 clause 3.2.6). */
const LEAST_ETHERTYPE = 0x0600;

const MAC_PREFIX = 0x7a79;

/** The station of a member's MAC; 0 when it is no such MAC. */
export const stationAt = (bytes: Uint8Array, at: number): number =>
  get16(bytes, at) === MAC_PREFIX ? get32(bytes, at + 2) | 0 : 0;

/** Whether the MAC has the members' prefix, whoever's it is. */
export const isMemberMac = (bytes: Uint8Array, at: number): boolean =>
  get16(bytes, at) === MAC_PREFIX;

export function writeMac(bytes: Uint8Array, at: number, station: number): void {
  put16(bytes, at, MAC_PREFIX);
  put32(bytes, at + 2, station);
}

/** The MAC of a station. */
export function macOf(station: number): Uint8Array {
  const mac = new Uint8Array(MAC_BYTES);
  writeMac(mac, 0, station);
  return mac;
}

/** Broadcast, or multicast. */
export const isGroupMac = (bytes: Uint8Array, at: number): boolean => (bytes[at]! & 1) !== 0;

/** 01:80:c2:00:00:00 to 0f: between neighbours on one cable, never forwarded (IEEE 802.1Q table 8-1): STP, pause, LLDP. */
export const isCableMac = (bytes: Uint8Array, at: number): boolean =>
  get32(bytes, at) === 0x0180c200 && bytes[at + 4] === 0 && bytes[at + 5]! < 16;

/**
 * Finds the innermost EtherType: `offset << 16 | type` with the offset of its payload from the start of the frame; the type is
 * 0 for frames without one. -1: the frame ends before, or has too many tags.
 */
export function payloadOf(bytes: Uint8Array, at: number, length: number): number {
  let offset = ETHERNET_HEADER_BYTES;
  for (let tags = 0; offset <= length; tags++) {
    const type = get16(bytes, at + offset - 2);
    if (type === ETHERTYPE_VLAN || type === ETHERTYPE_SERVICE_VLAN) {
      if (tags === MAX_TAGS) return -1;
      offset += TAG_BYTES;
    } else if (type >= LEAST_ETHERTYPE) {
      return (offset << 16) | type;
    } else {
      return offset + 8 <= length && isSnap(bytes, at + offset)
        ? ((offset + 8) << 16) | get16(bytes, at + offset + 6)
        : offset << 16;
    }
  }
  return -1;
}

/** LLC AA AA 03 and the OUI 00:00:00, whose protocol numbers are EtherTypes. */
const isSnap = (bytes: Uint8Array, at: number): boolean =>
  get32(bytes, at) === 0xaaaa0300 && get16(bytes, at + 4) === 0;

/** Address words as tables have them, most significant first; the three behind an IPv4 address are 0. */
export function readAddress(bytes: Uint8Array, at: number, family: 4 | 6, words: Int32Array): void {
  words[0] = get32(bytes, at);
  for (let i = 1; i < 4; i++) words[i] = family === 6 ? get32(bytes, at + 4 * i) : 0;
}

/** The station whose link-local address this is, by EUI-64 (RFC 4291 appendix A); 0 for any other address. */
export function linkLocalStation(words: Int32Array): number {
  const [first, second, third, fourth] = words as unknown as [number, number, number, number];
  if (first !== (0xfe800000 | 0) || second !== 0) return 0;
  // The MAC's bit for 'locally administered' is inverted: 7a becomes 78.
  if (third >>> 16 !== (MAC_PREFIX ^ 0x0200) || (third & 0xff) !== 0xff) return 0;
  if (fourth >>> 24 !== 0xfe) return 0;
  return ((third & 0xff00) << 16) | (fourth & 0xffffff);
}
