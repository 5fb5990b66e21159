import type { MonotonicMs } from '#core/time.ts';
import type { CandidatePair } from './candidate-pair.ts';
import { dwellMs } from './limits.ts';
import type { PairTable } from './pair-table.ts';
import { isEnding, type Promotion, promotion } from './ranking.ts';

/** A proven pair that was heard within this may be taken into use without asking again. */
const freshMs = 5000;

/**
 * The pair to take into use instead of the present one, or undefined to stay. Rules, first match wins:
 *
 * 1. Nothing in use: the best pair that was proven lately, or else over a relay.
 * 2. The peer sends over another proven pair: follow, if the present one is silent, or if the peer leads and its choice is not
 *    of a worse tier, or the present one is seen to lose packets. One side leading is what keeps two sides from swapping pairs for ever.
 * 3. The present one is doubtful: the best pair that was heard since it fell silent.
 * 4. A better tier: promote. Less loss, or a clearly lower cost: the same, once it has been so for a while (`Challenge`).
 *
 * A relay that is about to end is left for any other pair that answers, whatever was held against that one.
 */
export function choosePair(
  pairs: PairTable,
  role: {
    readonly leads: boolean;
    readonly usedSince: MonotonicMs;
    readonly challenge: Challenge;
  },
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
  if (used !== undefined) {
    const isGood = used.tier <= current.tier || (!isEnding(used) && (current.grade ?? 0) > 0);
    if (silent || (!role.leads && isGood)) return used;
  }
  if (silent && current.unanswered >= current.doubtAfter) {
    return pairs.best((pair) => isFresh(pair) && heardAt(pair) > heardAt(current));
  }
  const better = (isWanted: (why: Promotion) => boolean) =>
    pairs.best((pair) => {
      const isTrusted = isEnding(current) || !pair.isOnProbation(now);
      const why = isWell(pair) && isTrusted ? promotion(pair, current) : undefined;
      return why !== undefined && isWanted(why);
    });
  // Where the leading side has gone because of loss, the other one does not leave it for what it has itself seen to lose.
  const isLed = !role.leads && current.peerUsing && !isEnding(current);
  const tier = better((why) => why === 'tier');
  if (tier !== undefined && !(isLed && (tier.grade ?? 0) > 0)) return tier;
  // A round trip is the same for both sides, so one of them deciding by it is enough.
  if (isLed || silent || now - role.usedSince < dwellMs) return undefined;
  return role.challenge.winner(
    better((why) => why !== 'tier'),
    now,
  );
}

/** Whatever is better by what was measured takes over when it has been so for this long. */
const holdMs = 5000;

/** The pair that would be better, and since when. */
export class Challenge {
  #pair: CandidatePair | undefined;
  #since: MonotonicMs | undefined;

  /** The pair, once it has been the better one for a while. */
  winner(pair: CandidatePair | undefined, now: MonotonicMs): CandidatePair | undefined {
    if (pair !== this.#pair) {
      this.#pair = pair;
      this.#since = now;
    }
    return this.#since !== undefined && now - this.#since >= holdMs ? pair : undefined;
  }
}

const heardAt = (pair: CandidatePair) => pair.heardAt ?? Number.NEGATIVE_INFINITY;
