const wordBits = 32;
const windowWords = 256;
/** One word of slack is being cleared while the window moves (RFC 6479). */
export const replayWindowBits = (windowWords - 1) * wordBits;

/**
 * Sliding window over received counters (RFC 6479): 8,160 wide, a ring of words that is cleared word by word as it
 * moves on, without shifting. Call `isFresh` before and `mark` after the packet authenticated.
 */
export class ReplayWindow {
  readonly #ring = new Uint32Array(windowWords);
  #highest = -1;

  /** Whether the counter was not seen and is not too old to tell. */
  isFresh(counter: number): boolean {
    if (counter > this.#highest) return true;
    if (this.#highest - counter >= replayWindowBits) return false;
    return (this.#ring[ringIndex(counter)]! & bit(counter)) === 0;
  }

  /** Notes a counter that was fresh. */
  mark(counter: number): void {
    if (counter > this.#highest) {
      const from = this.#highest < 0 ? -1 : Math.floor(this.#highest / wordBits);
      const to = Math.floor(counter / wordBits);
      const steps = Math.min(to - from, windowWords);
      for (let i = 1; i <= steps; i++) this.#ring[(from + i + windowWords) % windowWords] = 0;
      this.#highest = counter;
    }
    this.#ring[ringIndex(counter)]! |= bit(counter);
  }
}

const ringIndex = (counter: number): number => Math.floor(counter / wordBits) % windowWords;
const bit = (counter: number): number => 1 << (counter % wordBits);
