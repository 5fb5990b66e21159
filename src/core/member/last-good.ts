import { formatEndpoint } from '#wire/endpoint.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { type Candidate, maxCandidates, type NatBehaviour } from '#wire/signal.ts';
import { peekDocument } from '#wire/signed.ts';
import { forgetOldest } from '../forget-oldest.ts';
import type { Pair } from '../mesh/pairs.ts';
import { unknownNat } from '../path/io.ts';
import type { Path } from '../path/path.ts';
import { after, type MonotonicMs, type WallMs } from '../time.ts';

/** Peers whose last addresses are kept: those with whom there was a tunnel last. */
export const maxReachedPeers = 256;
/** As long as a membership lives without a server: nobody is sought where it was before that. */
const keptMs = 7 * 86_400_000;
/** A change is on disk this much later; the next one not before that much more. */
const saveAfterMs = 2000;
const saveEveryMs = 60_000;
/** That somebody is still reached in the same way is news this often. */
const refreshMs = 3_600_000;

/** Where and how a peer was reached when there was a tunnel last. */
export interface ReachedPeer {
  readonly clientId: string;
  /** Ed25519 identity in hexadecimal. */
  readonly identity: string;
  readonly reachedAt: number;
  /** The endpoint in use first, then what the peer signalled. */
  readonly candidates: readonly Candidate[];
  readonly nat: NatBehaviour;
}

/** What a start without any server begins with. */
export interface KnownWays {
  readonly peers: readonly ReachedPeer[];
  /** With their addresses as they were resolved, and the tickets. */
  readonly relays: readonly RelayEntry[];
  /** Signed deletions of networks, to be told to members who have not heard. */
  readonly deletions: readonly Uint8Array[];
}

export const noKnownWays: KnownWays = { peers: [], relays: [], deletions: [] };

type Told = Pick<ReachedPeer, 'candidates' | 'nat'>;

/**
 * Where peers were reached last and which relays may be used: kept on disk, so that tunnels come back when no server is there to
 * introduce anybody (docs/protocol.md §13). All of it is a hint: whoever answers there proves who it is as always.
 */
export class LastGood {
  /** What peers signalled last, by client id: bounded by `retain`. */
  readonly #told = new Map<string, Told>();
  /** The longest unreached first. */
  readonly #reached = new Map<string, ReachedPeer>();
  #relays: readonly RelayEntry[];
  #saveAt: MonotonicMs | undefined;
  #savedAt: MonotonicMs | undefined;

  constructor({ peers, relays }: Omit<KnownWays, 'deletions'>) {
    for (const peer of peers.toSorted((a, b) => a.reachedAt - b.reachedAt)) this.#keep(peer);
    this.#relays = relays;
  }

  /** When `take` is due. */
  get saveAt(): MonotonicMs | undefined {
    return this.#saveAt;
  }

  has(clientId: string, time: WallMs): boolean {
    return this.#fresh(clientId, time) !== undefined;
  }

  /** Where to look for a peer of whom nothing newer is known. */
  recall({ clientId, identity }: Pair, time: WallMs): Told | undefined {
    const held = this.#fresh(clientId, time);
    return held?.identity === identity ? held : undefined;
  }

  /** Relays whose tickets are good. */
  relays(time: WallMs): RelayEntry[] {
    return this.#relays.filter(({ ticket }) => {
      const terms = peekDocument('relay-ticket', ticket);
      return terms !== undefined && terms.notAfter > time;
    });
  }

  setRelays(relays: readonly RelayEntry[], now: MonotonicMs): void {
    this.#relays = relays;
    this.#changed(now);
  }

  /** A peer signalled. */
  told(clientId: string, told: Told): void {
    this.#told.set(clientId, told);
  }

  /** There is a tunnel, over this path. */
  reached({ clientId, identity }: Pair, path: Path, time: WallMs, now: MonotonicMs): void {
    const held = this.#reached.get(clientId);
    const { candidates, nat } = this.#told.get(clientId) ??
      held ?? { candidates: [], nat: unknownNat };
    const peer: ReachedPeer = {
      ...{ clientId, identity, nat, reachedAt: Math.floor(time) },
      candidates: withEndpoint(candidates, path),
    };
    const isNews = held === undefined || textOf(held) !== textOf(peer);
    if (!isNews && time - held.reachedAt < refreshMs) return;
    this.#keep(peer);
    this.#changed(now);
  }

  /** Forgets what clients told who are nobody's peer any more. */
  retain(clientIds: { has(clientId: string): boolean }): void {
    for (const clientId of this.#told.keys()) {
      if (!clientIds.has(clientId)) this.#told.delete(clientId);
    }
  }

  /** Whether something is to be written now. */
  take(now: MonotonicMs): boolean {
    if (this.#saveAt === undefined || this.#saveAt > now) return false;
    this.#saveAt = undefined;
    this.#savedAt = now;
    return true;
  }

  /** As it is to be kept on disk: of those who are still members somewhere. */
  known(isMember: (identity: string) => boolean, time: WallMs): Omit<KnownWays, 'deletions'> {
    for (const [clientId, { identity, reachedAt }] of this.#reached) {
      const isOver = time - reachedAt > keptMs || !isMember(identity);
      if (isOver) this.#reached.delete(clientId);
    }
    return { peers: [...this.#reached.values()], relays: this.relays(time) };
  }

  #fresh(clientId: string, time: WallMs): ReachedPeer | undefined {
    const held = this.#reached.get(clientId);
    return held !== undefined && time - held.reachedAt <= keptMs ? held : undefined;
  }

  #keep(peer: ReachedPeer): void {
    this.#reached.delete(peer.clientId);
    this.#reached.set(peer.clientId, peer);
    forgetOldest(this.#reached, maxReachedPeers);
  }

  #changed(now: MonotonicMs): void {
    const earliest = this.#savedAt === undefined ? now : after(this.#savedAt, saveEveryMs);
    this.#saveAt ??= Math.max(after(now, saveAfterMs), earliest) as MonotonicMs;
  }
}

/** The endpoint that works goes first; a path over a relay has none. */
function withEndpoint(candidates: readonly Candidate[], { prefix, remote }: Path): Candidate[] {
  if (prefix !== undefined) return [...candidates];
  const endpoint = formatEndpoint(remote);
  const isIt = (candidate: Candidate) =>
    candidate.kind !== 'relay' && candidate.endpoint === endpoint;
  const used = candidates.find(isIt) ?? { kind: 'server-reflexive' as const, endpoint };
  const rest = candidates.filter((candidate) => !isIt(candidate));
  return [used, ...rest].slice(0, maxCandidates);
}

const textOf = ({ reachedAt: _, ...rest }: ReachedPeer): string => JSON.stringify(rest);
