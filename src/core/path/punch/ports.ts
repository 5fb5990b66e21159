/** Public ports of a NAT that an attempt is about. */

/** `first`, `first + step`, … `count` of them; those outside 1 to 65,535 are none. */
export interface PortWindow {
  readonly first: number;
  readonly count: number;
  readonly step: number;
}

/** What a NAT that allocates at random draws from: everything that is not reserved. */
export const dynamicPorts: PortWindow = { first: 1024, count: 64_512, step: 1 };

export const portAt = ({ first, step }: PortWindow, index: number): number | undefined => {
  const port = first + index * step;
  return Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : undefined;
};

/** Gives each port of a window once: in order, or in an order that nobody can tell in advance. */
export class PortPicker {
  readonly #window: PortWindow;
  readonly #random: ((below: number) => number) | undefined;
  /** Indices that a Fisher–Yates shuffle has moved. */
  readonly #moved = new Map<number, number>();
  #taken = 0;

  /** @param random a number from 0 to below the one given; in order without it. */
  constructor(window: PortWindow, random?: (below: number) => number) {
    this.#window = window;
    this.#random = random;
  }

  next(): number | undefined {
    while (this.#taken < this.#window.count) {
      const port = portAt(this.#window, this.#nextIndex());
      if (port !== undefined) return port;
    }
    return undefined;
  }

  #nextIndex(): number {
    const at = this.#taken;
    this.#taken += 1;
    if (this.#random === undefined) return at;
    const other = at + this.#random(this.#window.count - at);
    const index = this.#moved.get(other) ?? other;
    this.#moved.set(other, this.#moved.get(at) ?? at);
    this.#moved.delete(at);
    return index;
  }
}
