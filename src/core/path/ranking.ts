/**
 * Which of two ways to a peer is better, and when a better one is worth a change: pure functions (design: probes only promote).
 */
import type { NatBehaviour } from '#wire/signal.ts';
import { classOf } from './address-class.ts';
import type { LossGrade } from './quality.ts';

/**
 * Lower is better. `local`: an address of the same LAN, or IPv6, where nothing is translated. `public`: over a public IPv4 address.
 * Relays come below both, and one that is about to end comes last.
 */
export const tiers = { local: 0, public: 1, relayUdp: 2, relayTcp: 3, relayEnding: 4 } as const;
export type Tier = (typeof tiers)[keyof typeof tiers];

/** Told from the address alone, so that both sides come to the same answer whoever learnt it how. */
export const directTier = (address: string): Tier =>
  address.includes(':') || classOf(address) === 'private' ? tiers.local : tiers.public;

export const relayTier = (way: {
  readonly transport: 'udp' | 'tcp';
  readonly draining: boolean;
}): Tier => {
  if (way.draining) return tiers.relayEnding;
  return way.transport === 'udp' ? tiers.relayUdp : tiers.relayTcp;
};

export interface Rankable {
  readonly tier: Tier;
  /** Smoothed; undefined before the first answer. */
  readonly rttMs: number | undefined;
  /** Answers that the round-trip time stands on. */
  readonly rttSamples: number;
  /** Round-trip time, jitter and loss in one number (`PathQuality.costMs`). */
  readonly costMs: number | undefined;
  /** How much gets lost; undefined while that is not known. */
  readonly grade: LossGrade | undefined;
}

/** Costs must differ by more than this share and this much to count. */
const costShare = 0.2;
const costGainMs = 10;
/** What is measured where packets get lost varies by about so much by chance. */
const lossyGainMs = 150;
/** Of two ways of one sort, both of which lose packets, the better one is not worth a change for less. */
const leastGrades = 2;
/** One sample may be luck. */
export const minRttSamples = 3;

/** `tier`: at once. `loss`, `cost`: when it stays so for a while. */
export type Promotion = 'tier' | 'loss' | 'cost';

export const isDirect = ({ tier }: Rankable): boolean => tier < tiers.relayUdp;

/** In a few seconds it forwards nothing any more: whatever else works is better, however it was measured. */
export const isEnding = ({ tier }: Pick<Rankable, 'tier'>): boolean => tier === tiers.relayEnding;

/**
 * Lower is better: a direct way is worth one grade of loss more than a relay, so that a relay without loss comes before a direct way
 * that loses a lot, and after one that loses some. What was not measured is taken to be well.
 */
function lossRank(way: Rankable): number {
  const grade = way.grade ?? 0;
  return isDirect(way) ? 2 * Math.max(0, grade - 1) : 2 * grade + 1;
}

/** Why `candidate` should replace `current`, or undefined when it should not. Never true both ways, nor in a ring. */
export function promotion(candidate: Rankable, current: Rankable): Promotion | undefined {
  if (isEnding(candidate) !== isEnding(current)) return isEnding(current) ? 'tier' : undefined;
  const ranks = lossRank(candidate) - lossRank(current);
  if (ranks > 0) return undefined;
  if (ranks < 0) {
    if (isDirect(candidate) && !isDirect(current)) return 'tier';
    // What is left because of loss is left for something that is known to be better.
    if (candidate.grade === undefined) return undefined;
    const grades = (current.grade ?? 0) - candidate.grade;
    return isDirect(candidate) !== isDirect(current) || grades >= leastGrades ? 'loss' : undefined;
  }
  if (candidate.tier !== current.tier) return candidate.tier < current.tier ? 'tier' : undefined;
  if (candidate.costMs === undefined || current.costMs === undefined) return undefined;
  if (candidate.rttSamples < minRttSamples || current.rttSamples < minRttSamples) return undefined;
  const gainMs = current.costMs - candidate.costMs;
  const isLossy = (candidate.grade ?? 0) + (current.grade ?? 0) > 0;
  const leastMs = isLossy ? lossyGainMs : costGainMs;
  return gainMs > Math.max(current.costMs * costShare, leastMs) ? 'cost' : undefined;
}

/** Order in which proven ways are taken into use when there is none: not about to end, less loss, better tier, lower cost. */
export function compareProven(a: Rankable, b: Rankable): number {
  const byEnd = Number(isEnding(a)) - Number(isEnding(b));
  const byLoss = byEnd || lossRank(a) - lossRank(b);
  return byLoss || a.tier - b.tier || (a.costMs ?? Infinity) - (b.costMs ?? Infinity);
}

export type Outlook = 'possible' | 'impossible' | 'unknown';

/**
 * Whether hole punching can join two NATs without guessing ports (RFC 4787 terms): a mapping that depends on the destination
 * shows the other side a port that nobody announced, which only a filter that ignores ports lets in.
 */
export function punchOutlook(a: NatBehaviour, b: NatBehaviour): Outlook {
  const [mapsA, mapsB] = [stability(a), stability(b)];
  if (mapsA === 'unknown' || mapsB === 'unknown') return 'unknown';
  if (mapsA === 'stable' && mapsB === 'stable') return 'possible';
  if (mapsA === 'changing' && mapsB === 'changing') return 'impossible';
  const { filtering } = mapsA === 'stable' ? a : b;
  if (filtering === 'unknown') return 'unknown';
  return filtering === 'address-and-port-dependent' ? 'impossible' : 'possible';
}

function stability({ mapping }: NatBehaviour): 'stable' | 'changing' | 'unknown' {
  if (mapping === 'unknown') return 'unknown';
  return mapping === 'none' || mapping === 'endpoint-independent' ? 'stable' : 'changing';
}
