/**
 * TAI64N timestamps (https://cr.yp.to/libtai/tai64.html), 12 bytes, big-endian, so that they compare bytewise:
 *
 *   0  8  seconds: 2^62 + 10 + Unix seconds
 *   8  4  nanoseconds, below 10^9
 */
export const tai64nLengthBytes = 12;

const secondsBase = 2n ** 62n + 10n;
const nanosecondsPerSecond = 1_000_000_000;
/** WireGuard rounds down to 2^24 ns, so that handshakes do not tell the exact clock. */
const whiteningMask = ~((1 << 24) - 1);

/** The timestamp of a wall clock in milliseconds since 1970, rounded down to 16.8 ms. */
export function encodeTai64n(wallMs: number): Uint8Array {
  const ms = Math.max(0, Math.floor(wallMs));
  return pack(BigInt(Math.floor(ms / 1000)), ((ms % 1000) * 1_000_000) & whiteningMask);
}

/** The timestamp that is `nanoseconds` later; 0 to 2^53. */
export function addNanoseconds(timestamp: Uint8Array, nanoseconds: number): Uint8Array {
  const { seconds, nanos } = unpack(timestamp);
  const total = BigInt(nanos) + BigInt(nanoseconds);
  const carry = total / BigInt(nanosecondsPerSecond);
  return pack(seconds + carry, Number(total % BigInt(nanosecondsPerSecond)));
}

/** Negative when a is earlier, 0 when equal, positive when later. */
export function compareTai64n(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < tai64nLengthBytes; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

function pack(unixSeconds: bigint, nanos: number): Uint8Array {
  const bytes = new Uint8Array(tai64nLengthBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, secondsBase + unixSeconds);
  view.setUint32(8, nanos);
  return bytes;
}

function unpack(bytes: Uint8Array): { seconds: bigint; nanos: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { seconds: view.getBigUint64(0) - secondsBase, nanos: view.getUint32(8) };
}
