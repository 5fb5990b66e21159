import { forgetOldest } from '../forget-oldest.ts';
import type { MonotonicMs } from '../time.ts';
import { TokenBucket } from './budget.ts';
import * as limits from './limits.ts';

/**
 * How many addresses a peer may teach us by sending from them, in all and of one IP address. A NAT that gives every destination another
 * port shows a new one with every answer, and each of these, probed, would show another one.
 */
export class Learning {
  readonly #all = new TokenBucket(limits.learntPerMinute / 60, limits.learntBurst);
  readonly #byAddress = new Map<string, TokenBucket>();

  take(address: string, now: MonotonicMs): boolean {
    const known = this.#byAddress.get(address);
    const bucket =
      known ?? new TokenBucket(limits.learntOfAddressPerMinute / 60, limits.learntOfAddressBurst);
    // Tokens of both, or of none.
    if (this.#all.waitMs(now) > 0 || bucket.waitMs(now) > 0) return false;
    this.#all.take(now);
    bucket.take(now);
    this.#byAddress.delete(address);
    this.#byAddress.set(address, bucket);
    forgetOldest(this.#byAddress, limits.maxPeerReflexive);
    return true;
  }
}
