/**
 * Which destinations are for more than one member, and who gets them. Addresses are four words of 32 bits, most significant first
 * (IPv4: one, the others are 0), as the data plane has them: nothing is allocated here.
 *
 * - `everybody`: broadcast, and groups that members expect to reach without anybody having joined them where we see it: those of
 *   the link (mDNS, LLMNR, OSPF and others: hosts need not report them, RFC 4541 section 2.1.2) and SSDP's (UPnP), whose members
 *   often listen by other means, and which carries little.
 * - `members`: those who joined the group.
 * - `local`: never leaves the host (interface-local scope, reserved scope 0: RFC 4291 section 2.7).
 */
export const DESTINATION_UNICAST = 0;
export const DESTINATION_EVERYBODY = 1;
export const DESTINATION_MEMBERS = 2;
export const DESTINATION_LOCAL = 3;
export type Destination =
  | typeof DESTINATION_UNICAST
  | typeof DESTINATION_EVERYBODY
  | typeof DESTINATION_MEMBERS
  | typeof DESTINATION_LOCAL;

/** 255.255.255.255. The directed broadcast of the pool is the caller's to know. */
const LIMITED_BROADCAST = -1;
/** 224.0.0.0/24: the link's own groups, never forwarded by routers and so the members' of one LAN (RFC 5771 section 4). */
const LINK_LOCAL_4 = 0xe00000;
/** 239.255.255.250: SSDP (UPnP Device Architecture 2.0 section 1). */
const SSDP_4 = 0xeffffffa | 0;
/** ff0X::c: SSDP over IPv6; X is the scope: site, organisation, global. Link scope is for everybody anyway. */
const SSDP_6 = 0xc;
const SSDP_SCOPES: readonly number[] = [0x5, 0x8, 0xe];

const SCOPE_RESERVED = 0;
const SCOPE_INTERFACE = 1;
const SCOPE_LINK = 2;

export function destinationKind(family: number, words: Int32Array, offset: number): Destination {
  const word = words[offset]!;
  if (family === 4) {
    if (word === LIMITED_BROADCAST) return DESTINATION_EVERYBODY;
    if (word >>> 28 !== 0xe) return DESTINATION_UNICAST;
    const toAll = word >>> 8 === LINK_LOCAL_4 || word === SSDP_4;
    return toAll ? DESTINATION_EVERYBODY : DESTINATION_MEMBERS;
  }
  if (family !== 6 || word >>> 24 !== 0xff) return DESTINATION_UNICAST;
  const scope = (word >>> 16) & 15;
  if (scope === SCOPE_RESERVED || scope === SCOPE_INTERFACE) return DESTINATION_LOCAL;
  if (scope === SCOPE_LINK) return DESTINATION_EVERYBODY;
  const isSsdp =
    word << 16 === 0 &&
    word >>> 20 === 0xff0 &&
    words[offset + 1] === 0 &&
    words[offset + 2] === 0 &&
    words[offset + 3] === SSDP_6 &&
    SSDP_SCOPES.includes(scope);
  return isSsdp ? DESTINATION_EVERYBODY : DESTINATION_MEMBERS;
}

const PROTOCOL_IGMP = 2;
const PROTOCOL_ICMPV6 = 58;
const PROTOCOL_HOP_BY_HOP = 0;
/** Query, report, done (RFC 2710); report of version 2 (RFC 3810). */
const MLD_TYPES: readonly number[] = [130, 131, 132, 143];

/**
 * Whether a packet, known to be a whole IP packet, is IGMP or MLD: group management of the host's own interface. It tells us that
 * groups were joined or left, and is nobody else's business: members tell each other what they joined.
 */
export function isGroupManagement(
  bytes: Uint8Array,
  offset: number,
  length: number,
  family: number,
): boolean {
  if (family === 4) return bytes[offset + 9] === PROTOCOL_IGMP;
  // MLD always carries the router alert option, so that a hop-by-hop header stands before it.
  if (bytes[offset + 6] !== PROTOCOL_HOP_BY_HOP || length < 48) return false;
  const after = 40 + 8 * (bytes[offset + 41]! + 1);
  if (bytes[offset + 40] !== PROTOCOL_ICMPV6 || after >= length) return false;
  return MLD_TYPES.includes(bytes[offset + after]!);
}
