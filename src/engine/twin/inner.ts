import { get16 } from './checksum.ts';

export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
const PROTOCOL_IPV6_FRAGMENT = 44;

/** What the IP header of an inner packet says, checked against the bytes that are there. */
export interface Inner {
  readonly family: 4 | 6;
  /** Of the whole packet; what follows is padding. */
  readonly length: number;
  readonly headerLength: number;
  readonly protocol: number;
  readonly fragment: boolean;
}

/** Undefined when the bytes do not hold one whole IP packet. Extension headers of IPv6 count as unknown protocols. */
export function parseInner(bytes: Uint8Array): Inner | undefined {
  const inner = readHeader(bytes);
  return inner !== undefined && inner.length <= bytes.length ? inner : undefined;
}

function readHeader(bytes: Uint8Array): Inner | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4 && bytes.length >= 20) {
    const headerLength = (bytes[0]! & 15) * 4;
    const length = get16(bytes, 2);
    if (headerLength < 20 || length < headerLength) return undefined;
    const fragment = (get16(bytes, 6) & 0x3fff) !== 0;
    return { family: 4, length, headerLength, protocol: bytes[9]!, fragment };
  }
  if (version === 6 && bytes.length >= 40) {
    const protocol = bytes[6]!;
    const fragment = protocol === PROTOCOL_IPV6_FRAGMENT;
    return { family: 6, length: 40 + get16(bytes, 4), headerLength: 40, protocol, fragment };
  }
  return undefined;
}

/** Source and destination as words, most significant first; IPv4 has one word each. */
export function addressWords(packet: Uint8Array, family: 4 | 6): { from: number[]; to: number[] } {
  const [at, size] = family === 4 ? [12, 4] : [8, 16];
  const words = (start: number): number[] =>
    [0, 4, 8, 12].map((i) =>
      i < size ? (get16(packet, start + i) << 16) | get16(packet, start + i + 2) : 0,
    );
  return { from: words(at), to: words(at + size) };
}
