import type { MonotonicMs } from '#core/time.ts';
import type { CandidatePair } from './candidate-pair.ts';
import { dwellMs } from './limits.ts';
import type { PairTable } from './pair-table.ts';
import { promotion } from './ranking.ts';

/** A proven pair that was heard within this may be taken into use without asking again. */
const freshMs = 5000;

/**
 * The pair to take into use instead of the present one, or undefined to stay. Rules, first match wins:
 *
 * 1. Nothing in use: the best pair that was proven lately, or else over a relay.
 * 2. The peer sends over another proven pair: follow, if the present one is silent, or if the peer leads and its choice is not
 *    of a worse tier. One side leading is what keeps two sides from swapping pairs for ever.
 * 3. The present one is doubtful: the best pair that was heard since it fell silent.
 * 4. A better tier, or a clearly shorter round trip: promote.
 */
export function choosePair(
  pairs: PairTable,
  role: { readonly leads: boolean; readonly usedSince: MonotonicMs },
  now: MonotonicMs,
): CandidatePair | undefined {
  const { current } = pairs;
  const isFresh = (pair: CandidatePair) =>
    pair !== current && pair.heardAt !== undefined && now - pair.heardAt < freshMs;
  // A pair that was just left because of its silence must answer before it counts again.
  const isWell = (pair: CandidatePair) => isFresh(pair) && pair.unanswered === 0;
  // No mapping on the way hangs on us at a relay: what was proven long ago is worth a try.
  const isRelayed = (pair: CandidatePair) => pair.relay !== undefined;
  if (current === undefined) return pairs.best(isFresh) ?? pairs.best(isRelayed);
  const silent = current.overdue(now);
  const used = pairs.best((pair) => isWell(pair) && pair.peerUsing);
  if (used !== undefined && (silent || (!role.leads && used.tier <= current.tier))) return used;
  if (silent && current.unanswered >= current.doubtAfter) {
    return pairs.best((pair) => isFresh(pair) && heardAt(pair) > heardAt(current));
  }
  // Round trips are the same for both sides, so one of them deciding by them is enough.
  const mayPromoteByRtt =
    (role.leads || !current.peerUsing) && now - role.usedSince >= dwellMs && !silent;
  return pairs.best((pair) => {
    const isEligible = isWell(pair) && !pair.isOnProbation(now);
    const why = isEligible ? promotion(pair, current) : undefined;
    return why === 'tier' || (why === 'rtt' && mayPromoteByRtt);
  });
}

const heardAt = (pair: CandidatePair) => pair.heardAt ?? Number.NEGATIVE_INFINITY;
