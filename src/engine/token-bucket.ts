/** A rate cap: `perSecond` on average, `burst` at once. Starts full. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs = -Infinity;

  constructor({ perSecond, burst }: Rate) {
    this.#perMs = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Takes so many tokens if they are there. More than the burst are taken when it is full, and owed: else they would never be. */
  take(tokens: number, nowMs: number): boolean {
    const elapsedMs = nowMs - this.#atMs;
    if (elapsedMs > 0) {
      this.#atMs = nowMs;
      this.#tokens = Math.min(this.#burst, this.#tokens + elapsedMs * this.#perMs);
    }
    if (this.#tokens < Math.min(tokens, this.#burst)) return false;
    this.#tokens -= tokens;
    return true;
  }
}

export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** A bucket for each peer that ever needed one, until it is removed. */
export class PeerBuckets {
  readonly #rate: Rate;
  readonly #buckets = new Map<number, TokenBucket>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  take(peer: number, tokens: number, nowMs: number): boolean {
    let bucket = this.#buckets.get(peer);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#rate);
      this.#buckets.set(peer, bucket);
    }
    return bucket.take(tokens, nowMs);
  }

  remove(peer: number): void {
    this.#buckets.delete(peer);
  }
}
