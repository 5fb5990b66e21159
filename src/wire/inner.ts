/**
 * The inner header: what stands before a payload of a transport packet that is not IP, between members only. An IP packet
 * needs none: its first nibble is 4 or 6.
 *
 *     0           1     2        4
 *     kind << 4   0     length   payload ...
 *
 * kind 1: an Ethernet frame, from its destination MAC on, without FCS; at least 14 bytes. Kind 2: a message between the members'
 * programs (`lan.ts`). `length`: bytes of the payload, big-endian, at least 1; what follows it is the padding of WireGuard's
 * plaintext. Everything else is no packet, and dropped.
 */
export const INNER_HEADER_BYTES = 4;

export type InnerKind = 'frame' | 'message';

export interface InnerHeader {
  readonly kind: InnerKind;
  /** Of the payload. */
  readonly length: number;
}

/** The longest message that is sent or taken: with all headers 1,296 bytes over IPv6, so that nearly no path has to fragment it. */
export const MAX_MESSAGE_BYTES = 1200;

const LEAST_FRAME_BYTES = 14;
const KIND_NUMBERS = { frame: 1, message: 2 } as const;

/** Writes the header in front of `length` bytes of payload; `at` is where the header goes. */
export function writeInnerHeader(
  bytes: Uint8Array,
  at: number,
  { kind, length }: InnerHeader,
): void {
  bytes[at] = KIND_NUMBERS[kind] << 4;
  bytes[at + 1] = 0;
  bytes[at + 2] = length >> 8;
  bytes[at + 3] = length;
}

/** Undefined when the bytes do not start with such a header, or the payload is not all there. */
export function readInnerHeader(bytes: Uint8Array): InnerHeader | undefined {
  const [first, second, high, low] = bytes;
  if (low === undefined || second !== 0) return undefined;
  const kind = first === 0x10 ? 'frame' : first === 0x20 ? 'message' : undefined;
  const length = (high! << 8) | low;
  const least = kind === 'frame' ? LEAST_FRAME_BYTES : 1;
  if (kind === undefined || length < least || INNER_HEADER_BYTES + length > bytes.length) {
    return undefined;
  }
  return { kind, length };
}
