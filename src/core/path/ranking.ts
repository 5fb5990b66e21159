/**
 * Which of two ways to a peer is better, and when a better one is worth a change: pure functions (design: probes only promote).
 */
import type { NatBehaviour } from '#wire/signal.ts';
import { classOf } from './address-class.ts';

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
}

/** Round-trip times must differ by more than this share and this much to count. */
const rttShare = 0.2;
const rttGainMs = 10;
/** One sample may be luck. */
export const minRttSamples = 3;

export type Promotion = 'tier' | 'rtt';

/** Why `candidate` should replace `current`, or undefined when it should not. Never true both ways. */
export function promotion(candidate: Rankable, current: Rankable): Promotion | undefined {
  if (candidate.tier !== current.tier) return candidate.tier < current.tier ? 'tier' : undefined;
  if (candidate.rttMs === undefined || current.rttMs === undefined) return undefined;
  if (candidate.rttSamples < minRttSamples || current.rttSamples < minRttSamples) return undefined;
  const gainMs = current.rttMs - candidate.rttMs;
  return gainMs > Math.max(current.rttMs * rttShare, rttGainMs) ? 'rtt' : undefined;
}

/** Order in which proven ways are taken into use when there is none: better tier, then lower round-trip time. */
export function compareProven(a: Rankable, b: Rankable): number {
  return a.tier - b.tier || (a.rttMs ?? Infinity) - (b.rttMs ?? Infinity);
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
