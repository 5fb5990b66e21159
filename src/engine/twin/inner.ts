import { readInnerHeader } from '#wire/inner.ts';
import { FAMILY_FRAME, FAMILY_MESSAGE } from '../layout.ts';
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

/** What the header of a payload that is not IP says (`src/wire/inner.ts`), checked against the bytes that are there. */
export interface Wrapped {
  readonly family: typeof FAMILY_FRAME | typeof FAMILY_MESSAGE;
  /** Of the payload, which starts behind the header. */
  readonly length: number;
  readonly protocol: 0;
  readonly fragment: false;
  readonly headerLength: 0;
}

export function parseWrapped(bytes: Uint8Array): Wrapped | undefined {
  const header = readInnerHeader(bytes);
  if (header === undefined) return undefined;
  const family = header.kind === 'frame' ? FAMILY_FRAME : FAMILY_MESSAGE;
  return { family, length: header.length, protocol: 0, fragment: false, headerLength: 0 };
}

/** The MACs of a frame as words: 4 bytes, then 2. */
export function macWords(frame: Uint8Array): { from: number[]; to: number[] } {
  const words = (at: number): number[] => [
    (get16(frame, at) << 16) | get16(frame, at + 2),
    get16(frame, at + 4),
    0,
    0,
  ];
  return { from: words(6), to: words(0) };
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
