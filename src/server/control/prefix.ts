import type { Prefixes } from '#core/holdings.ts';
import { addressBytes, formatAddress } from '#wire/endpoint.ts';

/**
 * What limits count by: one IPv4 address, or an IPv6 /64, which is what one subscriber has; and the wider neighbourhood
 * (/24, /48) that somebody with many addresses sits in.
 */
export function prefixesOf(address: string): Prefixes {
  const plain = canonicalAddress(address);
  const bytes = addressBytes(plain);
  if (bytes === undefined) return { narrow: plain, wide: plain };
  if (bytes.length === 4) {
    return { narrow: plain, wide: `${formatAddress(masked(bytes, 3))}/24` };
  }
  return {
    narrow: `${formatAddress(masked(bytes, 8))}/64`,
    wide: `${formatAddress(masked(bytes, 6))}/48`,
  };
}

/** Canonical text as sockets report it: no zone, IPv4-mapped addresses as IPv4. */
export function canonicalAddress(address: string): string {
  const plain = address.replace(/%.*$/, '');
  const bytes = addressBytes(plain);
  return bytes === undefined ? plain : formatAddress(bytes);
}

function masked(bytes: Uint8Array, keepBytes: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  out.set(bytes.subarray(0, keepBytes));
  return out;
}
