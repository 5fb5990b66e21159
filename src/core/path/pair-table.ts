import { type Endpoint, familyOf } from '#wire/endpoint.ts';
import { forgetOldest } from '../forget-oldest.ts';
import { CandidatePair, pairKey, relayKey } from './candidate-pair.ts';
import type { LocalSocket } from './io.ts';
import { maxPairs, maxPeerReflexive, maxRewritten } from './limits.ts';
import { compareProven } from './ranking.ts';
import { pathOver, type RelayPath } from './relay-path.ts';
import type { RemoteCandidate } from './remote-candidates.ts';

/**
 * The pairs of one peer: sockets × signalled candidates of their family, those learnt from the peer's packets, and one for each relay
 * where both have an allocation.
 */
export class PairTable {
  /** The pair in use. */
  current: CandidatePair | undefined;
  readonly #pairs = new Map<string, CandidatePair>();
  /** By the endpoint that the peer's NAT shows us: the pair that it belongs to. */
  readonly #rewritten = new Map<string, CandidatePair>();
  #candidates: readonly RemoteCandidate[] = [];
  /** Where this client has allocations. */
  #relays: ReadonlyMap<string, RelayPath> = new Map();
  /** Where the peer says that it has some. */
  #peerRelays: readonly string[] = [];
  /** The peer's number, as relays know it; undefined: it cannot be reached by them. */
  readonly #number: number | undefined;

  constructor(number: number | undefined) {
    this.#number = number;
  }

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
    const { current } = this;
    return current === undefined ? undefined : this.best((pair) => !pair.isAs(current));
  }

  /** Also by an endpoint that stands for the pair's own one. */
  find(socket: number, remote: Endpoint): CandidatePair | undefined {
    const key = pairKey(socket, remote);
    const known = this.#pairs.get(key);
    if (known !== undefined) return known;
    const rewritten = this.#rewritten.get(key);
    return rewritten !== undefined && this.has(rewritten) ? rewritten : undefined;
  }

  /** Whether there is another pair for what was sent over this one and is answered from there. */
  isOther(pair: CandidatePair, remote: Endpoint): boolean {
    const other = this.#pairs.get(pairKey(pair.path.socket, remote));
    return other !== undefined && other !== pair;
  }

  /** What was sent over this pair was answered from there: the peer's NAT shows us that endpoint instead. */
  answeredFrom(pair: CandidatePair, remote: Endpoint): void {
    const key = pairKey(pair.path.socket, remote);
    if (this.#pairs.has(key)) return;
    this.#rewritten.delete(key);
    this.#rewritten.set(key, pair);
    forgetOldest(this.#rewritten, maxRewritten);
  }

  /** The pair over a relay where this client has an allocation: made when `heard`, the peer's packets having come by it. */
  atRelay(relay: string, heard: boolean): CandidatePair | undefined {
    const known = this.#pairs.get(relayKey(relay));
    return known ?? (heard ? this.#addRelay(relay) : undefined);
  }

  /** Relays of the peer where this client is not, in the peer's order; how many both are at, and over how many of these nothing came. */
  get relays(): {
    readonly missing: readonly string[];
    readonly shared: number;
    readonly silent: number;
  } {
    const missing = this.#peerRelays.filter((relay) => !this.#relays.has(relay));
    const silent = this.#peerRelays.filter((relay) => this.#pairs.get(relayKey(relay))?.isSilent);
    return { missing, shared: this.#peerRelays.length - missing.length, silent: silent.length };
  }

  /** Pairs of allocations that are gone go; those that are reached in another way follow. Returns the new ones. */
  setRelays(relays: ReadonlyMap<string, RelayPath>): CandidatePair[] {
    this.#relays = relays;
    for (const pair of this.#pairs.values()) {
      if (pair.relay === undefined) continue;
      const way = relays.get(pair.relay.relay);
      if (way === undefined) this.#pairs.delete(pair.key);
      else if (way !== pair.relay) pair.reroute(pathOver(way, this.#number!), way);
    }
    return this.#pairUpRelays();
  }

  /** Replaces what the peer says of its relays. Pairs that were answered stay all the same. Returns the new ones. */
  setPeerRelays(relays: readonly string[]): CandidatePair[] {
    this.#peerRelays = relays;
    for (const pair of this.#pairs.values()) {
      if (pair.relay === undefined || pair.state.name === 'answered') continue;
      if (!relays.includes(pair.relay.relay)) this.#pairs.delete(pair.key);
    }
    return this.#pairUpRelays();
  }

  has(pair: CandidatePair): boolean {
    return this.#pairs.get(pair.key) === pair;
  }

  /** The proven pair to use when there is no other: best tier, then lowest round-trip time. */
  best(filter: (pair: CandidatePair) => boolean): CandidatePair | undefined {
    let best: CandidatePair | undefined;
    for (const pair of this.#pairs.values()) {
      if (!pair.proven || pair.isDistrusted || !filter(pair)) continue;
      if (best === undefined || compareProven(pair, best) < 0) best = pair;
    }
    return best;
  }

  /** Replaces the signalled candidates. Pairs of old ones go, unless they were answered. */
  setCandidates(candidates: readonly RemoteCandidate[], sockets: readonly LocalSocket[]): void {
    this.#candidates = candidates;
    const listed = new Set(candidates.map(({ text }) => text));
    for (const pair of this.#pairs.values()) {
      if (pair.relay !== undefined) continue;
      const keep = pair.kind === 'peer-reflexive' || pair.state.name === 'answered';
      if (!listed.has(pair.endpoint) && !keep) this.#pairs.delete(pair.key);
    }
    this.#pairUp(sockets);
  }

  /** Pairs of sockets that are gone go; new sockets are paired with all candidates. */
  setSockets(sockets: readonly LocalSocket[]): void {
    const open = new Set(sockets.map(({ socket }) => socket));
    for (const pair of this.#pairs.values()) {
      const isDirect = pair.relay === undefined;
      if (isDirect && !open.has(pair.path.socket)) this.#pairs.delete(pair.key);
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
    for (const { endpoint, kind, text } of this.#candidates) {
      for (const { socket, family, isPunched } of sockets) {
        if (family !== familyOf(endpoint.address) || isPunched === true) continue;
        const known = this.find(socket, endpoint);
        if (known !== undefined && known.endpoint === text) known.kind = kind;
        else if (this.#pairs.size < maxPairs) this.#add(socket, endpoint, kind);
      }
    }
  }

  #pairUpRelays(): CandidatePair[] {
    return this.#peerRelays.flatMap((relay) => {
      const isKnown = this.#pairs.has(relayKey(relay));
      return (isKnown ? undefined : this.#addRelay(relay)) ?? [];
    });
  }

  /** Beyond `maxPairs`: relays are bounded by the allocations of this client. */
  #addRelay(relay: string): CandidatePair | undefined {
    const way = this.#relays.get(relay);
    if (way === undefined || this.#number === undefined) return undefined;
    const pair = new CandidatePair(pathOver(way, this.#number), 'relay', way);
    this.#pairs.set(pair.key, pair);
    return pair;
  }

  #add(socket: number, remote: Endpoint, kind: CandidatePair['kind']): CandidatePair {
    const pair = new CandidatePair({ socket, remote }, kind);
    this.#pairs.set(pair.key, pair);
    return pair;
  }
}
