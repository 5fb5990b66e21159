import type { Log } from '../log.ts';
import { isConnectionLoss } from './failures.ts';

const unavailableLogMs = 5_000;

/** A database that is away fails a great deal: it is logged now and then. */
export function storeFailures(log: Log): (error: unknown) => void {
  let lastAt = Number.NEGATIVE_INFINITY;
  return (error) => {
    const at = performance.now();
    const isAway = isConnectionLoss(error);
    if (isAway && at - lastAt < unavailableLogMs) return;
    if (isAway) lastAt = at;
    log.error({ err: error }, 'the database failed');
  };
}
