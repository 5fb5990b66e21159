import { addressBytes, formatAddress } from '#wire/endpoint.ts';

/** A range of addresses: `address/length`. */
export interface Prefix {
  readonly bytes: Uint8Array;
  readonly lengthBits: number;
}

/** Undefined when it is none. A bare address is a prefix of its full length. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = '', lengthText, ...rest] = text.split('/');
  const bytes = addressBytes(address);
  if (bytes === undefined || rest.length > 0) return undefined;
  const fullBits = 8 * bytes.length;
  if (lengthText === undefined) return { bytes, lengthBits: fullBits };
  const lengthBits = Number(lengthText);
  if (!/^[0-9]{1,3}$/.test(lengthText) || lengthBits > fullBits) return undefined;
  return { bytes, lengthBits };
}

/** Whether they have an address in common: one contains the other. */
export function overlap(a: Prefix, b: Prefix): boolean {
  if (a.bytes.length !== b.bytes.length) return false;
  const sharedBits = Math.min(a.lengthBits, b.lengthBits);
  for (let bit = 0; bit < sharedBits; bit++) {
    const mask = 0x80 >> (bit % 8);
    const at = bit >> 3;
    if ((a.bytes[at]! & mask) !== (b.bytes[at]! & mask)) return false;
  }
  return true;
}

/** The directed broadcast address of an IPv4 prefix; none where it has no room for one (RFC 3021). */
export function broadcastsOf(text: string): string[] {
  const prefix = parsePrefix(text);
  if (prefix === undefined || prefix.bytes.length !== 4 || prefix.lengthBits > 30) return [];
  const bytes = prefix.bytes.map((byte, i) => {
    const hostBits = Math.min(8, Math.max(0, 8 * (i + 1) - prefix.lengthBits));
    return byte | ((1 << hostBits) - 1);
  });
  return [formatAddress(bytes)];
}
