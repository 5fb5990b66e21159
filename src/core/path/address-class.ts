import { addressBytes } from '#wire/endpoint.ts';

/** What an address is good for as a candidate (IANA special-purpose registries, RFC 6890). */
export type AddressClass =
  /** Reachable from anywhere, if nothing filters. */
  | 'public'
  /** RFC 1918, RFC 6598 shared space, unique local IPv6. */
  | 'private'
  /** Never a peer's: unspecified, loopback, link-local, multicast, broadcast, documentation of nothing. */
  | 'unusable';

export function classOf(address: string): AddressClass {
  const bytes = addressBytes(address);
  if (bytes === undefined) return 'unusable';
  return bytes.length === 4 ? class4(bytes) : class6(bytes);
}

function class4(bytes: Uint8Array): AddressClass {
  const [a, b] = [bytes[0]!, bytes[1]!];
  if (a === 0 || a === 127 || a >= 224) return 'unusable';
  if (a === 169 && b === 254) return 'unusable';
  if (a === 10 || (a === 172 && (b & 0xf0) === 16) || (a === 192 && b === 168)) return 'private';
  if (a === 100 && (b & 0xc0) === 64) return 'private';
  return 'public';
}

function class6(bytes: Uint8Array): AddressClass {
  const first = bytes[0]!;
  // Link-local needs a zone, which a signalled endpoint cannot carry.
  if (first === 0xff || (first === 0xfe && (bytes[1]! & 0x80) !== 0)) return 'unusable';
  // ::/8 holds the unspecified address, loopback, IPv4-mapped and the reserved rest.
  if (first === 0) return 'unusable';
  if ((first & 0xfe) === 0xfc) return 'private';
  return 'public';
}

/** An address prefix, parsed once. */
export interface Prefix {
  readonly bytes: Uint8Array;
  readonly lengthBits: number;
}

/** `address/length`; undefined when it is not one. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = '', length = ''] = text.split('/');
  const bytes = addressBytes(address);
  const lengthBits = /^[0-9]{1,3}$/.test(length) ? Number(length) : Number.NaN;
  if (bytes === undefined || !(lengthBits <= bytes.length * 8)) return undefined;
  return { bytes, lengthBits };
}

export function inPrefix(address: string, prefix: Prefix): boolean {
  const bytes = addressBytes(address);
  if (bytes === undefined || bytes.length !== prefix.bytes.length) return false;
  for (let bit = 0; bit < prefix.lengthBits; bit += 8) {
    const unused = Math.max(0, 8 - (prefix.lengthBits - bit));
    const i = bit >> 3;
    if (bytes[i]! >> unused !== prefix.bytes[i]! >> unused) return false;
  }
  return true;
}

/** Addresses inside the virtual LAN by default: a path through our own tunnel would be a loop. */
export const virtualPrefixes: readonly string[] = ['100.64.0.0/10', 'fd62:7572:6900::/96'];
