import { maxCarriedSignalBytes } from '#wire/carried.ts';
import {
  type AddressProof,
  type ClientMessage,
  maxProofs,
  type ServerMessageOf,
} from '#wire/control.ts';
import {
  type Candidate,
  maxCandidates,
  type NatBehaviour,
  type PunchTerms,
  type SignalPayload,
} from '#wire/signal.ts';
import type { PathInput } from '../path/io.ts';
import { needsManyProbes } from '../path/probe-need.ts';
import { after, type MonotonicMs, type Now } from '../time.ts';
import type { Peer, PeerTable } from './peers.ts';
import type { SignalFault, Signals } from './signals.ts';

export interface SignallingOptions {
  readonly signals: Signals;
  readonly peers: PeerTable;
  readonly send: (message: ClientMessage) => void;
  /** By which ways a signal to the peer goes now. */
  readonly ways: (peer: Peer, now: Now) => { readonly server: boolean; readonly members: boolean };
  /** Has members carry it to the peer (protocol §13): at most `maxCarriedSignalBytes`. */
  readonly carry: (peer: Peer, sealed: Uint8Array) => void;
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

/**
 * Without a server nobody announces when the simultaneous open begins: the answerer lets the answer pass, the offerer begins when it has
 * it, or nearly.
 */
const answererPunchMs = 150;
const offererPunchMs = 100;

/** Host candidates are worth the least to those who have lost each other. */
const carriedOrder: readonly Candidate['kind'][] = [
  'relay',
  'mapped',
  'configured',
  'server-reflexive',
  'host',
];

type Content = Omit<SignalPayload, 'counter' | 'expiresAt'>;

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
  readonly #held = new Map<number, { kind: 'offer' | 'answer'; byMembers: boolean }>();
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
    for (const [index, { kind, byMembers }] of this.#held) {
      const peer = this.#options.peers.get(index);
      if (peer !== undefined) this.#send(peer, kind, now, undefined, byMembers);
    }
    this.#held.clear();
  }

  /** @param hard what it proposes of an attempt at hard NATs. */
  offer(peer: Peer, hard: PunchTerms | undefined, now: Now): void {
    if (hard === undefined && this.#heldUntil !== undefined) {
      this.#held.set(peer.index, { kind: 'offer', byMembers: false });
    } else this.#send(peer, 'offer', now, hard);
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

  /** From the server, or (`isCarried`) from another member. False when it had no effect. */
  receive(
    { from, sealed, punchInMs, proven }: Omit<ServerMessageOf<'signal'>, 't'>,
    now: Now,
    isCarried = false,
  ): boolean {
    const { peers, signals, paths, time, told } = this.#options;
    const peer = peers.byClientId(from);
    if (peer === undefined) {
      this.#count('signal-from-stranger');
      return false;
    }
    const payload = signals.open(peer.pair, sealed, time(now));
    if (typeof payload === 'string') {
      // Two members may carry one signal.
      if (!isCarried || payload !== 'signal-replayed') this.#count(payload);
      return false;
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
    const inMs = isCarried && kind === 'answer' ? offererPunchMs : punchInMs;
    if (inMs !== undefined) paths({ type: 'punch', peer: peer.index, inMs }, now);
    // An offer of an attempt at hard NATs is answered when that is ready.
    if (kind !== 'offer' || hard !== undefined) return true;
    if (this.#local === undefined) this.#unanswered.add(peer.index);
    else if (this.#heldUntil !== undefined) {
      this.#held.set(peer.index, { kind: 'answer', byMembers: isCarried });
    } else this.#send(peer, 'answer', now, undefined, isCarried);
    return true;
  }

  punch({ peer: clientId, punchInMs }: ServerMessageOf<'punch'>, now: Now): void {
    const peer = this.#options.peers.byClientId(clientId);
    if (peer === undefined) return;
    this.#options.paths({ type: 'punch', peer: peer.index, inMs: punchInMs }, now);
  }

  #send(
    peer: Peer,
    kind: 'offer' | 'answer',
    now: Now,
    hard?: PunchTerms,
    byMembers = false,
  ): void {
    if (this.#local === undefined) return;
    const { candidates, nat } = this.#local;
    const told = withRelays(candidates, this.#relays);
    const content = { kind, candidates: told, nat, ...(hard === undefined ? {} : { hard }) };
    const ways = this.#options.ways(peer, now);
    if (ways.server) this.#sendByServer(peer, content, now);
    if (!ways.members && !byMembers) return;
    this.#sendByMembers(peer, content, now);
    if (kind !== 'answer') return;
    this.#options.paths({ type: 'punch', peer: peer.index, inMs: answererPunchMs }, now);
  }

  #sendByMembers(peer: Peer, content: Content, now: Now): void {
    const { signals, carry, time } = this.#options;
    const rank = ({ kind }: Candidate) => carriedOrder.indexOf(kind);
    let candidates = content.candidates;
    for (;;) {
      const sealed = signals.seal(peer.pair, { ...content, candidates }, time(now));
      if (sealed === undefined) return;
      if (sealed.length <= maxCarriedSignalBytes) {
        carry(peer, sealed);
        return;
      }
      if (candidates.length === 0) return;
      const best = candidates.toSorted((a, b) => rank(a) - rank(b));
      candidates = best.slice(0, Math.floor(candidates.length * 0.75));
    }
  }

  #sendByServer(peer: Peer, content: Content, now: Now): void {
    const { signals, send, time, proofs } = this.#options;
    const { kind, nat } = content;
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
