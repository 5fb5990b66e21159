import { after, type MonotonicMs } from '#core/time.ts';
import { TokenBucket } from './budget.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathContext } from './context.ts';
import * as limits from './limits.ts';
import type { Liveness } from './liveness.ts';
import type { PairTable } from './pair-table.ts';
import { minRttSamples } from './ranking.ts';

/** Triggered probes of one pair are never closer than this. */
const triggerMs = 100;
/** A spare pair is measured at this pace until its round-trip time means something. */
const measureMs = 1000;

/** Sends the probes of one peer, within the budgets. */
export class Prober {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  readonly #newAddresses = new TokenBucket(
    limits.newAddressesPerMinute / 60,
    limits.newAddressesBurst,
  );
  /** The rate of all probes was spent: nothing before then. */
  #retryAt: MonotonicMs | undefined;

  constructor(context: PathContext, peer: number, pairs: PairTable) {
    this.#context = context;
    this.#peer = peer;
    this.#pairs = pairs;
  }

  /** Sends what is due. */
  wake(liveness: Liveness, now: MonotonicMs): void {
    this.#retryAt = undefined;
    const kept = this.#context.isKept(this.#peer);
    const spare = kept ? this.#pairs.spare() : undefined;
    for (const pair of this.#pairs.values()) {
      const dueAt = this.#dueAt(pair, liveness, { kept, spare, now });
      if (dueAt !== undefined && dueAt <= now && !this.probe(pair, liveness, now)) return;
    }
  }

  deadline(liveness: Liveness, now: MonotonicMs): MonotonicMs | undefined {
    const kept = this.#context.isKept(this.#peer);
    const spare = kept ? this.#pairs.spare() : undefined;
    let earliest: MonotonicMs | undefined;
    for (const pair of this.#pairs.values()) {
      const dueAt = this.#dueAt(pair, liveness, { kept, spare, now });
      if (dueAt !== undefined && (earliest === undefined || dueAt < earliest)) earliest = dueAt;
    }
    if (earliest === undefined || this.#retryAt === undefined) return earliest;
    return earliest > this.#retryAt ? earliest : this.#retryAt;
  }

  /** Sends a request on the pair. False when the rate of all probes is spent; what was due stays due then. */
  probe(pair: CandidatePair, liveness: Liveness, now: MonotonicMs): boolean {
    const inUse = pair === this.#pairs.current;
    const proving = pair.state.name !== 'answered';
    const waitMs = this.#context.probes.waitMs(now, proving ? limits.probesReserved : 0);
    if (waitMs > 0) {
      this.#retryAt = after(now, waitMs);
      return false;
    }
    if (inUse) liveness.probed();
    if (this.#mayProbe(pair, now)) {
      this.#context.probes.take(now);
      this.#context.sendRequest(this.#peer, pair, inUse);
      pair.announced ||= !proving;
    } else this.#context.count('probesWithheld', 1);
    const burstDueAt = pair.burstDueAt();
    if (burstDueAt !== undefined && burstDueAt <= now) pair.stepBurst(now);
    return true;
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
      if (pair.state.name !== 'answered') {
        const whole = pair.rttMs !== undefined || pair.probesSent <= 1;
        pair.startBurst(now, whole ? limits.burstOffsetsMs : limits.laterBurstOffsetsMs);
      } else if (searching && pair.unanswered === 0) this.probe(pair, liveness, now);
    }
  }

  #dueAt(
    pair: CandidatePair,
    liveness: Liveness,
    role: { kept: boolean; spare: CandidatePair | undefined; now: MonotonicMs },
  ): MonotonicMs | undefined {
    if (pair === this.#pairs.current) return liveness.probeDueAt(pair, role.now, role.kept);
    if (pair.state.name === 'probing') return pair.burstDueAt();
    if (pair.state.name !== 'answered' || pair.probedAt === undefined) return undefined;
    if (pair.unanswered > 0 || !pair.proven || !pair.announced) {
      return after(pair.probedAt, pair.patienceMs);
    }
    if (pair !== role.spare) return undefined;
    if (pair.rttSamples < minRttSamples) return after(pair.probedAt, measureMs);
    return pair.keepaliveAt(undefined);
  }

  #mayProbe(pair: CandidatePair, now: MonotonicMs): boolean {
    const { addresses } = this.#context;
    if (!addresses.known(pair.endpoint) && !this.#newAddresses.take(now)) return false;
    return addresses.take(pair.endpoint, now);
  }
}
