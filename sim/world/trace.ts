import { createHash } from 'node:crypto';
import type { VirtualClock } from '../clock.ts';

/** Lines that a failure prints. */
const maximumRecent = 150;

/** Everything that happens, as one hash; and the last of it in words. */
export class Trace {
  readonly #clock: VirtualClock;
  readonly #hash = createHash('sha256');
  readonly #recent: string[] = [];
  /** Sees every line, for whoever watches a run. */
  onLine: ((line: string) => void) | undefined;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /** An event a person wants to read about. */
  note(text: string): void {
    const line = `${(this.#clock.monotonic / 1000).toFixed(3)} ${text}`;
    this.#hash.update(line);
    this.#recent.push(line);
    if (this.#recent.length > maximumRecent) this.#recent.shift();
    this.onLine?.(line);
  }

  /** One of the many: bytes on a link. They go into the hash only. */
  bytes(what: string, bytes: Uint8Array): void {
    this.#hash.update(`${this.#clock.monotonic} ${what}`).update(bytes);
  }

  get recent(): readonly string[] {
    return this.#recent;
  }

  /** Of everything so far. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }
}

/** An invariant that does not hold: a bug in the machines, or in this world. */
export class Violation extends Error {
  constructor(what: string) {
    super(what);
    this.name = 'Violation';
  }
}
