import { assert } from '#core/errors.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import type { CandidateKind } from '#wire/signal.ts';
import {
  doubtAfter,
  doubtAfterMost,
  lostAfter,
  lostAfterMost,
  silenceMs,
  silentAfter,
} from './limits.ts';
import type { Path } from './path.ts';
import type { PathMtu } from './path-mtu.ts';
import { type LossGrade, PathQuality } from './quality.ts';
import { directTier, type Rankable, relayTier, type Tier } from './ranking.ts';
import type { RelayPath } from './relay-path.ts';

/** How a remote address became known: signalled, or learnt from an authenticated packet (RFC 8445 §4). */
export type RemoteKind = CandidateKind | 'peer-reflexive';

/**
 * ```
 *          punch, trigger             response
 *  waiting ──────────────► probing ──────────────► answered
 *     ▲                     │   ▲                     │
 *     └─────────────────────┘   └──── punch ── failed ◄┘ probes unanswered
 *           burst spent
 * ```
 * A pair is *proven*, and may be used, when it is answered and the peer says the same of it.
 */
export type PairState =
  | { readonly name: 'waiting' }
  | { readonly name: 'probing'; readonly since: MonotonicMs; readonly offsetsMs: readonly number[] }
  | { readonly name: 'answered'; readonly since: MonotonicMs }
  | { readonly name: 'failed'; readonly since: MonotonicMs };

export const pairKey = (socket: number, remote: Endpoint): string =>
  `${socket} ${formatEndpoint(remote)}`;

export const relayKey = (relay: string): string => `relay ${relay}`;

/** A local socket and a remote address, or a relay: what was tried between them, and how it went. */
export class CandidatePair implements Rankable {
  readonly key: string;
  kind: RemoteKind;
  state: PairState = { name: 'waiting' };
  /** The peer has had a response here. */
  peerProven = false;
  /** The peer sends its data here. */
  peerUsing = false;
  /** We have told the peer that we had a response. */
  announced = false;
  /** Last authenticated sign of the peer on this pair. */
  heardAt: MonotonicMs | undefined;
  probedAt: MonotonicMs | undefined;
  /** Probes sent since the peer was last heard here. */
  unanswered = 0;
  rttSamples = 0;
  readonly quality = new PathQuality();
  /** Of a pair that was in use. */
  mtu: PathMtu | undefined;
  #path: Path;
  #relay: RelayPath | undefined;
  #endpoint: string;
  #tier: Tier;
  #leftAt: MonotonicMs | undefined;
  #strikes = 0;
  #distrustedUntil: MonotonicMs | undefined;
  #distrusts = 0;
  /** When a proof of this direct pair was last lost. */
  #lostAt: MonotonicMs | undefined;
  /** Next step of the burst. */
  #step = 0;
  #probes = 0;

  constructor(path: Path, kind: RemoteKind, relay?: RelayPath) {
    this.#path = path;
    this.#relay = relay;
    this.#endpoint = relay?.label ?? formatEndpoint(path.remote);
    this.#tier = relay === undefined ? directTier(path.remote.address) : relayTier(relay);
    this.key = relay === undefined ? pairKey(path.socket, path.remote) : relayKey(relay.relay);
    this.kind = kind;
  }

  get path(): Path {
    return this.#path;
  }

  /** The relay that this pair goes over. */
  get relay(): RelayPath | undefined {
    return this.#relay;
  }

  /** The remote endpoint in text; of a relayed pair the relay's. */
  get endpoint(): string {
    return this.#endpoint;
  }

