import type { Log } from '../log.ts';
import { StoreUnavailable } from './failures.ts';

const unavailableLogMs = 5_000;

/** A database that is away fails a great deal: it is logged now and then. */
export function storeFailures(log: Log): (error: unknown) => void {
  let lastAt = Number.NEGATIVE_INFINITY;
  return (error) => {
    const at = performance.now();
    if (error instanceof StoreUnavailable && at - lastAt < unavailableLogMs) return;
    if (error instanceof StoreUnavailable) lastAt = at;
    log.error({ err: error }, 'the database failed');
  };
}
