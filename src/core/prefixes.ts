import { addressBytes, formatAddress, isMapped } from '#wire/endpoint.ts';

/** An address (or /64) and the neighbourhood around it (/24, /48). */
export interface Prefixes {
  readonly narrow: string;
  readonly wide: string;
}

/**
 * What limits count by: one IPv4 address, or an IPv6 /64, which is what one subscriber has; and the wider neighbourhood
 * (/24, /48) that somebody with many addresses sits in.
 */
export function prefixesOf(address: string): Prefixes {
  const plain = withoutZone(address);
  const bytes = canonicalBytes(plain);
  if (bytes === undefined) return { narrow: plain, wide: plain };
  if (bytes.length === 4) {
    return { narrow: formatAddress(bytes), wide: `${formatAddress(masked(bytes, 3))}/24` };
  }
  return {
    narrow: `${formatAddress(masked(bytes, 8))}/64`,
    wide: `${formatAddress(masked(bytes, 6))}/48`,
  };
}

/** Canonical text as sockets report it: no zone, IPv4-mapped addresses as IPv4. */
export function canonicalAddress(address: string): string {
  const plain = withoutZone(address);
  const bytes = canonicalBytes(plain);
  return bytes === undefined ? plain : formatAddress(bytes);
}

const withoutZone = (address: string): string => address.split('%', 1)[0]!;

function canonicalBytes(plain: string): Uint8Array | undefined {
  const bytes = addressBytes(plain);
  return bytes?.length === 16 && isMapped(bytes) ? bytes.subarray(12) : bytes;
}

function masked(bytes: Uint8Array, keepBytes: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  out.set(bytes.subarray(0, keepBytes));
  return out;
}
