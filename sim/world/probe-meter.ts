import { readProbeHeader } from '#wire/probe.ts';
import { readData } from '#wire/relay.ts';
import { maxProbesPerSecond } from './bounds.ts';
import { Violation } from './trace.ts';

/** Holds every member to the budget of probing. */
export class ProbeMeter {
  /** Times of the requests of the last second, by member. */
  readonly #sent = new Map<string, number[]>();

  count(member: string, bytes: Uint8Array, at: number): void {
    if (readProbeHeader(readData(bytes)?.payload ?? bytes)?.type !== 'request') return;
    const times = this.#sent.get(member) ?? [];
    this.#sent.set(member, times);
    while (times.length > 0 && times[0]! <= at - 1000) times.shift();
    times.push(at);
    if (times.length > maxProbesPerSecond) {
      throw new Violation(`${member} sent ${times.length} probe requests within a second`);
    }
  }
}
