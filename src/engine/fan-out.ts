import { FLAG_ANY_SIZE, ITEM_FLAGS, ITEM_WORDS, MAX_ITEMS } from './layout.ts';

const NOBODY: readonly number[] = [];

/**
 * Packets of a batch that go to more than one peer: their rows, kept while the rest of the batch is sealed, and to whom they go.
 * The packets stay where they are, in the outbound buffer.
 */
export class FanOut {
  readonly rows = new Int32Array(MAX_ITEMS * ITEM_WORDS);
  readonly #first: (readonly number[])[] = new Array(MAX_ITEMS).fill(NOBODY);
  readonly #second: (readonly number[])[] = new Array(MAX_ITEMS).fill(NOBODY);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Keeps a row of an ITEM table for all peers of the lists, which have none in common. At most a batch fits in. */
  add(
    table: Int32Array,
    row: number,
    peers: readonly number[],
    morePeers: readonly number[] = NOBODY,
  ): void {
    const at = this.#count++;
    const to = at * ITEM_WORDS;
    for (let i = 0; i < ITEM_WORDS; i++) this.rows[to + i] = table[row + i]!;
    // Nobody is told of one member's path that narrows what is for all: the outside fragments what is too big for it.
    this.rows[to + ITEM_FLAGS]! |= FLAG_ANY_SIZE;
    this.#first[at] = peers;
    this.#second[at] = morePeers;
  }

  peersOf(index: number): number {
    return this.#first[index]!.length + this.#second[index]!.length;
  }

  peer(index: number, i: number): number {
    const first = this.#first[index]!;
    return i < first.length ? first[i]! : this.#second[index]![i - first.length]!;
  }

  /** Whether two rows go to the same peers. */
  isAlike(a: number, b: number): boolean {
    return this.#first[a] === this.#first[b] && this.#second[a] === this.#second[b];
  }

  clear(): void {
    this.#count = 0;
  }
}
