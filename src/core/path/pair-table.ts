import { type Endpoint, familyOf } from '#wire/endpoint.ts';
import { CandidatePair, pairKey } from './candidate-pair.ts';
import type { LocalSocket } from './io.ts';
import { maxPairs, maxPeerReflexive } from './limits.ts';
import { compareProven } from './ranking.ts';
import type { RemoteCandidate } from './remote-candidates.ts';

/** The pairs of one peer: sockets × signalled candidates of their family, and those learnt from the peer's packets. */
export class PairTable {
  /** The pair in use. */
  current: CandidatePair | undefined;
  readonly #pairs = new Map<string, CandidatePair>();
  #candidates: readonly RemoteCandidate[] = [];

  values(): IterableIterator<CandidatePair> {
    return this.#pairs.values();
  }

  get size(): number {
    return this.#pairs.size;
  }

  /** The peer sends its data over this pair, and over no other. */
  peerUses(pair: CandidatePair): void {
    for (const other of this.#pairs.values()) other.peerUsing = other === pair;
  }

  /** The one proven pair that is kept ready beside the one in use. */
  spare(): CandidatePair | undefined {
    return this.current === undefined ? undefined : this.best((pair) => pair !== this.current);
  }

  find(socket: number, remote: Endpoint): CandidatePair | undefined {
    return this.#pairs.get(pairKey(socket, remote));
  }

  has(pair: CandidatePair): boolean {
    return this.#pairs.get(pair.key) === pair;
  }

  /** The proven pair to use when there is no other: best tier, then lowest round-trip time. */
  best(filter: (pair: CandidatePair) => boolean): CandidatePair | undefined {
    let best: CandidatePair | undefined;
    for (const pair of this.#pairs.values()) {
      if (!pair.proven || !filter(pair)) continue;
      if (best === undefined || compareProven(pair, best) < 0) best = pair;
    }
    return best;
  }

  /** Replaces the signalled candidates. Pairs of old ones go, unless they were answered. */
  setCandidates(candidates: readonly RemoteCandidate[], sockets: readonly LocalSocket[]): void {
    this.#candidates = candidates;
    const listed = new Set(candidates.map(({ text }) => text));
    for (const pair of this.#pairs.values()) {
      const keep = pair.kind === 'peer-reflexive' || pair.state.name === 'answered';
      if (!listed.has(pair.endpoint) && !keep) this.#pairs.delete(pair.key);
    }
    this.#pairUp(sockets);
  }

  /** Pairs of sockets that are gone go; new sockets are paired with all candidates. */
  setSockets(sockets: readonly LocalSocket[]): void {
    const open = new Set(sockets.map(({ socket }) => socket));
    for (const pair of this.#pairs.values()) {
      if (!open.has(pair.path.socket)) this.#pairs.delete(pair.key);
    }
    this.#pairUp(sockets);
  }

  /** A pair for an address that the peer's own packets came from; undefined when there is no room for it. */
  addPeerReflexive(socket: number, remote: Endpoint): CandidatePair | undefined {
    const learnt = [...this.#pairs.values()].filter((pair) => pair.kind === 'peer-reflexive');
    if (learnt.length >= maxPeerReflexive || this.#pairs.size >= maxPairs) {
      const oldest = learnt
        .filter((pair) => pair.state.name !== 'answered')
        .sort((a, b) => (a.heardAt ?? 0) - (b.heardAt ?? 0))[0];
      if (oldest === undefined) return undefined;
      this.#pairs.delete(oldest.key);
    }
    return this.#add(socket, remote, 'peer-reflexive');
  }

  #pairUp(sockets: readonly LocalSocket[]): void {
    for (const { endpoint, kind } of this.#candidates) {
      for (const { socket, family } of sockets) {
        if (family !== familyOf(endpoint.address)) continue;
        const known = this.find(socket, endpoint);
        if (known !== undefined) known.kind = kind;
        else if (this.#pairs.size < maxPairs) this.#add(socket, endpoint, kind);
      }
    }
  }

  #add(socket: number, remote: Endpoint, kind: CandidatePair['kind']): CandidatePair {
    const pair = new CandidatePair({ socket, remote }, kind);
    this.#pairs.set(pair.key, pair);
    return pair;
  }
}
