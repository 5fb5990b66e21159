import type { MonotonicMs } from '#core/time.ts';
import type { PathOutput } from './io.ts';

/**
 * What is said of a peer to those who doubt it: `peer-alive` and `peer-dead`, when it changes, and always in answer to a
 * liveness check.
 */
export class Aliveness {
  readonly #peer: number;
  readonly #emit: (output: PathOutput) => void;
  #alive = false;
  /** A check wants its answer by then. */
  #checkUntil: MonotonicMs | undefined;
  #heardAt: MonotonicMs | undefined;

  constructor(peer: number, emit: (output: PathOutput) => void) {
    this.#peer = peer;
    this.#emit = emit;
  }

  /** Last authenticated sign of the peer, by whatever way. */
  get heardAt(): MonotonicMs | undefined {
    return this.#heardAt;
  }

  check(until: MonotonicMs): void {
    this.#checkUntil = until;
  }

  heard(now: MonotonicMs): void {
    this.#heardAt = now;
    if (this.#checkUntil !== undefined) this.#say(true);
  }

  pathFound(): void {
    if (!this.#alive) this.#say(true);
  }

  pathLost(): void {
    this.#say(false);
  }

  wake(now: MonotonicMs): void {
    if (this.#checkUntil !== undefined && this.#checkUntil <= now) this.#say(false);
  }

  deadline(): MonotonicMs | undefined {
    return this.#checkUntil;
  }

  #say(alive: boolean): void {
    this.#alive = alive;
    this.#checkUntil = undefined;
    this.#emit({ type: alive ? 'peer-alive' : 'peer-dead', peer: this.#peer });
  }
}
