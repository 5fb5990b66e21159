/** Ethernet frames for tests, written down byte by byte and not with the code under test. */
import { addressBytes } from '#wire/endpoint.ts';
import { icmpPacket, ipPacket } from './packets.ts';

export const hex = (text: string): Uint8Array =>
  new Uint8Array(Buffer.from(text.replace(/[\s:]/g, ''), 'hex'));

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

/** The MAC of a member with this IPv4 address. */
export const memberMac = (ipv4: string): string =>
  `7a:79:${[...addressBytes(ipv4)!].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`;

export function frame(
  to: string,
  from: string,
  etherType: number | string,
  payload: Uint8Array,
): Uint8Array {
  const type = typeof etherType === 'string' ? etherType : etherType.toString(16).padStart(4, '0');
  return Uint8Array.from([...hex(to), ...hex(from), ...hex(type), ...payload]);
}

export interface ArpShape {
  readonly operation?: number;
  readonly senderMac: string;
  readonly senderIp: string;
  readonly targetMac?: string;
  readonly targetIp: string;
}

export const arp = (shape: ArpShape): Uint8Array =>
  Uint8Array.from([
    ...hex('0001 0800 06 04'),
    ...[0, shape.operation ?? 1],
    ...hex(shape.senderMac),
    ...addressBytes(shape.senderIp)!,
    ...hex(shape.targetMac ?? '00:00:00:00:00:00'),
    ...addressBytes(shape.targetIp)!,
  ]);

export interface DiscoveryShape {
  readonly type: number;
  readonly from: string;
  readonly to: string;
  readonly target: string;
  /** The option that tells a MAC. */
  readonly mac?: string;
  /** A header between IPv6 and ICMPv6: hop-by-hop options of 8 bytes. */
  readonly hopByHop?: boolean;
}

/** A message of neighbour discovery, without checksum: nothing under test looks at it. */
export function discovery({ type, from, to, target, mac, hopByHop }: DiscoveryShape): Uint8Array {
  const message = [type, 0, 0, 0, 0, 0, 0, 0, ...addressBytes(target)!];
  if (mac !== undefined) message.push(type === 135 ? 1 : 2, 1, ...hex(mac));
  const extension = hopByHop === true ? [58, 0, 1, 4, 0, 0, 0, 0] : [];
  const l4 = Uint8Array.from([...extension, ...message]);
  const protocol = hopByHop === true ? 0 : 58;
  return ipPacket({ family: 6, from, to, ttl: 255, payload: l4 }, protocol, l4);
}

/** Some IP packet between two addresses. */
export const ipBetween = (from: string, to: string): Uint8Array =>
  icmpPacket({ family: from.includes(':') ? 6 : 4, from, to, payload: new Uint8Array(8) });

/** The four framings of IPX: Ethernet II, 802.3 raw, 802.2 LLC, SNAP. */
export function ipxFrames(
  to: string,
  from: string,
  payload: Uint8Array,
): Record<string, Uint8Array> {
  const ipx = Uint8Array.from([...hex('ffff 001e 00 04'), ...new Uint8Array(24), ...payload]);
  const length = (extra: number): number => ipx.length + extra;
  const llc = Uint8Array.from([...hex('e0 e0 03'), ...ipx]);
  const snap = Uint8Array.from([...hex('aa aa 03 00 00 00 81 37'), ...ipx]);
  return {
    'Ethernet II': frame(to, from, 0x8137, ipx),
    '802.3 raw': frame(to, from, length(0), ipx),
    '802.2 LLC': frame(to, from, length(3), llc),
    SNAP: frame(to, from, length(8), snap),
  };
}
