import type { MonotonicMs } from '#core/time.ts';

interface Entry {
  readonly at: MonotonicMs;
  readonly key: number;
  readonly order: number;
}

/** When each of many machines wants to be woken: a binary heap; an entry that was replaced is skipped when it surfaces. */
export class Deadlines {
  #heap: Entry[] = [];
  readonly #current = new Map<number, Entry>();
  #order = 0;

  /** Replaces the deadline of `key`; undefined takes it away. */
  set(key: number, at: MonotonicMs | undefined): void {
    const known = this.#current.get(key);
    if (at === undefined) {
      this.#current.delete(key);
      return;
    }
    if (known?.at === at) return;
    const entry = { at, key, order: this.#order++ };
    this.#current.set(key, entry);
    this.#push(entry);
    // Replaced entries never make up more than half of the heap.
    if (this.#heap.length > 64 + 2 * this.#current.size) this.#rebuild();
  }

  /** The earliest deadline. */
  get next(): MonotonicMs | undefined {
    this.#skipReplaced();
    return this.#heap[0]?.at;
  }

  /** Takes the earliest key whose deadline is at or before `now`; equal deadlines come in the order they were set. */
  takeDue(now: MonotonicMs): number | undefined {
    this.#skipReplaced();
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    this.#pop();
    this.#current.delete(first.key);
    return first.key;
  }

  #skipReplaced(): void {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (this.#current.get(first.key) === first) return;
      this.#pop();
    }
  }

  #rebuild(): void {
    this.#heap = [];
    for (const entry of this.#current.values()) this.#push(entry);
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (before(heap[parent]!, entry)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (before(last, heap[child]!)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

const before = (a: Entry, b: Entry) => a.at < b.at || (a.at === b.at && a.order < b.order);
