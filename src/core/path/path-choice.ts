/**
 * Takes the best proven pair of one peer into use, and draws the conclusions from its silence (protocol §7). The states are those of
 * `UseState`, the rules of choice those of `choosePair`.
 */
import { after, type MonotonicMs } from '#core/time.ts';
import type { Aliveness } from './aliveness.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathContext } from './context.ts';
import type { InUse } from './in-use.ts';
import * as limits from './limits.ts';
import type { MtuWatch } from './mtu-watch.ts';
import type { PairTable } from './pair-table.ts';
import type { Prober } from './prober.ts';
import { isDirect, isEnding } from './ranking.ts';
import type { RelayWants } from './relay-wants.ts';
import type { Search } from './search.ts';
import { Challenge, choosePair } from './selection.ts';
import type { Starvation } from './starvation.ts';

/** Unanswered probes after which a proven pair that is not in use no longer counts as proven. */
const spareLostAfter = 3;
/** So long an answered pair waits for the peer to say the same. */
const confirmMs = 5000;
/** A path that nobody keeps open is given up after so many keepalives were due. */
const lapseKeepalives = 1.5;

/** Loss that was bad for half a minute is not over as soon as silence is. */
const lossStrikes = 3;

export interface ChoiceParts {
  readonly context: PathContext;
  readonly peer: number;
  readonly leads: boolean;
  readonly pairs: PairTable;
  readonly prober: Prober;
  readonly mtu: MtuWatch;
  readonly relayWants: RelayWants;
  readonly aliveness: Aliveness;
  readonly use: InUse;
  readonly search: Search;
  readonly starvation: Starvation;
}

export class PathChoice {
  readonly #parts: ChoiceParts;
  readonly #context: PathContext;
  readonly #pairs: PairTable;
  readonly #use: InUse;
  readonly #search: Search;
  readonly #challenge = new Challenge();

  constructor(parts: ChoiceParts) {
    this.#parts = parts;
    this.#context = parts.context;
    this.#pairs = parts.pairs;
    this.#use = parts.use;
    this.#search = parts.search;
  }

