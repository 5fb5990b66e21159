import { decodeRevocations, encodeRevocations } from '#wire/carried.ts';
import { forgetOldest } from '../forget-oldest.ts';
import { TokenBucket } from '../path/budget.ts';
import { Deadlines } from '../path/deadlines.ts';
import { after, type MonotonicMs, type Now } from '../time.ts';
import type { MemberOutput } from './io.ts';
import type { Peer, PeerTable } from './peers.ts';

/** A revocation is passed on to so many at once: with 16, nearly everybody hears it from somebody within two steps. */
export const maxTold = 16;
/** Each is told so often, in case a message gets lost, that much apart. */
const tellings = 3;
const repeatMs = 1000;
/** A peer gets a message at most this often; its engine takes 10 a second. */
const messageEveryMs = 250;
/** Waiting for one peer; and of one peer remembered as told. */
const maxWaiting = 64;
const maxRemembered = 512;
/** Told to a peer that comes back: the newest. */
export const maxCaughtUp = 32;
/** Signatures that one peer may have us check. */
const checksPerSecond = 8;
const checksAtOnce = 64;

/** A revocation, or the deletion of a network, that was verified. */
export interface Revocation {
  readonly network: string;
  /** Ed25519 identity in hexadecimal; undefined when the whole network was deleted. */
  readonly identity: string | undefined;
  readonly serial: number;
  readonly bytes: Uint8Array;
}

export const noGossipCounts = () => ({
  'revocations-told': 0,
  'revocations-learnt': 0,
  'revocations-malformed': 0,
  'revocations-limited': 0,
});

export interface GossipOptions {
  readonly peers: PeerTable;
  /** What is sent to the peer arrives, as far as is known. */
  readonly reaches: (peer: Peer) => boolean;
  readonly emit: (output: MemberOutput) => void;
  /** The peer or this client lacks a server that would tell. */
  readonly isCutOff: (peer: Peer) => boolean;
  /** Those of these networks that still matter, the newest first. */
  readonly recent: (networks: readonly string[], now: Now) => Revocation[];
  /** Whether this one was known already: nothing is verified then. */
  readonly isKnown: (document: Uint8Array) => boolean;
  /** Verifies and applies; undefined when it is not believed, or no news. */
  readonly learn: (document: Uint8Array, now: Now) => Revocation | undefined;
}

interface Waiting {
  readonly bytes: Uint8Array;
  left: number;
  at: MonotonicMs;
}

interface Told {
  /** By key of the revocation; told, or heard of the peer. */
  readonly done: Set<string>;
  readonly waiting: Map<string, Waiting>;
  readonly checks: TokenBucket;
  nextAt: MonotonicMs | undefined;
  /** `#version` when it was last brought up to date. */
  version: number;
}

/**
 * Revocations from member to member (protocol §13), so that who was evicted, or has left, is out also where no server says so. Whoever
 * learns of one tells it on, once; who comes back from where no server was is told the recent ones. They are signed: nobody can
 * invent one.
 */
export class Gossip {
  readonly counters = noGossipCounts();
  readonly #options: GossipOptions;
  readonly #told = new Map<number, Told>();
  readonly #deadlines = new Deadlines();
  /** Counts the revocations that were learnt. */
  #version = 1;
  #turn = 0;

  constructor(options: GossipOptions) {
    this.#options = options;
  }

