const SLOTS = 8192;
/** Counters this far below the greatest seen are refused unseen, as WireGuard's window of 8,192 bits in words of 64 does. */
export const REPLAY_WINDOW = BigInt(SLOTS - 64);

/** Which counters were seen (RFC 6479 with the window that WireGuard uses). */
export class ReplayWindow {
  readonly #seen = new Uint8Array(SLOTS);
  /** One above the greatest counter seen. */
  #next = 0n;

  accepts(counter: bigint): boolean {
    if (counter >= this.#next) return true;
    if (this.#next - counter > REPLAY_WINDOW) return false;
    return this.#seen[Number(counter % BigInt(SLOTS))] === 0;
  }

  mark(counter: bigint): void {
    if (counter >= this.#next) {
      if (counter - this.#next >= BigInt(SLOTS)) this.#seen.fill(0);
      else for (let c = this.#next; c <= counter; c++) this.#seen[Number(c % BigInt(SLOTS))] = 0;
      this.#next = counter + 1n;
    }
    this.#seen[Number(counter % BigInt(SLOTS))] = 1;
  }
}
