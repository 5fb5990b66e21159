/** How many packets a side sends in a second at most, from samples of a counter. */

/** Fewer samples a second say little, more cost the machine that measures. */
const sampleMs = 240;
const spanMs = 1000;

interface Sample {
  /** The counter was read between these. */
  readonly startMs: number;
  readonly endMs: number;
  readonly count: number;
}

/** What two samples differ by, from the beginning of one to the end of the other at most a second, was sent within a second: the peak is this or more. */
export class RateMeter {
  readonly #read: () => Promise<number>;
  readonly #samples: Sample[] = [];
  peak = 0;

  /** @param read the packets until now */
  constructor(read: () => Promise<number>) {
    this.#read = read;
  }

  /** Takes a sample, if it is time for one. @param now gives the time in ms */
  async sample(now: () => number): Promise<void> {
    const last = this.#samples.at(-1);
    if (last !== undefined && now() - last.startMs < sampleMs) return;
    const startMs = now();
    const count = await this.#read();
    this.#add({ startMs, endMs: now(), count });
  }

  #add(sample: Sample): void {
    this.#samples.push(sample);
    while (this.#samples.length > 1 && sample.endMs - this.#samples[0]!.startMs > spanMs) {
      this.#samples.shift();
    }
    this.peak = Math.max(this.peak, sample.count - this.#samples[0]!.count);
  }
}
