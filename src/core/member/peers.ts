import type { Crypto } from '../crypto.ts';
import { assert } from '../errors.ts';
import type { Pair } from '../mesh/pairs.ts';
import type { KeyPair } from '../noise/handshake-state.ts';
import type { HandshakeFailure, PskCandidate } from '../session/events.ts';
import { pairPsk } from '../session/psk.ts';
import { maximumPeers } from '../session/tunnels.ts';
import type { MonotonicMs } from '../time.ts';

/** A client with which this one has, or tries to have, a tunnel. */
export interface Peer {
  /** What engine, paths and tunnels call it. */
  readonly index: number;
  pair: Pair;
  /** When keys were last agreed on; undefined while there are none. */
  sessionSince: MonotonicMs | undefined;
  lastHandshakeAt: MonotonicMs | undefined;
  suite: string | undefined;
  failure: HandshakeFailure | undefined;
  hasPath: boolean;
  /** It was asked whether it is there, and did not answer. */
  isDead: boolean;
  /** When a handshake is started if none succeeded by then. */
  initiateAt: MonotonicMs | undefined;
  livenessCheckedAt: MonotonicMs | undefined;
}

/** The peers by index and by client id. */
export class PeerTable {
  readonly #byIndex = new Map<number, Peer>();
  readonly #byClientId = new Map<string, Peer>();
  #nextIndex = 0;

  /** Indices go round, so that a late report about a removed peer hardly ever meets its successor. */
  add(pair: Pair): Peer {
    assert(this.#byIndex.size < maximumPeers, 'peers are bounded by the members of the networks');
    while (this.#byIndex.has(this.#nextIndex)) this.#advance();
    const peer: Peer = {
      index: this.#nextIndex,
      pair,
      sessionSince: undefined,
      lastHandshakeAt: undefined,
      suite: undefined,
      failure: undefined,
      hasPath: false,
      isDead: false,
      initiateAt: undefined,
      livenessCheckedAt: undefined,
    };
    this.#advance();
    this.#byIndex.set(peer.index, peer);
    this.#byClientId.set(pair.clientId, peer);
    return peer;
  }

  remove(peer: Peer): void {
    this.#byIndex.delete(peer.index);
    this.#byClientId.delete(peer.pair.clientId);
  }

  get(index: number): Peer | undefined {
    return this.#byIndex.get(index);
  }

  byClientId(clientId: string): Peer | undefined {
    return this.#byClientId.get(clientId);
  }

  has(clientId: string): boolean {
    return this.#byClientId.has(clientId);
  }

  get size(): number {
    return this.#byIndex.size;
  }

  values(): IterableIterator<Peer> {
    return this.#byIndex.values();
  }

  #advance(): void {
    this.#nextIndex = (this.#nextIndex + 1) % maximumPeers;
  }
}

/** The pre-shared keys that may be right, the current view's first (protocol §9). */
export const pskCandidates = (crypto: Crypto, own: KeyPair, pair: Pair): PskCandidate[] =>
  pair.views.map(({ secrets, epoch }) => ({
    suite: pair.suite,
    psk: pairPsk(crypto, {
      secrets,
      epoch,
      suite: pair.suite,
      extensionVersion: pair.extensionVersion,
      tunnelKeyA: own.publicKey,
      tunnelKeyB: pair.tunnelKey,
    }),
  }));
