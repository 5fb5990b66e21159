import type { PathClient, PathWorld } from '../path-world.ts';

interface Sent {
  readonly number: number;
  readonly atMs: number;
}

/** Numbered packets from one client to another all the time, and what became of them. */
export class Stream {
  readonly from: PathClient;
  readonly to: PathClient;
  readonly #world: PathWorld;
  readonly #everyMs: () => number;
  #sent: Sent[] = [];

  constructor(world: PathWorld, from: PathClient, to: PathClient, everyMs: () => number) {
    this.#world = world;
    this.from = from;
    this.to = to;
    this.#everyMs = everyMs;
    this.#next();
  }

  /** Something that was sent at this moment or later has arrived. */
  hasPassedSince(sinceMs: number): boolean {
    const arrived = this.to.numbers.get(this.from.index);
    if (arrived === undefined) return false;
    for (let i = this.#sent.length - 1; i >= 0; i--) {
      const { atMs, number } = this.#sent[i]!;
      if (atMs < sinceMs) return false;
      if (arrived.has(number)) return true;
    }
    return false;
  }

  /** Packets of this span that never arrived. */
  lost(fromMs: number, untilMs: number): readonly Sent[] {
    const arrived = this.to.numbers.get(this.from.index);
    return this.#sent.filter(
      ({ atMs, number }) => atMs >= fromMs && atMs < untilMs && arrived?.has(number) !== true,
    );
  }

  forget(untilMs: number): void {
    this.#sent = this.#sent.filter(({ atMs }) => atMs >= untilMs);
  }

  #next(): void {
    const { clock } = this.#world;
    if (!this.from.isAsleep && this.from.sendData(this.to)) {
      this.#sent.push({ number: this.from.lastNumber, atMs: clock.monotonic });
    }
    clock.in(this.#everyMs(), () => this.#next());
  }
}
