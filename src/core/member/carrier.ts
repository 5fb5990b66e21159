import {
  type CarriedSignal,
  decodeCarriedSignal,
  encodeCarriedSignal,
  maxCarriedSignalBytes,
} from '#wire/carried.ts';
import { clientIdOf, clientNumber } from '#wire/client-number.ts';
import { TokenBucket } from '../path/budget.ts';
import type { MonotonicMs, Now } from '../time.ts';
import type { MemberOutput } from './io.ts';
import type { Peer, PeerTable } from './peers.ts';

/** A signal goes by so many common members at once: one of them may not have a tunnel with its recipient. */
const waysAtOnce = 2;
/** What one member may have passed on: offers and answers come 1, 2, 4 … s apart, for several peers. */
const passedPerSecond = 4;
const passedAtOnce = 16;
/** What is passed on to one member, whose engine takes 10 messages a second of us. */
const passedToPerSecond = 4;
const passedToAtOnce = 16;
/** For all members together. */
const passedInAllPerSecond = 40;
const passedInAllAtOnce = 80;
/** A peer that the server does not reach, or that signals by members, is signalled to by members for this long. */
const byMembersMs = 60_000;

export const noCarrierCounts = () => ({
  'carried-sent': 0,
  'carried-received': 0,
  'carried-passed-on': 0,
  'carried-no-way': 0,
  'carried-malformed': 0,
  'carried-not-theirs': 0,
  'carried-too-far': 0,
  'carried-undeliverable': 0,
  'carried-limited': 0,
});

export interface CarrierOptions {
  readonly clientId: string;
  readonly peers: PeerTable;
  /** What is sent to the peer arrives, as far as is known. */
  readonly reaches: (peer: Peer) => boolean;
  readonly emit: (output: MemberOutput) => void;
  /** A signal for this client has arrived. Only opening it shows whether it is genuine. */
  readonly receive: (from: string, sealed: Uint8Array, now: Now) => void;
}

interface Known {
  /** Until when signals to the peer go by members, whatever the server's connection is like. */
  byMembersUntil: MonotonicMs | undefined;
  /** The member by which a signal of the peer came last. */
  cameBy: number | undefined;
  /** Where to go on among the common members. */
  turn: number;
  readonly from: TokenBucket;
  readonly to: TokenBucket;
}

/**
 * Signals without a server (protocol §13): through the tunnel with the peer itself where there is one, else by members with whom both
 * have tunnels. Each goes over one member at most, and only between members of a network that all three share.
 *
 *     A ══ tunnel ══ B ══ tunnel ══ C          A and C seal and open; B sees sizes and times, and may drop it
 *     │ signal to C ►│ signal, passed on ►│
 *     │◄ passed on   │◄ signal to A       │
 */
export class Carrier {
  readonly counters = noCarrierCounts();
  readonly #options: CarrierOptions;
  readonly #own: number | undefined;
  readonly #known = new Map<number, Known>();
  readonly #all = new TokenBucket(passedInAllPerSecond, passedInAllAtOnce);

  constructor(options: CarrierOptions) {
    this.#options = options;
    this.#own = clientNumber(options.clientId);
  }

  /** The server does not reach this peer: signals go by members for a while. */
  preferMembers(peer: Peer, now: MonotonicMs): void {
    this.#of(peer).byMembersUntil = (now + byMembersMs) as MonotonicMs;
  }

  prefersMembers(peer: Peer, now: MonotonicMs): boolean {
    const until = this.#known.get(peer.index)?.byMembersUntil;
    return until !== undefined && now < until;
  }

  /** Whether anybody could carry a signal to the peer now. */
  hasWay(peer: Peer): boolean {
    return this.#options.reaches(peer) || this.#common(peer).length > 0;
  }

  /** False when there is no way. Nothing says whether it arrives. */
  send(peer: Peer, sealed: Uint8Array): boolean {
    const to = clientNumber(peer.pair.clientId);
    const from = this.#own;
    if (to === undefined || from === undefined || sealed.length > maxCarriedSignalBytes) {
      return false;
    }
    const ways = this.#options.reaches(peer) ? [peer] : this.#choose(peer);
    if (ways.length === 0) this.counters['carried-no-way']++;
    for (const way of ways) {
      this.counters['carried-sent']++;
      this.#message(way, { from, to, isPassedOn: false, sealed });
    }
    return ways.length > 0;
  }

