import { forgetOldest } from '../forget-oldest.ts';
import { maxSeenTransactions } from './limits.ts';

/** The last transactions of a peer's requests, so that a copy has no effect. */
export class Seen {
  readonly #transactions = new Set<string>();

  /** False when it was there already. */
  add(transaction: string): boolean {
    if (this.#transactions.has(transaction)) return false;
    this.#transactions.add(transaction);
    forgetOldest(this.#transactions, maxSeenTransactions);
    return true;
  }
}
