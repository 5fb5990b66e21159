/**
 * The other nodes, as far as this one hears of them: by parcels of the fabric and by their beats in the database. No clocks
 * are compared: a beat is a number that changes.
 *
 *   hearing:   expected ──parcel──► heard ──3.5 s without──► silent ──parcel──► heard
 *                  └──────────────3.5 s without─────────────────▲     our own end away: all silent; back: all expected
 *
 *   trusted ──was heard and fell silent; or is silent and its beat stands still──► doubted ──heard; beats on──► trusted
 *      └──────says that it has ended, or its beat stands still for longer──► gone ──another boot, beats on──► trusted
 *
 * A fabric that is torn is no failure of nodes: who has not been heard since is judged by the database.
 */
import { forgetOldest } from '#core/forget-oldest.ts';
import type { MonotonicMs, Now } from '#core/time.ts';
import { directFrom, type Parcel } from '../../fabric/messages.ts';
import type { NodeRow } from '../../store/schema.ts';
import {
  maxClockDifferenceMs,
  nodeBeatMs,
  nodeGoneMs,
  nodeSilentMs,
  nodeStillMs,
} from '../limits.ts';

export interface Peer {
  readonly id: string;
  boot: string;
  state: NodeRow['state'];
  facts: string;
  /** Highest number of a parcel to all; undefined until one was heard. */
  heard: number | undefined;
  /** Numbers of late or direct parcels that were seen. */
  readonly seen: Set<number>;
  /** What is sent to a silent one is lost. */
  hearing: 'expected' | 'heard' | 'silent';
  /** The latest parcel, or since when one is expected. */
  heardAt: MonotonicMs;
  beat: number;
  /** When the beat was seen to have changed. */
  beatAt: MonotonicMs;
  /** Its clients may be cut off. */
  isDoubted: boolean;
  /** Beat at the first look into the database after it came to be doubted: another one since then clears it. */
  beatInDoubt: number | undefined;
}

export type Verdict =
  /** `gap`: parcels before this one are missing, or none of this boot was heard yet. `back`: it was silent, or doubted. */
  | { readonly kind: 'take'; readonly peer: Peer; readonly gap: boolean; readonly back: boolean }
  | { readonly kind: 'drop'; readonly reason: DropReason };

export type DropReason = 'own' | 'repeated' | 'stale' | 'unknown-boot' | 'too-many-nodes';

const maxPeers = 1_024;
/** How far back a parcel may come late and still be told from a repeated one. */
const windowSize = 1_024;

export class Peers {
  readonly #self: string;
  readonly #peers = new Map<string, Peer>();
  #isListening = false;
  #lookedAt: MonotonicMs | undefined;

  constructor(self: string) {
    this.#self = self;
  }

  /** Whether our own end of the fabric works. */
  get isListening(): boolean {
    return this.#isListening;
  }

  get = (id: string) => this.#peers.get(id);
  all = () => this.#peers.values();

