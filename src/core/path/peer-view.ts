import type { CandidatePair } from './candidate-pair.ts';
import type { CandidateView, PeerPathView } from './io.ts';
import { establishMs } from './limits.ts';
import { explainNoPath, type Situation } from './reason.ts';

export interface PeerFacts {
  readonly pairs: readonly CandidatePair[];
  readonly current: CandidatePair | undefined;
  readonly doubted: boolean;
  /** How long a path has been looked for. */
  readonly searchedMs: number;
  readonly situation: Situation;
}

export function viewOf(facts: PeerFacts): PeerPathView {
  const { current, pairs } = facts;
  const candidates = pairs.map((pair) => candidateView(pair, current));
  if (current !== undefined) {
    return {
      kind: 'direct',
      endpoint: current.endpoint,
      ...(current.rttMs === undefined ? {} : { rttMs: rounded(current.rttMs) }),
      ...(facts.doubted ? { reason: 'the other side does not answer; trying other ways' } : {}),
      candidates,
    };
  }
  const reason = explainNoPath(facts.situation);
  const searching = facts.searchedMs < establishMs;
  return { kind: searching ? 'establishing' : 'unreachable', reason, candidates };
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

const rounded = (ms: number) => Math.round(ms * 100) / 100;