  /** Learnt a moment ago, from the server or from `by`. With whom the tunnel ends by it is told too, as long as it is there. */
  learnt(revocation: Revocation, now: Now, by?: Peer): void {
    const { peers, reaches } = this.#options;
    this.#version += 1;
    const key = keyOf(revocation);
    const concerned: Peer[] = [];
    for (const peer of peers.values()) {
      if (peer === by || !reaches(peer) || !peer.pair.networks.includes(revocation.network))
        continue;
      const { identity, networks } = peer.pair;
      const ends =
        revocation.identity === undefined
          ? networks.length === 1
          : revocation.identity === identity;
      if (ends) this.#say(peer, [revocation.bytes]);
      else if (!this.#of(peer).done.has(key)) concerned.push(peer);
    }
    const count = Math.min(maxTold, concerned.length);
    for (let i = 0; i < count; i++) {
      this.#enqueue(concerned[(this.#turn + i) % concerned.length]!, revocation, now.monotonic);
    }
    this.#turn += count;
    this.tick(now);
  }

  /**
   * There is a tunnel with the peer, or its server or ours was lost: it may have missed something.
   * @param isNew there was no tunnel, or no path, before: what was told then may not have arrived.
   */
  catchUp(peer: Peer, now: Now, isNew = false): void {
    const { isCutOff, reaches, recent } = this.#options;
    if (!isCutOff(peer) || !reaches(peer)) return;
    const told = this.#of(peer);
    if (isNew) {
      told.done.clear();
      told.waiting.clear();
    }
    if (!isNew && told.version === this.#version) return;
    told.version = this.#version;
    for (const revocation of recent(peer.pair.networks, now).slice(0, maxCaughtUp)) {
      if (revocation.identity === peer.pair.identity) continue;
      if (!told.done.has(keyOf(revocation))) this.#enqueue(peer, revocation, now.monotonic);
    }
    this.tick(now);
  }

  /** A message of type revocations came through the tunnel with the peer. */
  receive(peer: Peer, bytes: Uint8Array, now: Now): void {
    const { isKnown, learn } = this.#options;
    const documents = decodeRevocations(bytes);
    if (documents === undefined) {
      this.counters['revocations-malformed']++;
      return;
    }
    for (const document of documents) {
      if (isKnown(document)) continue;
      if (!this.#of(peer).checks.take(now.monotonic)) {
        this.counters['revocations-limited']++;
        continue;
      }
      const revocation = learn(document, now);
      if (revocation === undefined) continue;
      this.counters['revocations-learnt']++;
      this.#remember(this.#of(peer), keyOf(revocation));
      this.learnt(revocation, now, peer);
    }
  }

  removePeer(peer: number): void {
    this.#told.delete(peer);
    this.#deadlines.set(peer, undefined);
  }

  tick({ monotonic: now }: Now): void {
    for (;;) {
      const index = this.#deadlines.takeDue(now);
      if (index === undefined) return;
      const [peer, told] = [this.#options.peers.get(index), this.#told.get(index)];
      if (peer !== undefined && told !== undefined) this.#tell(peer, told, now);
    }
  }

  deadline(): MonotonicMs | undefined {
    return this.#deadlines.next;
  }

  #enqueue(peer: Peer, revocation: Revocation, now: MonotonicMs): void {
    const told = this.#of(peer);
    const key = keyOf(revocation);
    if (told.waiting.has(key) || told.waiting.size >= maxWaiting) return;
    told.waiting.set(key, { bytes: revocation.bytes, left: tellings, at: now });
    this.#schedule(peer, told);
  }

  #tell(peer: Peer, told: Told, now: MonotonicMs): void {
    if (!this.#options.reaches(peer)) {
      // It will be brought up to date when it is there again.
      told.waiting.clear();
      told.version = 0;
      return;
    }
    const due = [...told.waiting].filter(([, { at }]) => at <= now);
    const count = this.#say(
      peer,
      due.map(([, { bytes }]) => bytes),
    );
    for (const [key, waiting] of due.slice(0, count)) {
      waiting.left -= 1;
      waiting.at = after(now, repeatMs);
      if (waiting.left > 0) continue;
      told.waiting.delete(key);
      this.#remember(told, key);
    }
    // One that no message has room for.
    if (count === 0 && due[0] !== undefined) told.waiting.delete(due[0][0]);
    told.nextAt = after(now, messageEveryMs);
    this.#schedule(peer, told);
  }

  #schedule(peer: Peer, told: Told): void {
    let earliest: MonotonicMs | undefined;
    for (const { at } of told.waiting.values()) {
      if (earliest === undefined || at < earliest) earliest = at;
    }
    const isLater = earliest !== undefined && told.nextAt !== undefined && told.nextAt > earliest;
    this.#deadlines.set(peer.index, isLater ? told.nextAt : earliest);
  }

  /** How many of the documents fitted. */
  #say(peer: Peer, documents: readonly Uint8Array[]): number {
    const encoded = encodeRevocations(documents);
    if (encoded === undefined) return 0;
    this.counters['revocations-told'] += encoded.count;
    this.#options.emit({ type: 'message', peer: peer.index, bytes: encoded.bytes });
    return encoded.count;
  }

  #remember(told: Told, key: string): void {
    told.done.add(key);
    told.waiting.delete(key);
    forgetOldest(told.done, maxRemembered);
  }

  #of(peer: Peer): Told {
    let told = this.#told.get(peer.index);
    if (told === undefined) {
      const checks = new TokenBucket(checksPerSecond, checksAtOnce);
      told = { done: new Set(), waiting: new Map(), checks, nextAt: undefined, version: 0 };
      this.#told.set(peer.index, told);
    }
    return told;
  }
}

const keyOf = ({ network, identity, serial }: Revocation): string =>
  `${network} ${identity} ${serial}`;
