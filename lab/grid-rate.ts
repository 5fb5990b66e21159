/** How many packets a side sends in a second at most, from samples of a counter. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Fewer samples a second say little, more cost the machine that measures. */
const sampleMs = 240;
const spanMs = 1000;

interface Sample {
  /** The counter was read between these. */
  readonly startMs: number;
  readonly endMs: number;
  readonly count: number;
}

/**
 * What two samples differ by, from the beginning of one to the end of the other at most a second, was sent within a second: the peak is
 * this or more. Of two that are further apart it is their average or more.
 */
export class RateMeter {
  readonly #read: () => Promise<number>;
  readonly #now: () => number;
  readonly #samples: Sample[] = [];
  peak = 0;

  /** @param read the packets until now @param now the time in ms */
  constructor(read: () => Promise<number>, now: () => number) {
    this.#read = read;
    this.#now = now;
  }

  /** Takes samples until then. */
  async run(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      const startMs = this.#now();
      const count = await this.#read();
      this.#add({ startMs, endMs: this.#now(), count });
      await sleep(Math.max(0, startMs + sampleMs - this.#now()));
    }
  }

  #add(sample: Sample): void {
    const before = this.#samples.at(-1);
    this.#samples.push(sample);
    while (this.#samples.length > 1 && sample.endMs - this.#samples[0]!.startMs > spanMs)
      this.#samples.shift();
    const within = this.#samples[0]!;
    const spansMs = before === undefined ? spanMs : sample.endMs - before.startMs;
    const average = ((sample.count - (before?.count ?? sample.count)) * spanMs) / spansMs;
    this.peak = Math.max(
      this.peak,
      sample.count - within.count,
      spansMs > spanMs ? Math.floor(average) : 0,
    );
  }
}
