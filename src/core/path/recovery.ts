/**
 * Direct pairs that were proven lately and fell silent: asked again while a relay carries the traffic, so that a black hole which
 * heals costs seconds. Pure rules.
 */
import { after, type MonotonicMs } from '#core/time.ts';
import type { CandidatePair } from './candidate-pair.ts';

/** So many of one peer's pairs at a time, those first that were lost last. */
export const maxRecovering = 4;
/** How long after the loss, and how often until then; after the last of them the signals' pace has to do. */
const paces: readonly { readonly untilMs: number; readonly everyMs: number }[] = [
  { untilMs: 120_000, everyMs: 3000 },
  { untilMs: 600_000, everyMs: 10_000 },
  { untilMs: 3_600_000, everyMs: 60_000 },
];

/** @param lostForMs how long ago the pair was lost; undefined: it was not */
export const recoveryPaceMs = (lostForMs: number | undefined): number | undefined =>
  lostForMs === undefined ? undefined : paces.find(({ untilMs }) => lostForMs < untilMs)?.everyMs;

/** The pairs that are waited for to come back. */
export function recovering(
  pairs: Iterable<CandidatePair>,
  now: MonotonicMs,
): ReadonlySet<CandidatePair> {
  const lost: { readonly pair: CandidatePair; readonly forMs: number }[] = [];
  for (const pair of pairs) {
    const forMs = pair.lostForMs(now);
    if (forMs !== undefined && recoveryPaceMs(forMs) !== undefined) lost.push({ pair, forMs });
  }
  if (lost.length > maxRecovering) lost.sort((a, b) => a.forMs - b.forMs).length = maxRecovering;
  return new Set(lost.map(({ pair }) => pair));
}

/** When such a pair is asked next. */
export function recoveryAt(pair: CandidatePair, now: MonotonicMs): MonotonicMs | undefined {
  const everyMs = recoveryPaceMs(pair.lostForMs(now));
  return everyMs === undefined || pair.probedAt === undefined
    ? undefined
    : after(pair.probedAt, everyMs);
}
