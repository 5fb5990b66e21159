import { forgetOldest } from '#core/forget-oldest.ts';
import type { Path } from '#core/path/path.ts';
import type { MonotonicMs } from '#core/time.ts';
import { addressBytes } from '#wire/endpoint.ts';

/** Handshake messages in a second, beyond which senders must show a cookie. Each costs about 0.3 ms of CPU. */
export const handshakesPerSecond = 200;
/** How long a burst counts as load. */
const loadMs = 1000;

const messagesPerSecond = 20;
const burstMessages = 5;
const maximumSources = 4096;

/** What cookies and limits take a source for: its address and port, and the relay header it came under. */
export function sourceBytes({ remote, prefix }: Path): Uint8Array {
  const address = addressBytes(remote.address) ?? new Uint8Array(0);
  const bytes = new Uint8Array(address.length + 2 + (prefix?.length ?? 0));
  bytes.set(address);
  bytes[address.length] = remote.port >> 8;
  bytes[address.length + 1] = remote.port & 0xff;
  if (prefix !== undefined) bytes.set(prefix, address.length + 2);
  return bytes;
}

/** Whether more handshake messages come than can be served: counted in windows of a second. */
export class LoadMeter {
  readonly #limit: number;
  #windowStart = Number.NEGATIVE_INFINITY;
  #count = 0;
  #loadedUntil = Number.NEGATIVE_INFINITY;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Counts one message and tells whether it came under load. */
  count(now: MonotonicMs): boolean {
    if (now - this.#windowStart >= 1000) {
      this.#windowStart = now;
      this.#count = 0;
    }
    if (++this.#count > this.#limit) this.#loadedUntil = now + loadMs;
    return now < this.#loadedUntil;
  }
}

/**
 * Token buckets of sources that proved their address, 20 messages a second and a burst of 5: one for each IPv4 address
 * or IPv6 /64 (and relay header). At most 4,096 are kept; beyond that the oldest is forgotten.
 */
export class SourceLimiter {
  readonly #buckets = new Map<string, { tokens: number; at: MonotonicMs }>();

  allow(path: Path, now: MonotonicMs): boolean {
    const key = sourceKey(path);
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      this.#buckets.set(key, { tokens: burstMessages - 1, at: now });
      forgetOldest(this.#buckets, maximumSources);
      return true;
    }
    const earned = ((now - bucket.at) * messagesPerSecond) / 1000;
    bucket.tokens = Math.min(burstMessages, bucket.tokens + earned);
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  get size(): number {
    return this.#buckets.size;
  }
}

function sourceKey({ remote, prefix }: Path): string {
  const address = addressBytes(remote.address) ?? new Uint8Array(0);
  const host = address.length === 16 ? address.subarray(0, 8) : address;
  return `${host.join('.')}/${prefix?.join('.') ?? ''}`;
}
