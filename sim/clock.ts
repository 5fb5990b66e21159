import { type MonotonicMs, monotonicMs, type Now, wallMs } from '#core/time.ts';

/** An event that was scheduled; `cancel` it before it ran. */
export interface Scheduled {
  readonly at: MonotonicMs;
  cancel(): void;
}

interface Entry extends Scheduled {
  readonly order: number;
  run: (() => void) | undefined;
}

/**
 * Virtual time and its events. Events of the same moment run in the order in which they were scheduled, so a run is a
 * function of its inputs alone.
 */
export class VirtualClock {
  #monotonic: number;
  #wallOffset: number;
  #order = 0;
  readonly #heap: Entry[] = [];

  /** @param wallAtStart the wall clock at monotonic time `start`; 2026-01-01T00:00Z by default. */
  constructor(start = 1_000_000, wallAtStart = 1_767_225_600_000) {
    this.#monotonic = start;
    this.#wallOffset = wallAtStart - start;
  }

  get now(): Now {
    return {
      monotonic: monotonicMs(this.#monotonic),
      wall: wallMs(this.#monotonic + this.#wallOffset),
    };
  }

  get monotonic(): MonotonicMs {
    return monotonicMs(this.#monotonic);
  }

  /** Somebody sets the wall clock; monotonic time does not notice. */
  stepWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** At a moment; one in the past runs next. */
  at(when: number, run: () => void): Scheduled {
    const at = monotonicMs(Math.max(when, this.#monotonic));
    const entry: Entry = {
      at,
      order: this.#order++,
      run,
      cancel: () => {
        entry.run = undefined;
      },
    };
    this.#push(entry);
    return entry;
  }

  in(delayMs: number, run: () => void): Scheduled {
    return this.at(this.#monotonic + delayMs, run);
  }

  /** When the next event runs. */
  get next(): MonotonicMs | undefined {
    while (this.#heap.length > 0 && this.#heap[0]!.run === undefined) this.#pop();
    return this.#heap[0]?.at;
  }

  /** Runs the next event and moves time to it; false when there is none. */
  step(): boolean {
    if (this.next === undefined) return false;
    const entry = this.#pop();
    this.#monotonic = entry.at;
    const run = entry.run!;
    entry.run = undefined;
    run();
    return true;
  }

  /** Runs what is due in the next `durationMs`, then stands at its end. Throws past `maximumEvents`. */
  run(durationMs: number, maximumEvents = 10_000_000): void {
    this.runUntil(this.#monotonic + durationMs, maximumEvents);
  }

  runUntil(end: number, maximumEvents = 10_000_000): void {
    let events = 0;
    while ((this.next ?? Number.POSITIVE_INFINITY) <= end) {
      if (++events > maximumEvents) throw new Error(`more than ${maximumEvents} events`);
      this.step();
    }
    this.#monotonic = Math.max(this.#monotonic, end);
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    heap.push(entry);
    let i = heap.length - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (isBefore(heap[parent]!, entry)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): Entry {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (isBefore(last, heap[child]!)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => (a.at !== b.at ? a.at < b.at : a.order < b.order);
