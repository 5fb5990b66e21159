import {
  type AddressProof,
  type ClientMessage,
  maxProofs,
  type ServerMessageOf,
} from '#wire/control.ts';
import { type Candidate, maxCandidates, type NatBehaviour, type PunchTerms } from '#wire/signal.ts';
import type { PathInput } from '../path/io.ts';
import { needsManyProbes } from '../path/probe-need.ts';
import { after, type MonotonicMs, type Now } from '../time.ts';
import type { Peer, PeerTable } from './peers.ts';
import type { SignalFault, Signals } from './signals.ts';

export interface SignallingOptions {
  readonly signals: Signals;
  readonly peers: PeerTable;
  readonly send: (message: ClientMessage) => void;
  readonly paths: (input: PathInput, now: Now) => void;
  /** A peer said where it is. */
  readonly told: (clientId: string, candidates: readonly Candidate[], nat: NatBehaviour) => void;
  /** Time that both sides share, in ms. */
  readonly time: (now: Now) => number;
  /** What proves our addresses to the server, as it is now. */
  readonly proofs: () => AddressProof[];
}

/** Two round trips to most servers, and no more than a person would notice. */
const holdMs = 250;

interface Local {
  readonly candidates: readonly Candidate[];
  readonly nat: NatBehaviour;
}

/**
 * Offers and answers (protocol §6): an offer is answered, the answer asks the server for a simultaneous open. What comes
 * before this machine knows its own addresses is answered when it does.
 */
export class Signalling {
  readonly faults = new Map<SignalFault | 'signal-from-stranger', number>();
  readonly #options: SignallingOptions;
  #local: Local | undefined;
  #relays: readonly Candidate[] = [];
  /** Peers whose offer waits for our candidates. */
  readonly #unanswered = new Set<number>();
  /** What waits for our mapping to be confirmed, by peer, and until when at most. */
  readonly #held = new Map<number, 'offer' | 'answer'>();
  #heldUntil: MonotonicMs | undefined;
  /** What peers said last of their NAT, by client id: bounded by `retain`. */
  readonly #nats = new Map<string, NatBehaviour>();

  constructor(options: SignallingOptions) {
    this.#options = options;
  }

  setLocal(local: Local, now: Now): void {
    this.#local = local;
    for (const index of this.#unanswered) {
      const peer = this.#options.peers.get(index);
      if (peer !== undefined) this.#send(peer, 'answer', now);
    }
    this.#unanswered.clear();
  }

  /** Where relays reach this machine: told beside its addresses. */
  setRelays(relays: readonly Candidate[]): void {
    this.#relays = relays;
  }

  disconnected(): void {
    this.#unanswered.clear();
    this.#held.clear();
    this.#heldUntil = undefined;
  }

  /** Our mapping is being asked for: another port makes what is told now useless, and costs a whole attempt. */
  hold(now: Now): void {
    this.#heldUntil ??= after(now.monotonic, holdMs);
  }

  /** When to `release` at the latest. */
  get heldUntil(): MonotonicMs | undefined {
    return this.#heldUntil;
  }

  release(now: Now): void {
    this.#heldUntil = undefined;
    for (const [index, kind] of this.#held) {
      const peer = this.#options.peers.get(index);
      if (peer !== undefined) this.#send(peer, kind, now);
    }
    this.#held.clear();
  }

  /** @param hard what it proposes of an attempt at hard NATs. */
  offer(peer: Peer, hard: PunchTerms | undefined, now: Now): void {
    if (hard === undefined && this.#heldUntil !== undefined) this.#held.set(peer.index, 'offer');
    else this.#send(peer, 'offer', now, hard);
  }

  /** To an offer that spoke of such an attempt: the path machine says when. */
  answer(peer: Peer, hard: PunchTerms | undefined, now: Now): void {
    this.#send(peer, 'answer', now, hard);
  }

  /** Forgets what is known of clients that are nobody's peer any more. */
  retain(clientIds: { has(clientId: string): boolean }): void {
    for (const clientId of this.#nats.keys())
      if (!clientIds.has(clientId)) this.#nats.delete(clientId);
  }

  receive({ from, sealed, punchInMs, proven }: ServerMessageOf<'signal'>, now: Now): void {
    const { peers, signals, paths, time, told } = this.#options;
    const peer = peers.byClientId(from);
    if (peer === undefined) {
      this.#count('signal-from-stranger');
      return;
    }
    const payload = signals.open(peer.pair, sealed, time(now));
    if (typeof payload === 'string') {
      this.#count(payload);
      return;
    }
    const { candidates, nat, kind, hard } = payload;
    this.#nats.set(from, nat);
    told(from, candidates, nat);
    const said = {
      ...{ candidates, nat, kind },
      ...(proven === undefined ? {} : { proven }),
      ...(hard === undefined ? {} : { hard }),
    };
    paths({ type: 'remote-candidates', peer: peer.index, ...said }, now);
    if (punchInMs !== undefined) paths({ type: 'punch', peer: peer.index, inMs: punchInMs }, now);
    // An offer of an attempt at hard NATs is answered when that is ready.
    if (kind !== 'offer' || hard !== undefined) return;
    if (this.#local === undefined) this.#unanswered.add(peer.index);
    else if (this.#heldUntil !== undefined) this.#held.set(peer.index, 'answer');
    else this.#send(peer, 'answer', now);
  }

  punch({ peer: clientId, punchInMs }: ServerMessageOf<'punch'>, now: Now): void {
    const peer = this.#options.peers.byClientId(clientId);
    if (peer === undefined) return;
    this.#options.paths({ type: 'punch', peer: peer.index, inMs: punchInMs }, now);
  }

  #send(peer: Peer, kind: 'offer' | 'answer', now: Now, hard?: PunchTerms): void {
    if (this.#local === undefined) return;
    const { signals, send, time, proofs } = this.#options;
    const { candidates, nat } = this.#local;
    const told = withRelays(candidates, this.#relays);
    const content = { kind, candidates: told, nat, ...(hard === undefined ? {} : { hard }) };
    const sealed = signals.seal(peer.pair, content, time(now));
    if (sealed === undefined) return;
    const to = peer.pair.clientId;
    const remote = this.#nats.get(to);
    const probes = remote !== undefined && needsManyProbes(nat, remote);
    const proven = proofs().slice(0, maxProofs);
    send({
      ...{ t: 'signal', to, sealed, punch: kind === 'answer' },
      ...(proven.length === 0 ? {} : { proofs: proven }),
      ...(probes ? { probes } : {}),
    });
  }

  #count(fault: SignalFault | 'signal-from-stranger'): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
  }
}

/** Relays first, because nothing else works everywhere; the rest as far as there is room. */
export const withRelays = (
  candidates: readonly Candidate[],
  relays: readonly Candidate[],
): Candidate[] => [...relays, ...candidates].slice(0, maxCandidates);
