import { maxSeenTransactions } from './limits.ts';

/** The last transactions of a peer's requests, so that a copy has no effect. */
export class Seen {
  readonly #transactions = new Set<string>();

  /** False when it was there already. */
  add(transaction: string): boolean {
    if (this.#transactions.has(transaction)) return false;
    if (this.#transactions.size >= maxSeenTransactions) {
      const oldest = this.#transactions.values().next();
      if (oldest.done !== true) this.#transactions.delete(oldest.value);
    }
    this.#transactions.add(transaction);
    return true;
  }
}