  choose(now: MonotonicMs): void {
    const { leads } = this.#parts;
    const role = { leads, usedSince: this.#use.since, challenge: this.#challenge };
    const pair = choosePair(this.#pairs, role, now);
    if (pair !== undefined) this.#take(pair, now);
  }

  /** Draws the conclusions from silence. */
  judge(now: MonotonicMs): void {
    const { current } = this.#pairs;
    for (const pair of this.#pairs.values()) {
      pair.trust(now);
      if (pair === current || pair.state.name !== 'answered') continue;
      const silent = pair.unanswered >= spareLostAfter && pair.overdue(now);
      if (silent || (!pair.peerProven && now - pair.state.since > confirmMs)) pair.fail(now);
    }
    if (current === undefined) return;
    const lapseAt = this.lapseAt();
    if (lapseAt !== undefined && lapseAt <= now) this.#lapse();
    const verdict = this.#use.liveness.verdict(current, now);
    switch (verdict) {
      case 'live':
        this.#judgeData(current, now);
        break;
      case 'quiet':
        this.#askSpares(now);
        this.choose(now);
        break;
      case 'doubtful':
        if (!this.#use.isDoubted) this.#doubt(current, now);
        this.choose(now);
        break;
      case 'lost':
        this.lose(now);
        break;
      default:
        verdict satisfies never;
    }
  }

  /** Something authenticated came over the path in use. */
  heard(now: MonotonicMs, isPadded: boolean): void {
    const endsDoubt = this.#use.heard();
    if (!isPadded) this.#parts.mtu.heard(now);
    if (endsDoubt && !this.#use.isSearching) this.#search.stop();
  }

  lose(now: MonotonicMs): void {
    const { peer, aliveness } = this.#parts;
    this.#pairs.current?.leftBad(now);
    this.#pairs.current?.fail(now);
    this.#use.lose();
    this.#search.restart(now);
    this.#context.count('pathsLost', 1);
    this.choose(now);
    if (this.#use.pair === undefined) this.#trustAll(now);
    if (this.#use.pair !== undefined) return;
    this.#parts.relayWants.look(now);
    this.#context.emit({ type: 'path', peer, path: undefined });
    aliveness.pathLost();
    this.#search.signal(now, 0);
    this.#search.punchAlone(now, limits.punchFallbackMs);
  }

  /** When the mappings of a direct path that nobody keeps open are given up for the relay. */
  lapseAt(): MonotonicMs | undefined {
    const { current } = this.#pairs;
    const { heardAt } = current ?? {};
    if (current?.relay !== undefined || heardAt === undefined) return undefined;
    if (this.#context.isKept(this.#parts.peer)) return undefined;
    if (this.#pairs.best(isRelayed) === undefined) return undefined;
    return after(heardAt, lapseKeepalives * this.#context.keepaliveMs());
  }

  /** When data over a relay has been without any answer for too long. */
  starvedAt(): MonotonicMs | undefined {
    const { current } = this.#pairs;
    if (current?.relay === undefined) return undefined;
    return this.#parts.starvation.dueAt((current.quality.lossRate ?? 0) > 0.01);
  }

  /** There is traffic again: directly, if that still works or can be made to. */
  resume(now: MonotonicMs): void {
    this.#use.resume(now);
    this.#seekDirect(now);
    this.#search.beginBursts(now);
  }

  /** The relay in use is reached in another way, or is about to end: then it is left while it still forwards. */
  rerouted(current: CandidatePair, now: MonotonicMs): void {
    this.emitPath(current);
    this.#use.check(now);
    if (!isEnding(current)) return;
    this.#askSpares(now);
    this.choose(now);
  }

  emitPath(pair: CandidatePair): void {
    const { peer, mtu } = this.#parts;
    this.#context.emit({ type: 'path', peer, path: mtu.path(pair) });
  }

  #take(pair: CandidatePair, now: MonotonicMs): void {
    const before = this.#pairs.current;
    this.#context.count(before === undefined ? 'pathsFound' : 'pathsChanged', 1);
    if (before?.overdue(now) === true) before.leftBad(now);
    else if (before !== undefined && isWorse(before, pair)) before.leftBad(now, lossStrikes);
    if (pair.relay !== undefined && before?.relay === undefined) this.#search.restart(now);
    this.#use.take(pair, now);
    this.#parts.starvation.end();
    if (pair.relay === undefined) this.#search.stop();
    else this.#seekDirect(now);
    this.#context.touch(this.#parts.peer);
    this.emitPath(pair);
    this.#parts.aliveness.pathFound();
    if (pair.heardAt === undefined || now - pair.heardAt > confirmMs) this.#use.check(now);
  }

  /** Another way is taken, if there is one; else there is nothing to lose by this one. */
  #judgeData(current: CandidatePair, now: MonotonicMs): void {
    const starvedAt = this.starvedAt();
    if (starvedAt === undefined || starvedAt > now) return;
    this.#parts.starvation.end();
    const other = this.#pairs.best((pair) => pair !== current);
    if (other === undefined) return;
    current.distrust(now);
    this.#context.count('pathsDistrusted', 1);
    this.#take(other, now);
  }

  /** What is left is better than nothing. */
  #trustAll(now: MonotonicMs): void {
    for (const pair of this.#pairs.values()) pair.trust();
    this.choose(now);
  }

  /** Whoever answers is there to take over when the doubt grows. */
  #askSpares(now: MonotonicMs): void {
    for (const pair of this.#pairs.values()) {
      if (pair === this.#pairs.current || !pair.proven || pair.unanswered > 0) continue;
      this.#parts.prober.probe(pair, this.#use.liveness, now);
    }
  }

  #doubt({ relay }: CandidatePair, now: MonotonicMs): void {
    this.#use.doubt();
    if (relay !== undefined) this.#context.emit({ type: 'relay-doubted', relay: relay.relay });
    this.#search.signal(now, 0);
    this.#search.beginBursts(now);
  }

  /** The relay carries the traffic meanwhile. */
  #seekDirect(now: MonotonicMs): void {
    this.#parts.relayWants.look(now);
    this.#search.seekDirect(now);
  }

  /** So that what is sent next does not get lost in a NAT that has forgotten us: it goes over the relay. */
  #lapse(): void {
    const relayed = this.#pairs.best(isRelayed);
    if (relayed === undefined) return;
    this.#context.count('pathsLapsed', 1);
    this.#use.lapse(relayed);
    this.#search.stop();
    this.emitPath(relayed);
  }
}

/** It is left because of what it loses, and not because there is something better again. */
const isWorse = (left: CandidatePair, taken: CandidatePair): boolean =>
  (left.grade ?? 0) > 0 && (isDirect(left) || !isDirect(taken));

const isRelayed = (pair: CandidatePair): boolean => pair.relay !== undefined;