  /** Whether a parcel is to be believed. One of a boot that the database does not know yet is not: ask there first. */
  receive(parcel: Parcel, now: Now): Verdict {
    const { from, boot, seq, time } = parcel;
    if (from === this.#self) return { kind: 'drop', reason: 'own' };
    if (Math.abs(time - now.wall) > maxClockDifferenceMs) return { kind: 'drop', reason: 'stale' };
    const peer = this.#peers.get(from);
    if (peer === undefined || peer.boot !== boot) return { kind: 'drop', reason: 'unknown-boot' };
    const isDirect = seq >= directFrom;
    if (peer.seen.has(seq) || (!isDirect && seq <= (peer.heard ?? 0) - windowSize))
      return { kind: 'drop', reason: 'repeated' };
    peer.seen.add(seq);
    forgetOldest(peer.seen, 2 * windowSize);
    const back = peer.isDoubted || peer.hearing === 'silent';
    peer.isDoubted = false;
    peer.hearing = 'heard';
    peer.heardAt = now.monotonic;
    let gap = false;
    if (!isDirect && seq > (peer.heard ?? 0)) {
      gap = seq !== (peer.heard ?? 0) + 1;
      peer.heard = seq;
    }
    return { kind: 'take', peer, gap, back };
  }

  /** The rows of the database. Returns nodes that are new, were started again, or live though they were doubted. */
  know(rows: readonly NodeRow[], now: Now): Peer[] {
    const looked = this.#lookedAt;
    this.#lookedAt = now.monotonic;
    // While the database was away no beat could be seen, nor be made.
    if (looked !== undefined && now.monotonic - looked > 2 * nodeBeatMs)
      for (const peer of this.#peers.values()) peer.beatAt = now.monotonic;
    const fresh: Peer[] = [];
    for (const row of rows) {
      if (row.node_id === this.#self) continue;
      const known = this.#peers.get(row.node_id);
      if (known !== undefined && known.boot === row.boot) {
        if (this.#beats(known, row, now)) fresh.push(known);
        continue;
      }
      if (known === undefined && this.#peers.size >= maxPeers) continue;
      const peer: Peer = {
        ...{ id: row.node_id, boot: row.boot, state: row.state, facts: row.facts },
        ...{ heard: undefined, seen: new Set<number>(), heardAt: now.monotonic },
        ...{ hearing: this.#isListening ? 'expected' : 'silent', isDoubted: false },
        ...{ beat: row.beat, beatAt: now.monotonic, beatInDoubt: undefined },
      };
      this.#peers.set(row.node_id, peer);
      fresh.push(peer);
    }
    return fresh;
  }

  /** True when this shows that a doubted node lives: it has beaten since, not only before it failed. */
  #beats(peer: Peer, row: NodeRow, now: Now): boolean {
    if (peer.beat !== row.beat) peer.beatAt = now.monotonic;
    peer.beat = row.beat;
    peer.facts = row.facts;
    if (row.state !== 'serving') peer.state = row.state;
    if (!peer.isDoubted) return false;
    peer.beatInDoubt ??= row.beat;
    if (peer.beatInDoubt === row.beat) return false;
    peer.isDoubted = false;
    return true;
  }

  /** Nodes that have come to be doubted; `torn`: somebody is not heard any more. */
  fallenSilent(now: Now): { readonly doubted: Peer[]; readonly torn: boolean } {
    const doubted: Peer[] = [];
    let torn = false;
    for (const peer of this.#peers.values()) {
      if (peer.state === 'ended') continue;
      const { hearing } = peer;
      const overdue = hearing !== 'silent' && now.monotonic - peer.heardAt >= nodeSilentMs;
      if (overdue) peer.hearing = 'silent';
      torn ||= overdue;
      if (peer.hearing !== 'silent' || peer.isDoubted) continue;
      if (hearing !== 'heard' && !this.#standsStill(peer, nodeStillMs)) continue;
      this.doubt(peer);
      doubted.push(peer);
    }
    return { doubted, torn };
  }

  doubt(peer: Peer): void {
    peer.isDoubted = true;
    peer.beatInDoubt = undefined;
  }

  /** Our own end of the fabric works now, or does not. Nobody has been silent before it did. */
  listen(up: boolean, now: Now): void {
    this.#isListening = up;
    for (const peer of this.#peers.values()) {
      peer.hearing = up ? 'expected' : 'silent';
      peer.heardAt = now.monotonic;
    }
  }

  /** Whether the database has not heard of it for long, or it has said goodbye. */
  isGone(peer: Peer): boolean {
    return peer.state === 'ended' || this.#standsStill(peer, nodeGoneMs);
  }

  /** As of the latest look: between looks, and while the database is away, nothing is known of beats. */
  #standsStill({ beatAt }: Peer, forMs: number): boolean {
    return this.#lookedAt !== undefined && this.#lookedAt - beatAt >= forMs;
  }
}
