import { setTimeout as sleep } from 'node:timers/promises';
import { BuriError } from '#core/errors.ts';

const lookEveryMs = 50;

/** Returns when `condition` holds. BuriError: timeout, with what is still missing; gone, when nobody waits any more. */
export async function until(
  condition: () => boolean,
  seconds: number,
  signal: AbortSignal,
  missing: () => string,
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!condition()) {
    if (signal.aborted) throw new BuriError('gone', 'nobody waits for the answer any more');
    if (performance.now() >= end) {
      throw new BuriError('timeout', `after ${seconds} s: ${missing()}; it goes on in background`);
    }
    await sleep(lookEveryMs);
  }
}
