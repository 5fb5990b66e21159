import { after, type MonotonicMs } from '#core/time.ts';
import { type ProbeLine, TokenBucket } from './budget.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathContext } from './context.ts';
import * as limits from './limits.ts';
import type { Liveness } from './liveness.ts';
import type { PairTable } from './pair-table.ts';
import { minRttSamples } from './ranking.ts';
import { recovering, recoveryAt } from './recovery.ts';

/** Triggered probes of one pair are never closer than this. */
const triggerMs = 100;
/** A spare pair is measured at this pace until its round-trip time means something. */
const measureMs = 1000;

interface Role {
  readonly now: MonotonicMs;
  /** The peer is among those whose mappings are kept open. */
  readonly kept: boolean;
  readonly spare: CandidatePair | undefined;
  /** Direct pairs that are waited for to come back, while a relay carries the traffic. */
  readonly lost: ReadonlySet<CandidatePair>;
}

const none: ReadonlySet<CandidatePair> = new Set();

const lineOf = (pair: CandidatePair): ProbeLine =>
  pair.state.name === 'answered' ? 'use' : 'find';

/** Sends the probes of one peer, within the budgets. */
export class Prober {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  readonly #newAddresses = new TokenBucket(
    limits.newAddressesPerMinute / 60,
    limits.newAddressesBurst,
  );
  /** The rate of all probes was spent: our next turn, of each line. */
  readonly #turn: Record<ProbeLine, MonotonicMs | undefined> = { use: undefined, find: undefined };

  constructor(context: PathContext, peer: number, pairs: PairTable) {
    this.#context = context;
    this.#peer = peer;
    this.#pairs = pairs;
  }

  /** Sends what is due. */
  wake(liveness: Liveness, now: MonotonicMs): void {
    const role = this.#role(now);
    for (const pair of this.#pairs.values()) {
      const dueAt = this.#dueAt(pair, liveness, role);
      if (dueAt !== undefined && dueAt <= now) this.probe(pair, liveness, now);
    }
  }

  deadline(liveness: Liveness, now: MonotonicMs): MonotonicMs | undefined {
    const role = this.#role(now);
    let earliest: MonotonicMs | undefined;
    for (const pair of this.#pairs.values()) {
      const dueAt = this.#dueAt(pair, liveness, role);
      if (dueAt === undefined) continue;
      const turn = this.#turn[lineOf(pair)];
      const at = turn !== undefined && turn > dueAt ? turn : dueAt;
      if (earliest === undefined || at < earliest) earliest = at;
    }
    return earliest;
  }

  /** Opens the own NAT for a pair, by a packet that does not get as far as the other one. */
  open(pair: CandidatePair, liveness: Liveness, now: MonotonicMs): void {
    this.probe(pair, liveness, now, limits.openerTtl);
  }

  /** Sends a request on the pair, if the budgets allow it; what was due and must wait for its turn stays due. */
  probe(pair: CandidatePair, liveness: Liveness, now: MonotonicMs, ttl?: number): void {
    const inUse = pair === this.#pairs.current;
    const line = lineOf(pair);
    const turn = this.#turn[line];
    if (turn !== undefined && turn > now) return;
    this.#turn[line] = this.#context.gate.enter(line, turn !== undefined, now);
    if (this.#turn[line] !== undefined) return;
    if (inUse) liveness.probed();
    if (this.#mayProbe(pair, now)) {
      this.#context.sendRequest(this.#peer, pair, inUse, ttl);
      pair.announced ||= pair.state.name === 'answered';
    } else this.#context.count('probesWithheld', 1);
    const burstDueAt = pair.burstDueAt();
    if (burstDueAt !== undefined && burstDueAt <= now) pair.stepBurst(now);
  }

  /** Asks back at once where the peer's packets come from (RFC 8445 §7.3.1.4). */
  trigger(pair: CandidatePair, liveness: Liveness, now: MonotonicMs): void {
    if (pair.probedAt !== undefined && now - pair.probedAt < triggerMs) return;
    if (pair.state.name === 'waiting' || pair.state.name === 'failed') {
      pair.startBurst(now, limits.laterBurstOffsetsMs);
    }
    this.probe(pair, liveness, now);
  }

  /** Begins a burst on every pair that has no answer; asks the answered ones again when `searching`. */
  beginBursts(searching: boolean, liveness: Liveness, now: MonotonicMs): void {
    for (const pair of this.#pairs.values()) {
      if (pair === this.#pairs.current) continue;
      if (pair.relay !== undefined && pair.state.name !== 'answered') {
        this.askRelay(pair, now);
      } else if (pair.state.name !== 'answered') {
        const whole = pair.rttMs !== undefined || pair.probesSent <= 1;
        pair.startBurst(now, whole ? limits.burstOffsetsMs : limits.laterBurstOffsetsMs);
      } else if (searching && pair.unanswered === 0) this.probe(pair, liveness, now);
    }
  }

  keepaliveMs({ relay }: CandidatePair): number {
    return relay === undefined ? this.#context.keepaliveMs() : limits.relayKeepaliveMs;
  }

  /** A burst at one relay pair that has no answer. */
  askRelay(pair: CandidatePair, now: MonotonicMs): void {
    if (pair.state.name === 'answered' || pair.state.name === 'probing') return;
    pair.startBurst(now, limits.relayBurstOffsetsMs);
  }

  #role(now: MonotonicMs): Role {
    const kept = this.#context.isKept(this.#peer);
    const isRelayed = kept && this.#pairs.current?.relay !== undefined;
    const lost = isRelayed ? recovering(this.#pairs.values(), now) : none;
    return { now, kept, spare: kept ? this.#pairs.spare() : undefined, lost };
  }

  #dueAt(pair: CandidatePair, liveness: Liveness, role: Role): MonotonicMs | undefined {
    if (pair === this.#pairs.current) {
      return liveness.probeDueAt(pair, role.now, role.kept ? this.keepaliveMs(pair) : undefined);
    }
    if (pair.state.name === 'probing') return pair.burstDueAt();
    if (role.lost.has(pair)) return recoveryAt(pair, role.now);
    if (pair.state.name !== 'answered' || pair.probedAt === undefined) return undefined;
    if (pair.unanswered > 0 || !pair.proven || !pair.announced) {
      return after(pair.probedAt, pair.patienceMs);
    }
    if (pair !== role.spare) return undefined;
    if (pair.rttSamples < minRttSamples) return after(pair.probedAt, measureMs);
    return pair.keepaliveAt(undefined, this.keepaliveMs(pair));
  }

  #mayProbe(pair: CandidatePair, now: MonotonicMs): boolean {
    const { addresses } = this.#context;
    // It goes to a relay that gave us an allocation, and from there to the peer alone.
    if (pair.relay !== undefined) return true;
    if (!addresses.known(pair.endpoint) && !this.#newAddresses.take(now)) return false;
    return addresses.take(pair.endpoint, now);
  }
}