  /** A message of type signal came through the tunnel with `peer`. */
  receive(peer: Peer, bytes: Uint8Array, now: Now): void {
    const signal = decodeCarriedSignal(bytes);
    if (signal === undefined) {
      this.counters['carried-malformed']++;
      return;
    }
    const isOwn = signal.from === clientNumber(peer.pair.clientId);
    // The first one on the way vouches for where it comes from.
    if (!signal.isPassedOn && !isOwn) this.counters['carried-not-theirs']++;
    else if (signal.to === this.#own) this.#arrived(peer, signal, now);
    else if (signal.isPassedOn) this.counters['carried-too-far']++;
    else this.#passOn(peer, signal, now.monotonic);
  }

  removePeer(peer: number): void {
    this.#known.delete(peer);
    for (const known of this.#known.values()) {
      if (known.cameBy === peer) known.cameBy = undefined;
    }
  }

  #arrived(by: Peer, { from, sealed }: CarriedSignal, now: Now): void {
    const clientId = clientIdOf(from);
    if (clientId === undefined) {
      this.counters['carried-malformed']++;
      return;
    }
    this.counters['carried-received']++;
    this.#options.receive(clientId, sealed, now);
    const peer = this.#options.peers.byClientId(clientId);
    if (peer !== undefined && peer !== by) this.#of(peer).cameBy = by.index;
  }

  #passOn(sender: Peer, signal: CarriedSignal, now: MonotonicMs): void {
    const { peers, reaches } = this.#options;
    const clientId = clientIdOf(signal.to);
    const to = clientId === undefined ? undefined : peers.byClientId(clientId);
    if (to === undefined || to === sender || !reaches(to) || !shareNetwork(sender, to)) {
      this.counters['carried-undeliverable']++;
      return;
    }
    const isAllowed =
      this.#of(sender).from.take(now) && this.#of(to).to.take(now) && this.#all.take(now);
    if (!isAllowed) {
      this.counters['carried-limited']++;
      return;
    }
    this.counters['carried-passed-on']++;
    this.#message(to, { ...signal, isPassedOn: true });
  }

  /** Members who may have a tunnel with the peer: the one it came by last, the others in turn. */
  #choose(peer: Peer): Peer[] {
    const common = this.#common(peer);
    if (common.length === 0) return [];
    const known = this.#of(peer);
    const first = common.find(({ index }) => index === known.cameBy);
    const others = common.filter((member) => member !== first);
    const chosen = first === undefined ? [] : [first];
    const wanted = Math.min(waysAtOnce - chosen.length, others.length);
    for (let i = 0; i < wanted; i++) {
      chosen.push(others[(known.turn + i) % others.length]!);
    }
    known.turn = (known.turn + wanted) % Math.max(1, others.length);
    return chosen;
  }

  #common(peer: Peer): Peer[] {
    const { peers, reaches } = this.#options;
    return [...peers.values()].filter(
      (member) => member !== peer && reaches(member) && shareNetwork(member, peer),
    );
  }

  #of(peer: Peer): Known {
    let known = this.#known.get(peer.index);
    if (known === undefined) {
      known = {
        ...{ byMembersUntil: undefined, cameBy: undefined, turn: 0 },
        from: new TokenBucket(passedPerSecond, passedAtOnce),
        to: new TokenBucket(passedToPerSecond, passedToAtOnce),
      };
      this.#known.set(peer.index, known);
    }
    return known;
  }

  #message(to: Peer, signal: CarriedSignal): void {
    const bytes = encodeCarriedSignal(signal);
    this.#options.emit({ type: 'message', peer: to.index, bytes });
  }
}

const shareNetwork = (a: Peer, b: Peer): boolean =>
  a.pair.networks.some((network) => b.pair.networks.includes(network));