  /**
   * The same way: this pair, or the peer's socket at another port of its NAT. To ask there tells nothing new, and some NATs send from
   * the port that was asked last, so that both sides would go after what is only kept ready.
   */
  isAs(other: CandidatePair): boolean {
    if (this === other) return true;
    if (this.#relay !== undefined || other.#relay !== undefined) return false;
    const [{ socket, remote }, there] = [this.#path, other.#path];
    return socket === there.socket && remote.address === there.remote.address;
  }

  get tier(): Tier {
    return this.#tier;
  }

  /** The relay is reached in another way now. What is known of the peer's side of it holds. */
  reroute(path: Path, relay: RelayPath): void {
    if (relay.transport !== this.#relay?.transport) this.mtu = undefined;
    this.#path = path;
    this.#relay = relay;
    this.#endpoint = relay.label;
    this.#tier = relayTier(relay);
  }

  /** It was left because it was silent or lost too much: the oftener, the longer it has to be well before it is preferred again. */
  leftBad(now: MonotonicMs, strikes = 1): void {
    const isRepeated = this.#leftAt !== undefined && now - this.#leftAt < strikeMemoryMs;
    this.#strikes = Math.min((isRepeated ? this.#strikes : 0) + strikes, maxStrikes);
    this.#leftAt = now;
  }

  /** Our own network has changed: what it did to this pair before says nothing. */
  acquit(): void {
    this.#strikes = 0;
    this.#leftAt = undefined;
  }

  /** Not to be preferred yet. */
  isOnProbation(now: MonotonicMs): boolean {
    if (this.#leftAt === undefined || this.#strikes < 2) return false;
    return now - this.#leftAt < probationMs * 2 ** (this.#strikes - 2);
  }

  /** Data does not get through here, whatever probes say: the oftener, the longer it is not used. */
  distrust(now: MonotonicMs): void {
    this.#distrustedUntil = after(now, distrustMs * 2 ** this.#distrusts);
    this.#distrusts = Math.min(this.#distrusts + 1, maxDistrusts);
  }

  get isDistrusted(): boolean {
    return this.#distrustedUntil !== undefined;
  }

  /** Ends a distrust whose time is over; without a time any. */
  trust(now?: MonotonicMs): void {
    const until = this.#distrustedUntil;
    if (until !== undefined && (now === undefined || until <= now)) {
      this.#distrustedUntil = undefined;
    }
  }

  get proven(): boolean {
    return this.state.name === 'answered' && this.peerProven;
  }

  get probesSent(): number {
    return this.#probes;
  }

  /** Asked often enough, and never answered or not any more. */
  get isSilent(): boolean {
    return this.state.name !== 'answered' && this.#probes >= silentAfter;
  }

  startBurst(at: MonotonicMs, offsetsMs: readonly number[]): void {
    this.state = { name: 'probing', since: at, offsetsMs };
    this.#step = 0;
  }

  /** When the next probe of the burst is due; undefined when none runs. */
  burstDueAt(): MonotonicMs | undefined {
    if (this.state.name !== 'probing') return undefined;
    const offsetMs = this.state.offsetsMs[this.#step];
    return offsetMs === undefined ? undefined : after(this.state.since, offsetMs);
  }

  /** Counts one step of the burst, whether a probe left or was held back. */
  stepBurst(now: MonotonicMs): void {
    assert(this.state.name === 'probing', 'a step belongs to a burst');
    this.#step += 1;
    // A late step pushes the rest back: a queue of due probes must not leave at once.
    const dueAt = this.burstDueAt();
    if (dueAt === undefined) this.state = { name: 'waiting' };
    else if (dueAt <= now) {
      this.state = { ...this.state, since: after(this.state.since, now - dueAt + minStepMs) };
    }
  }

  /** @returns the number of the probe, to be given back with its response. */
  probeSent(now: MonotonicMs): number {
    this.probedAt = now;
    this.unanswered += 1;
    this.#probes += 1;
    return this.quality.sent(now);
  }

  /** The response to probe `number`, sent at `sentAt`. True when this is the first proof. */
  responseReceived(number: number, sentAt: MonotonicMs, now: MonotonicMs): boolean {
    this.quality.answered(number, sentAt, this.patienceMs, now);
    this.rttSamples += 1;
    this.heard(now);
    if (this.state.name === 'answered') return false;
    this.state = { name: 'answered', since: now };
    return true;
  }

  heard(now: MonotonicMs): void {
    this.heardAt = now;
    this.unanswered = 0;
  }

  /** How long ago a direct pair that was proven was lost; undefined unless it is waited for to come back. */
  lostForMs(now: MonotonicMs): number | undefined {
    const isSilent = this.state.name === 'failed' || this.state.name === 'waiting';
    return isSilent && this.#lostAt !== undefined ? now - this.#lostAt : undefined;
  }

  /** What was proven no longer counts; the round-trip time is kept as a guess. */
  fail(now: MonotonicMs): void {
    if (this.proven && this.#relay === undefined) this.#lostAt = now;
    this.state = { name: 'failed', since: now };
    this.peerProven = false;
    this.peerUsing = false;
    this.announced = false;
    this.unanswered = 0;
    this.rttSamples = 0;
    this.quality.silent();
  }

  get rttMs(): number | undefined {
    return this.quality.rttMs;
  }

  get costMs(): number | undefined {
    return this.quality.costMs;
  }

  get grade(): LossGrade | undefined {
    return this.quality.grade;
  }

  /** How long an answer may take before its absence means something. */
  get patienceMs(): number {
    return Math.max(3 * (this.rttMs ?? 0), silenceMs);
  }

  /** The last probe has been unanswered for longer than an answer takes. */
  overdue(now: MonotonicMs): boolean {
    return (
      this.unanswered > 0 && this.probedAt !== undefined && now >= this.probedAt + this.patienceMs
    );
  }

  /** Unanswered probes after which the pair is doubted. */
  get doubtAfter(): number {
    return clamp(this.quality.unlikely(doubtChance), doubtAfter, doubtAfterMost);
  }

  /** Unanswered probes after which the pair is dead: more where loss is normal, so that a lossy path is kept. */
  get lostAfter(): number {
    return clamp(this.quality.unlikely(lostChance), lostAfter, lostAfterMost);
  }

  /** When the mapping on the way wants to be refreshed, given when something was last sent. */
  keepaliveAt(sentAt: MonotonicMs | undefined, everyMs: number): MonotonicMs | undefined {
    const last = Math.max(sentAt ?? -Infinity, this.probedAt ?? -Infinity);
    return last === -Infinity ? undefined : after(last as MonotonicMs, everyMs);
  }
}

/** Being left again within the former is held against a pair: 5, 10, 20 … 320 s. */
const strikeMemoryMs = 600_000;
const probationMs = 5000;
const maxStrikes = 8;
/** 5, 10, 20, 40, 80 minutes. */
const distrustMs = 300_000;
const maxDistrusts = 4;
/** Steps of a burst are never closer than this, however late they are. */
const minStepMs = 50;
/** By chance alone a path is doubted once in so many rounds, and given up once in so many. */
const doubtChance = 0.02;
const lostChance = 1e-5;

const clamp = (value: number, least: number, most: number) =>
  Math.min(most, Math.max(least, value));
