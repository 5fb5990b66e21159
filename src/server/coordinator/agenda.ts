import type { MonotonicMs } from '#core/time.ts';

/** What is due when: at most one time a key; setting it again replaces it. A binary heap with lazy removal. */
export class Agenda<Key> {
  readonly #due = new Map<Key, MonotonicMs>();
  readonly #heap: { at: MonotonicMs; key: Key }[] = [];

  set(key: Key, at: MonotonicMs): void {
    if (this.#due.get(key) === at) return;
    this.#due.set(key, at);
    this.#heap.push({ at, key });
    this.#up(this.#heap.length - 1);
    if (this.#heap.length > 64 && this.#heap.length > 4 * this.#due.size) this.#rebuild();
  }

  has(key: Key): boolean {
    return this.#due.has(key);
  }

  cancel(key: Key): void {
    this.#due.delete(key);
  }

  next(): MonotonicMs | undefined {
    this.#skipStale();
    return this.#heap[0]?.at;
  }

  /** Removes and returns the first key that is due at `now`. */
  takeDue(now: MonotonicMs): Key | undefined {
    this.#skipStale();
    const first = this.#heap[0];
    if (first === undefined || first.at > now) return undefined;
    this.#pop();
    this.#due.delete(first.key);
    return first.key;
  }

  #skipStale(): void {
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      if (this.#due.get(first.key) === first.at) return;
      this.#pop();
    }
  }

  #rebuild(): void {
    this.#heap.length = 0;
    for (const [key, at] of this.#due) this.#heap.push({ at, key });
    this.#heap.sort((a, b) => a.at - b.at);
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < this.#heap.length && this.#heap[child]!.at < this.#heap[least]!.at)
          least = child;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #up(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (this.#heap[parent]!.at <= this.#heap[at]!.at) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #swap(a: number, b: number): void {
    const kept = this.#heap[a]!;
    this.#heap[a] = this.#heap[b]!;
    this.#heap[b] = kept;
  }
}
