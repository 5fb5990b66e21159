/**
 * Which requests of a client have been served: none counts twice. A repeat of the same one, which a client sends when the answer was lost,
 * is told apart from a new one; what is older than the newest by more than `reorderMs` is a replay.
 */
import { hex } from '#core/bytes.ts';
import { maxRemembered, reorderMs } from './limits.ts';

export type Verdict = 'new' | 'repeat' | 'replayed';

export class Requests {
  #newest = Number.NEGATIVE_INFINITY;
  /** Transaction to time, oldest first. */
  readonly #seen = new Map<string, number>();

  judge(transaction: Uint8Array, time: number): Verdict {
    if (this.#seen.has(hex(transaction))) return 'repeat';
    if (time < this.#newest - reorderMs) return 'replayed';
    return this.#fullFor(time) ? 'replayed' : 'new';
  }

  remember(transaction: Uint8Array, time: number): void {
    this.#newest = Math.max(this.#newest, time);
    for (const [key, at] of this.#seen) {
      if (at < this.#newest - reorderMs) this.#seen.delete(key);
    }
    this.#seen.set(hex(transaction), time);
  }

  #fullFor(time: number): boolean {
    if (this.#seen.size < maxRemembered) return false;
    const newest = Math.max(this.#newest, time);
    let recent = 0;
    for (const at of this.#seen.values()) if (at >= newest - reorderMs) recent++;
    return recent >= maxRemembered;
  }
}
