import type { Prefixes } from './prefixes.ts';

/** How many of something each key has, up to a bound. */
export class Holdings {
  readonly #most: number;
  readonly #counts = new Map<string, number>();

  constructor(most: number) {
    this.#most = most;
  }

  hasRoom(key: string): boolean {
    return (this.#counts.get(key) ?? 0) < this.#most;
  }

  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  remove(key: string): void {
    const left = (this.#counts.get(key) ?? 0) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }
}

/** How many of something each address has, and each neighbourhood: who has many addresses gains little. */
export class PrefixHoldings {
  readonly #narrow: Holdings;
  readonly #wide: Holdings;

  constructor(mostNarrow: number, mostWide: number) {
    this.#narrow = new Holdings(mostNarrow);
    this.#wide = new Holdings(mostWide);
  }

  hasRoom({ narrow, wide }: Prefixes): boolean {
    return this.#narrow.hasRoom(narrow) && this.#wide.hasRoom(wide);
  }

  add({ narrow, wide }: Prefixes): void {
    this.#narrow.add(narrow);
    this.#wide.add(wide);
  }

  remove({ narrow, wide }: Prefixes): void {
    this.#narrow.remove(narrow);
    this.#wide.remove(wide);
  }
}
