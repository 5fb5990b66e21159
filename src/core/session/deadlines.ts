import type { MonotonicMs } from '#core/time.ts';

/**
 * The earliest deadline of many, each with an integer key. A heap with stale entries: changing a deadline pushes another
 * entry, and the old one is dropped when it comes up or when they are too many.
 */
export class Deadlines {
  readonly #current = new Map<number, MonotonicMs>();
  #heap: { readonly at: MonotonicMs; readonly key: number }[] = [];

  set(key: number, at: MonotonicMs | undefined): void {
    if (this.#current.get(key) === at) return;
    if (at === undefined) {
      this.#current.delete(key);
      return;
    }
    this.#current.set(key, at);
    this.#push({ at, key });
    if (this.#heap.length > 64 + 4 * this.#current.size) this.#compact();
  }

  get next(): MonotonicMs | undefined {
    this.#dropStale();
    return this.#heap[0]?.at;
  }

  /** Takes out a key whose deadline is not after `now`. */
  takeDue(now: MonotonicMs): number | undefined {
    this.#dropStale();
    const top = this.#heap[0];
    if (top === undefined || top.at > now) return undefined;
    this.#pop();
    this.#current.delete(top.key);
    return top.key;
  }

  #dropStale(): void {
    while (this.#heap.length > 0) {
      const top = this.#heap[0]!;
      if (this.#current.get(top.key) === top.at) return;
      this.#pop();
    }
  }

  #compact(): void {
    this.#heap = [];
    for (const [key, at] of this.#current) this.#push({ at, key });
  }

  #push(entry: { readonly at: MonotonicMs; readonly key: number }): void {
    const heap = this.#heap;
    let i = heap.push(entry) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (heap[parent]!.at <= entry.at) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++;
      if (last.at <= heap[child]!.at) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}
