/**
 * When paths are measured: only while there is traffic, the one in use and what could replace it (protocol §7). A measuring probe is
 * spare: it stands back behind all others, and says nothing of whether the path is alive.
 */
import { after, type MonotonicMs } from '#core/time.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathContext } from './context.ts';
import type { PairTable } from './pair-table.ts';
import { isDirect } from './ranking.ts';

/** Without data sent for so long, nor several packets received, there is no traffic. */
const trafficMs = 2000;
/** The path in use while it is well; what may take over from a relay; anything while the path in use loses packets; other ones. */
const steadyMs = 1000;
const rivalMs = 500;
const suspectMs = 250;
const restMs = 5000;

export class Measuring {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  #trafficAt: MonotonicMs | undefined;
  #receivedAt: MonotonicMs | undefined;
  #dueAt: MonotonicMs | undefined;

  constructor(context: PathContext, peer: number, pairs: PairTable) {
    this.#context = context;
    this.#peer = peer;
    this.#pairs = pairs;
  }

  sent(now: MonotonicMs): void {
    this.#trafficAt = now;
    this.#dueAt ??= now;
  }

  /** One packet alone may be a keepalive. */
  received(now: MonotonicMs): void {
    if (this.#receivedAt !== undefined && now - this.#receivedAt < trafficMs) this.sent(now);
    this.#receivedAt = now;
  }

  deadline(): MonotonicMs | undefined {
    return this.#dueAt;
  }

  wake(now: MonotonicMs): void {
    if (this.#dueAt === undefined || this.#dueAt > now) return;
    this.#dueAt = undefined;
    const { current } = this.#pairs;
    const hasTraffic = this.#trafficAt !== undefined && now - this.#trafficAt < trafficMs;
    if (current === undefined || !hasTraffic) return;
    const everyMs = current.quality.isSuspect ? suspectMs : steadyMs;
    const dueAt = [this.#measure(current, everyMs, now)];
    for (const pair of this.#rivals(current)) {
      dueAt.push(this.#measure(pair, paceMs(pair, current), now));
    }
    this.#dueAt = Math.min(...dueAt) as MonotonicMs;
  }

  /** What could take over: the best other direct way, and the best other relay while one of these may be wanted. */
  #rivals(current: CandidatePair): CandidatePair[] {
    const isOther = (pair: CandidatePair) => !pair.isAs(current) && pair.unanswered === 0;
    const direct = this.#pairs.best((pair) => isOther(pair) && isDirect(pair));
    const isWanted = !isDirect(current) || current.quality.isSuspect;
    const relayed = isWanted
      ? this.#pairs.best((pair) => isOther(pair) && !isDirect(pair))
      : undefined;
    return [direct, relayed].filter((pair) => pair !== undefined);
  }

  /** Sends a probe if that is due; returns when the next one is. */
  #measure(pair: CandidatePair, everyMs: number, now: MonotonicMs): MonotonicMs {
    const { sentAt } = pair.quality;
    if (sentAt !== undefined && now - sentAt < everyMs) return after(sentAt, everyMs);
    if (this.#context.mayMeasure(now)) {
      this.#context.sendMeasuring(this.#peer, pair, pair === this.#pairs.current);
      pair.announced ||= pair.state.name === 'answered';
    }
    return after(now, everyMs);
  }
}

function paceMs(pair: CandidatePair, current: CandidatePair): number {
  if (current.quality.isSuspect) return suspectMs;
  return isDirect(pair) && !isDirect(current) ? rivalMs : restMs;
}
