/**
 * Looks for a path to one peer: signals, and the simultaneous open that follows (protocol §6).
 *
 *     signal ──► candidates of the peer ──► punch, at the announced time or a moment later ──► bursts at all pairs
 *       └────────────── 1, 2, 4 … 30 s while there is no direct path and one is needed ◄──────────┘
 */
import { after, type MonotonicMs } from '#core/time.ts';
import { familyOf } from '#wire/endpoint.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import type { PathContext } from './context.ts';
import type { InUse } from './in-use.ts';
import { unknownNat } from './io.ts';
import * as limits from './limits.ts';
import type { PairTable } from './pair-table.ts';
import type { RemoteFacts } from './peer-view.ts';
import type { Prober } from './prober.ts';
import { punchOutlook, tiers } from './ranking.ts';
import type { RemoteCandidate } from './remote-candidates.ts';
import { SignalSchedule } from './signal-schedule.ts';

/** A punch this soon after another one is the same. */
const samePunchMs = 700;

export class Search {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  readonly #prober: Prober;
  readonly #use: InUse;
  readonly #signal = new SignalSchedule();
  #remote: RemoteFacts | undefined;
  #punchAt: MonotonicMs | undefined;
  #burstAt: MonotonicMs | undefined;
  #since: MonotonicMs;

  constructor(
    parts: {
      readonly context: PathContext;
      readonly peer: number;
      readonly pairs: PairTable;
      readonly prober: Prober;
      readonly use: InUse;
    },
    now: MonotonicMs,
  ) {
    this.#context = parts.context;
    this.#peer = parts.peer;
    this.#pairs = parts.pairs;
    this.#prober = parts.prober;
    this.#use = parts.use;
    this.#since = now;
  }

  /** What the peer told; undefined before it signalled. */
  get remote(): RemoteFacts | undefined {
    return this.#remote;
  }

  /** Since when a path is looked for. */
  get since(): MonotonicMs {
    return this.#since;
  }

  get punchAt(): MonotonicMs | undefined {
    return this.#punchAt;
  }

  get signalAt(): MonotonicMs | undefined {
    return this.#context.local().discovered ? this.#signal.dueAt : undefined;
  }

  /** A path is missing from now on. */
  restart(now: MonotonicMs): void {
    this.#since = now;
  }

  /** Signals after `delayMs`, and anew at short intervals. */
  signal(now: MonotonicMs, delayMs: number, gapMs?: number): void {
    this.#signal.start(now, delayMs, gapMs);
  }

  /** A path is in use that serves until a direct one is found. */
  seekDirect(now: MonotonicMs): void {
    if (this.#signal.dueAt === undefined) this.#signal.start(now, 0);
  }

  stop(): void {
    this.#signal.stop();
  }

  /** Data waits, and there is no path: signals sooner than the back-off would. */
  hasten(now: MonotonicMs): void {
    this.#signal.hasten(now, limits.signalWantedMs);
  }

  /** What the peer signalled, as far as it is believed. */
  told(candidates: readonly RemoteCandidate[], nat: NatBehaviour, now: MonotonicMs): void {
    const list = candidates.map(({ text }) => text).join();
    if (list !== this.#remote?.list) {
      if (this.#pairs.current === undefined) this.#since = now;
      // The next punch is not the one before: there is something new to try.
      this.#burstAt = undefined;
    }
    const families = new Set(candidates.map(({ endpoint }) => familyOf(endpoint.address)));
    this.#remote = { nat, candidates: candidates.length, families, list };
  }

  /** The peer signalled, so that a punch is about to begin. */
  expectPunch(now: MonotonicMs): void {
    // Without an announced time (a lost message) both sides begin a moment later all the same.
    this.#punchAt ??= after(now, limits.punchFallbackMs);
    this.#signal.postpone(after(now, limits.signalAfterPunchMs));
    const offeredAt = this.#signal.sentAt;
    const isAnswer = offeredAt !== undefined && now - offeredAt < limits.signalWantedMs;
    if (!this.#use.isSearching) return;
    // One packet at once to every new address, so that the own NAT is open in time. Whoever offered knows that the other side is about
    // to begin too; but its NAT may not be open yet, and some routers mistake what comes before that (protocol §6).
    for (const pair of this.#pairs.values()) {
      const isNew = pair.state.name === 'waiting' && pair.probesSent === 0;
      if (!isNew || pair.relay !== undefined) continue;
      const isClosed = pair.tier === tiers.public && !isOpen(this.#remote?.nat);
      if (isClosed) this.#prober.open(pair, this.#use.liveness, now);
      else if (isAnswer) this.#prober.probe(pair, this.#use.liveness, now);
    }
  }

  punch(inMs: number, now: MonotonicMs): void {
    if (this.#burstAt !== undefined && now - this.#burstAt < samePunchMs) return;
    this.#punchAt = after(now, Math.min(Math.max(0, inMs), limits.maxPunchDelayMs));
    this.#signal.postpone(after(this.#punchAt, limits.signalAfterPunchMs));
  }

  /** Tries the addresses that are known, unless a punch is due anyway. */
  punchAlone(now: MonotonicMs, delayMs: number): void {
    this.#punchAt ??= after(now, delayMs);
  }

  wakePunch(now: MonotonicMs): void {
    if (this.#punchAt !== undefined && this.#punchAt <= now) this.beginBursts(now);
  }

  beginBursts(now: MonotonicMs): void {
    this.#punchAt = undefined;
    this.#burstAt = now;
    this.#prober.beginBursts(this.#use.isSearching, this.#use.liveness, now);
  }

  wakeSignal(now: MonotonicMs): void {
    const { dueAt } = this.#signal;
    const { connected, discovered } = this.#context.local();
    if (!discovered || dueAt === undefined || dueAt > now) return;
    this.#signal.sent(now, this.#context.chance(), this.#signalMostMs());
    this.#context.emit({ type: 'signal-wanted', peer: this.#peer });
    if (!this.#use.isSearching) this.#signal.stop();
    // The answer may not come: then at least the addresses known are tried again.
    else if (this.#remote !== undefined) {
      this.punchAlone(now, connected ? limits.punchFallbackMs : 0);
    }
  }

  #signalMostMs(): number {
    if (this.#use.pair === undefined || this.#use.isDoubted) return limits.signalMostMs;
    const outlook = punchOutlook(this.#context.local().nat, this.#remote?.nat ?? unknownNat);
    const isNeeded = this.#context.isKept(this.#peer) && outlook !== 'impossible';
    return isNeeded ? limits.signalRelayedMostMs : limits.signalHopelessMostMs;
  }
}

/** Whoever sends there is let in, whatever was sent from there before. */
const isOpen = (nat: NatBehaviour = unknownNat): boolean =>
  nat.filtering === 'none' || nat.filtering === 'endpoint-independent';
