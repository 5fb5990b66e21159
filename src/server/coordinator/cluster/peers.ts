/**
 * The other nodes, as far as this one hears of them: by parcels of the fabric and by their beats in the database. No clocks
 * are compared: a beat is a number that changes.
 *
 *   alive ──silent on a fabric that works──► silent ──heard──► alive
 *     └──says so, or its beat in the database stands still──► gone ──another boot, or beats again──► alive
 */
import { forgetOldest } from '#core/forget-oldest.ts';
import type { MonotonicMs, Now } from '#core/time.ts';
import { directFrom, type Parcel } from '../../fabric/messages.ts';
import type { NodeRow } from '../../store/schema.ts';
import { maxParcelAgeMs, nodeGoneMs, nodeSilentMs } from '../limits.ts';

export interface Peer {
  readonly id: string;
  boot: string;
  state: NodeRow['state'];
  facts: string;
  /** Highest number of a parcel to all; undefined until one was heard. */
  heard: number | undefined;
  /** Numbers of late or direct parcels that were seen. */
  readonly seen: Set<number>;
  heardAt: MonotonicMs;
  beat: number;
  beatAt: MonotonicMs;
  silent: boolean;
}

export type Verdict =
  /** `gap`: parcels before this one are missing, or none of this boot was heard yet. */
  | { readonly kind: 'take'; readonly peer: Peer; readonly gap: boolean; readonly back: boolean }
  | { readonly kind: 'drop'; readonly reason: DropReason };

export type DropReason = 'own' | 'repeated' | 'stale' | 'unknown-boot' | 'too-many-nodes';

const maxPeers = 1_024;
/** How far back a parcel may come late and still be told from a repeated one. */
const windowSize = 1_024;

export class Peers {
  readonly #self: string;
  readonly #peers = new Map<string, Peer>();

  constructor(self: string) {
    this.#self = self;
  }

  get = (id: string) => this.#peers.get(id);
  all = () => this.#peers.values();

  /** Whether a parcel is to be believed. One of a boot that the database does not know yet is not: ask there first. */
  receive(parcel: Parcel, now: Now): Verdict {
    const { from, boot, seq, time } = parcel;
    if (from === this.#self) return { kind: 'drop', reason: 'own' };
    if (Math.abs(time - now.wall) > maxParcelAgeMs) return { kind: 'drop', reason: 'stale' };
    const peer = this.#peers.get(from);
    if (peer === undefined || peer.boot !== boot) return { kind: 'drop', reason: 'unknown-boot' };
    const isDirect = seq >= directFrom;
    if (peer.seen.has(seq) || (!isDirect && seq <= (peer.heard ?? 0) - windowSize))
      return { kind: 'drop', reason: 'repeated' };
    peer.seen.add(seq);
    forgetOldest(peer.seen, 2 * windowSize);
    const back = peer.silent;
    peer.silent = false;
    peer.heardAt = now.monotonic;
    let gap = false;
    if (!isDirect && seq > (peer.heard ?? 0)) {
      gap = seq !== (peer.heard ?? 0) + 1;
      peer.heard = seq;
    }
    return { kind: 'take', peer, gap, back };
  }

  /** The rows of the database. Returns nodes that are new or were started again. */
  know(rows: readonly NodeRow[], now: Now): Peer[] {
    const fresh: Peer[] = [];
    for (const row of rows) {
      if (row.node_id === this.#self) continue;
      const known = this.#peers.get(row.node_id);
      if (known !== undefined && known.boot === row.boot) {
        if (known.beat !== row.beat) known.beatAt = now.monotonic;
        known.beat = row.beat;
        known.facts = row.facts;
        if (row.state !== 'serving') known.state = row.state;
        continue;
      }
      if (known === undefined && this.#peers.size >= maxPeers) continue;
      const peer: Peer = {
        ...{ id: row.node_id, boot: row.boot, state: row.state, facts: row.facts },
        ...{ heard: undefined, seen: new Set<number>(), heardAt: now.monotonic },
        ...{ beat: row.beat, beatAt: now.monotonic, silent: false },
      };
      this.#peers.set(row.node_id, peer);
      fresh.push(peer);
    }
    return fresh;
  }

  /** Nodes that should have been heard by now; only to be asked while our own end of the fabric works. */
  fallenSilent(now: Now): Peer[] {
    const silent: Peer[] = [];
    for (const peer of this.#peers.values()) {
      if (peer.silent || peer.state === 'ended') continue;
      if (now.monotonic - peer.heardAt < nodeSilentMs) continue;
      silent.push(peer);
    }
    return silent;
  }

  /** Our end of the fabric works again: nobody has been silent before that. */
  listenAnew(now: Now): void {
    for (const peer of this.#peers.values()) peer.heardAt = now.monotonic;
  }

  /** Whether the database has not heard of it for long, or it has said goodbye. */
  isGone(peer: Peer, now: Now): boolean {
    return peer.state === 'ended' || now.monotonic - peer.beatAt >= nodeGoneMs;
  }
}
