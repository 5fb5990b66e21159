/** Makes inner packets for tests: well-formed ones with all checksums right, and ways to spoil them. */
import {
  get16,
  onesSum,
  pseudoHeaderSum,
  put16,
  put32,
  setIpv4Checksum,
} from '#engine/twin/checksum.ts';
import { addressBytes } from '#wire/endpoint.ts';

export interface PacketShape {
  readonly family: 4 | 6;
  readonly from?: string;
  readonly to?: string;
  readonly fromPort?: number;
  readonly toPort?: number;
  readonly payload: Uint8Array;
  /** TOS or traffic class. */
  readonly tos?: number;
  readonly ttl?: number;
  readonly id?: number;
  /** Flags and fragment offset of IPv4; 0x4000 is 'do not fragment'. */
  readonly fragmentBits?: number;
}

export interface TcpShape extends PacketShape {
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
}

export const FIN = 1;
export const SYN = 2;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
export const ECE = 64;
export const CWR = 128;

export function tcpPacket(shape: TcpShape): Uint8Array {
  const options = shape.options ?? new Uint8Array(0);
  const l4 = new Uint8Array(20 + options.length + shape.payload.length);
  put16(l4, 0, shape.fromPort ?? 40_000);
  put16(l4, 2, shape.toPort ?? 443);
  put32(l4, 4, shape.sequence ?? 1);
  put32(l4, 8, shape.acknowledgement ?? 1);
  l4[12] = ((20 + options.length) / 4) << 4;
  l4[13] = shape.flags ?? ACK;
  put16(l4, 14, shape.window ?? 501);
  l4.set(options, 20);
  l4.set(shape.payload, 20 + options.length);
  return withChecksum(ipPacket(shape, 6, l4), 6, 16);
}

export function udpPacket(
  shape: PacketShape,
  options: { zeroChecksum?: boolean } = {},
): Uint8Array {
  const l4 = new Uint8Array(8 + shape.payload.length);
  put16(l4, 0, shape.fromPort ?? 40_000);
  put16(l4, 2, shape.toPort ?? 53);
  put16(l4, 4, l4.length);
  l4.set(shape.payload, 8);
  const packet = ipPacket(shape, 17, l4);
  return options.zeroChecksum === true ? packet : withChecksum(packet, 17, 6);
}

export function icmpPacket(shape: PacketShape): Uint8Array {
  const l4 = new Uint8Array(8 + shape.payload.length);
  l4[0] = shape.family === 4 ? 8 : 128;
  l4.set(shape.payload, 8);
  return ipPacket(shape, shape.family === 4 ? 1 : 58, l4);
}

export function ipPacket(shape: PacketShape, protocol: number, l4: Uint8Array): Uint8Array {
  const from = addressBytes(shape.from ?? (shape.family === 4 ? '10.9.0.1' : 'fd00:9::1'))!;
  const to = addressBytes(shape.to ?? (shape.family === 4 ? '10.9.0.2' : 'fd00:9::2'))!;
  if (shape.family === 6) {
    const packet = new Uint8Array(40 + l4.length);
    put32(packet, 0, 0x60000000 | ((shape.tos ?? 0) << 20));
    put16(packet, 4, l4.length);
    packet[6] = protocol;
    packet[7] = shape.ttl ?? 64;
    packet.set(from, 8);
    packet.set(to, 24);
    packet.set(l4, 40);
    return packet;
  }
  const packet = new Uint8Array(20 + l4.length);
  packet[0] = 0x45;
  packet[1] = shape.tos ?? 0;
  put16(packet, 2, packet.length);
  put16(packet, 4, shape.id ?? 0);
  put16(packet, 6, shape.fragmentBits ?? 0x4000);
  packet[8] = shape.ttl ?? 64;
  packet[9] = protocol;
  packet.set(from, 12);
  packet.set(to, 16);
  setIpv4Checksum(packet, 20);
  packet.set(l4, 20);
  return packet;
}

export const headerLengthOf = (packet: Uint8Array): number =>
  packet[0]! >> 4 === 4 ? (packet[0]! & 15) * 4 : 40;

function withChecksum(packet: Uint8Array, protocol: number, field: number): Uint8Array {
  const l4 = headerLengthOf(packet);
  put16(packet, l4 + field, 0);
  const pseudo = pseudoHeaderSum(packet, protocol, packet.length - l4);
  const sum = ~onesSum(packet.subarray(l4), pseudo) & 0xffff;
  put16(packet, l4 + field, sum === 0 && protocol === 17 ? 0xffff : sum);
  return packet;
}

/** Whether the checksum of a TCP or UDP packet, and of an IPv4 header, is right. */
export function hasGoodChecksums(packet: Uint8Array): boolean {
  const l4 = headerLengthOf(packet);
  const v4 = packet[0]! >> 4 === 4;
  if (v4 && onesSum(packet.subarray(0, l4)) !== 0xffff) return false;
  const protocol = v4 ? packet[9]! : packet[6]!;
  const pseudo = pseudoHeaderSum(packet, protocol, packet.length - l4);
  return onesSum(packet.subarray(l4), pseudo) === 0xffff;
}

/** Turns a whole packet into what a device with checksum offload delivers: the field holds the pseudo-header's sum. */
export function withPartialChecksum(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const l4 = headerLengthOf(copy);
  const protocol = copy[0]! >> 4 === 4 ? copy[9]! : copy[6]!;
  put16(copy, l4 + (protocol === 6 ? 16 : 6), pseudoHeaderSum(copy, protocol, copy.length - l4));
  return copy;
}

export const sequenceOf = (packet: Uint8Array): number => {
  const l4 = headerLengthOf(packet);
  return get16(packet, l4 + 4) * 65_536 + get16(packet, l4 + 6);
};

/** A repeatable source of numbers (mulberry32), so that a failing test names its seed. */
export function seededRandom(seed: number): {
  next(): number;
  below(n: number): number;
  bytes(n: number): Uint8Array;
} {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const below = (n: number): number => Math.floor(next() * n);
  const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => below(256));
  return { next, below, bytes };
}
