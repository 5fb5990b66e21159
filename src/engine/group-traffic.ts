import {
  DESTINATION_EVERYBODY,
  DESTINATION_UNICAST,
  type Destination,
  destinationKind,
} from '#core/lan/groups.ts';
import { PrefixTable, parsePrefix } from './prefix-table.ts';
import { PeerBuckets, type Rate, TokenBucket } from './token-bucket.ts';

/** Packets a second for everybody (broadcast, the link's groups), of this device or from one peer: discovery, not streams. */
export const EVERYBODY_RATE: Rate = { perSecond: 1000, burst: 1000 };
/** Packets a second for groups that members joined, likewise. */
export const MEMBERS_RATE: Rate = { perSecond: 20_000, burst: 20_000 };
/** Copies of either that this device sends: what a packet costs is the number of its receivers. */
export const COPIES_RATE: Rate = { perSecond: 100_000, burst: 50_000 };
/** The core is told that groups were joined or left at most this often. */
const GROUPS_CHANGED_INTERVAL_MS = 50;

/** What the data plane keeps for traffic that is for more than one: caps, and which unicast-looking addresses are broadcast. */
export class GroupTraffic {
  /** Directed broadcasts: the last addresses of our pools. */
  broadcasts = new PrefixTable();
  readonly outEverybody: TokenBucket;
  readonly outMembers: TokenBucket;
  readonly outCopies: TokenBucket;
  readonly inEverybody = new PeerBuckets(EVERYBODY_RATE);
  readonly inMembers = new PeerBuckets(MEMBERS_RATE);
  #changeToldAtMs = -Infinity;

  /** @param threads share what this device may send; what a peer sends comes to one of them, or to few. */
  constructor(threads = 1) {
    this.outEverybody = new TokenBucket(shareOf(EVERYBODY_RATE, threads));
    this.outMembers = new TokenBucket(shareOf(MEMBERS_RATE, threads));
    this.outCopies = new TokenBucket(shareOf(COPIES_RATE, threads));
  }

  setBroadcasts(addresses: readonly string[]): void {
    this.broadcasts = new PrefixTable();
    for (const address of addresses) {
      const prefix = parsePrefix(address);
      if (prefix !== undefined) this.broadcasts.set(prefix, 0);
    }
  }

  removePeer(peer: number): void {
    this.inEverybody.remove(peer);
    this.inMembers.remove(peer);
  }

  kindOf(family: number, words: Int32Array, offset: number): Destination {
    const kind = destinationKind(family, words, offset);
    const isDirected =
      kind === DESTINATION_UNICAST && this.broadcasts.lookup(family, words, offset) >= 0;
    return isDirected ? DESTINATION_EVERYBODY : kind;
  }

  mayTellChange(nowMs: number): boolean {
    if (nowMs - this.#changeToldAtMs < GROUPS_CHANGED_INTERVAL_MS) return false;
    this.#changeToldAtMs = nowMs;
    return true;
  }
}

const shareOf = ({ perSecond, burst }: Rate, threads: number): Rate => ({
  perSecond: perSecond / threads,
  burst: burst / threads,
});
