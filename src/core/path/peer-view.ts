import type { AddressFamily } from '#wire/endpoint.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { LocalState } from './context.ts';
import { type CandidateView, type PeerPathView, unknownNat } from './io.ts';
import { establishMs } from './limits.ts';
import { isDirect } from './ranking.ts';
import { explainNoPath, type Situation } from './reason.ts';

export interface PeerFacts {
  readonly pairs: readonly CandidatePair[];
  readonly current: CandidatePair | undefined;
  readonly doubted: boolean;
  /** Nobody needs a direct path now. */
  readonly lapsed: boolean;
  /** How long a path has been looked for. */
  readonly searchedMs: number;
  readonly local: LocalState;
  readonly remote: RemoteFacts | undefined;
  /** The peer was heard since then, by whatever way. */
  readonly heardOnly: boolean;
  /** There was a path before. */
  readonly lost: boolean;
  readonly mtuBytes: number | undefined;
}

/** What the peer told of itself. */
export interface RemoteFacts {
  readonly nat: NatBehaviour;
  readonly candidates: number;
  readonly families: ReadonlySet<AddressFamily>;
  /** The candidates in text, to notice a change. */
  readonly list: string;
}

export function viewOf(facts: PeerFacts): PeerPathView {
  const { current, pairs } = facts;
  const candidates = pairs.map((pair) => candidateView(pair, current));
  const nats = { here: facts.local.nat, there: facts.remote?.nat ?? unknownNat };
  if (current !== undefined) {
    const relayed = current.relay === undefined ? {} : { reason: whyRelayed(facts) };
    return {
      kind: current.relay === undefined ? 'direct' : 'relayed',
      transport: current.relay?.transport ?? 'udp',
      endpoint: current.endpoint,
      ...relayed,
      ...(current.rttMs === undefined ? {} : { rttMs: rounded(current.rttMs) }),
      ...qualityView(current),
      ...(facts.mtuBytes === undefined ? {} : { mtuBytes: facts.mtuBytes }),
      ...(facts.doubted ? { reason: 'the other side does not answer; trying other ways' } : {}),
      nats,
      candidates,
    };
  }
  const reason = explainNoPath(situationOf(facts));
  const searching = facts.searchedMs < establishMs;
  return { kind: searching ? 'establishing' : 'unreachable', reason, nats, candidates };
}

/** Why a relay carries what could go directly. */
function whyRelayed(facts: PeerFacts): string {
  if (facts.lapsed) return 'no traffic lately; a direct path is looked for when there is some';
  const lossy = facts.pairs.find((pair) => isDirect(pair) && pair.proven && (pair.grade ?? 0) > 0);
  if (lossy !== undefined) return `the direct path loses ${percent(lossy)} % of the packets`;
  if (facts.searchedMs < establishMs && haveFamilyInCommon(facts)) {
    return 'a direct path is being looked for';
  }
  return `no direct path: ${explainNoPath(situationOf(facts))}`;
}

function situationOf(facts: PeerFacts): Situation {
  const { local, remote, heardOnly, lost, current } = facts;
  return {
    serverConnected: local.connected,
    localCandidatesKnown: local.discovered,
    isRelayed: current?.relay !== undefined,
    socketsOpen: local.sockets.length > 0,
    remoteCandidates: remote?.candidates,
    familiesInCommon: haveFamilyInCommon(facts),
    localNat: local.nat,
    remoteNat: remote?.nat ?? unknownNat,
    heardOnly: heardOnly && current === undefined,
    lost,
  };
}

/** By the addresses that both sides have; while one of them is not known to have any, there may be. */
function haveFamilyInCommon({ local, remote }: PeerFacts): boolean {
  if (remote === undefined || remote.families.size === 0 || local.families.size === 0) return true;
  return [...local.families].some((family) => remote.families.has(family));
}

function candidateView(pair: CandidatePair, current: CandidatePair | undefined): CandidateView {
  return {
    kind: pair.kind,
    endpoint: pair.endpoint,
    state: stateOf(pair, current),
    ...(pair.rttMs === undefined ? {} : { rttMs: rounded(pair.rttMs) }),
  };
}

function stateOf(pair: CandidatePair, current: CandidatePair | undefined): string {
  if (pair === current) return 'in use';
  if (pair.proven) return 'proven';
  const { name } = pair.state;
  if (name === 'waiting' && pair.probesSent > 0) return 'no answer';
  return name === 'failed' ? 'no answer' : name;
}

const percent = ({ quality }: CandidatePair) => Math.round(100 * (quality.lossRate ?? 0));

function qualityView({ quality }: CandidatePair): Pick<PeerPathView, 'lossPercent' | 'jitterMs'> {
  const { lossRate, jitterMs } = quality;
  return {
    ...(lossRate === undefined ? {} : { lossPercent: rounded(100 * lossRate) }),
    ...(jitterMs === undefined ? {} : { jitterMs: rounded(jitterMs) }),
  };
}

const rounded = (ms: number) => Math.round(ms * 100) / 100;
