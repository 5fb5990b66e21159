/** The Internet checksum (RFC 1071): ones' complement sum of big-endian 16-bit words, folded, without the final complement. */
export function onesSum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += (bytes[i]! << 8) | bytes[i + 1]!;
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1]! << 8;
  return fold(sum);
}

export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/** Sum of the pseudo-header of TCP or UDP (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export function pseudoHeaderSum(packet: Uint8Array, protocol: number, length: number): number {
  const addresses = packet[0]! >> 4 === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40);
  return onesSum(addresses, protocol + (length >>> 16) + (length & 0xffff));
}

/** Sets the header checksum of an IPv4 packet in place. */
export function setIpv4Checksum(packet: Uint8Array, headerLength: number): void {
  put16(packet, 10, 0);
  put16(packet, 10, ~onesSum(packet.subarray(0, headerLength)) & 0xffff);
}

export const get16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

export const get32 = (bytes: Uint8Array, at: number): number =>
  ((get16(bytes, at) << 16) | get16(bytes, at + 2)) >>> 0;

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}
