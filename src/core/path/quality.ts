/**
 * What the probes of one pair tell of its quality: round-trip time, jitter and loss (protocol §7). Bounded whatever happens: a few
 * numbers, and the probes that are not settled yet.
 */
import type { MonotonicMs } from '#core/time.ts';

/** Probes whose answer may still come; of more the oldest say nothing. */
const maxOpen = 16;
/** What is lost in one go is an outage, not loss: it counts as so many at most. */
const maxRun = 3;
/** Averages run over so many samples, and over all there are before that. */
export const lossWindow = 24;
const jitterWindow = 16;
const leastJitterSamples = 8;
/** Fewer do not even say what is shown. */
const leastShown = 4;
/** So many answers in a row after a loss, and it was a single one. */
const suspectFor = 16;
/** A lost round trip costs whoever waits for it about this much (the least timeout of RFC 6298 §2.4). */
const lossCostMs = 1000;

/**
 * How much gets lost, 0 to 3: hardly anything, some, so much that a way without loss is better whatever its length, nearly half. A
 * grade is entered at its bound and left well below it.
 */
export type LossGrade = number;
const gradeBounds: readonly number[] = [0.05, 0.15, 0.45];
const leaveShare = 0.6;

interface OpenProbe {
  readonly number: number;
  readonly sentAt: MonotonicMs;
}

export class PathQuality {
  /** Smoothed; undefined before the first answer. */
  rttMs: number | undefined;
  /** Last probe of any kind. */
  sentAt: MonotonicMs | undefined;
  #open: OpenProbe[] = [];
  #sent = 0;
  #isAlive = false;
  #loss = 0;
  #settled = 0;
  #grade: LossGrade = 0;
  #sinceLoss = suspectFor;
  #jitter = 0;
  #jitterSamples = 0;
  #lastSampleMs: number | undefined;

  /** Mean difference between the round trips of probes that follow each other (RFC 3550 §6.4.1); undefined while they are few. */
  get jitterMs(): number | undefined {
    return this.#jitterSamples < leastShown ? undefined : this.#jitter;
  }

  /** The share of probes without an answer, of late; undefined while they are few. */
  get lossRate(): number | undefined {
    return this.#settled < leastShown ? undefined : this.#loss;
  }

  /** Undefined while too few probes are settled to decide by it. */
  get grade(): LossGrade | undefined {
    return this.#settled < lossWindow ? undefined : this.#grade;
  }

  /** Probes get lost, or did a moment ago: worth a closer look. */
  get isSuspect(): boolean {
    return this.#sinceLoss < suspectFor || this.#grade > 0;
  }

  /**
   * What a round trip costs whoever waits for it, in ms: the time that it takes at worst, more or less, and what a loss adds. Jitter
   * and loss count once they are known.
   */
  get costMs(): number | undefined {
    if (this.rttMs === undefined) return undefined;
    const jitterMs = this.#jitterSamples < leastJitterSamples ? 0 : this.#jitter;
    const loss = this.#settled < lossWindow ? 0 : this.#loss;
    return this.rttMs + 4 * jitterMs + loss * lossCostMs;
  }

  /** @returns the number of the probe, to be given back with its response. */
  sent(now: MonotonicMs): number {
    this.#sent += 1;
    this.sentAt = now;
    // Before the first answer a loss says nothing: a closed NAT ate the probe.
    if (this.#isAlive) {
      if (this.#open.length >= maxOpen) this.#open.shift();
      this.#open.push({ number: this.#sent, sentAt: now });
    }
    return this.#sent;
  }

  /**
   * The response to probe `number`. What was sent before it, and longer ago than `patienceMs`, is lost; while nothing is answered at
   * all the path is silent, which others judge.
   */
  answered(number: number, sentAt: MonotonicMs, patienceMs: number, now: MonotonicMs): void {
    this.#sample(Math.max(0, now - sentAt));
    const open = this.#open;
    this.#open = [];
    let run = 0;
    for (const probe of open) {
      if (probe.number === number) this.#settle(false);
      else if (probe.number > number || now - probe.sentAt <= patienceMs) this.#open.push(probe);
      else if (++run <= maxRun) this.#settle(true);
    }
    if (!this.#isAlive) this.#settle(false);
    this.#isAlive = true;
  }

  /** Nothing is answered any more: until something is, what gets lost says nothing of quality. */
  silent(): void {
    this.#isAlive = false;
    this.#open = [];
  }

  /** How many probes in a row get lost by this chance, as far as is known. */
  unlikely(chance: number): number {
    const seen = Math.min(this.#settled, lossWindow);
    // A little doubt while there are few samples.
    const loss = Math.min(0.9, (this.#loss * seen + 0.25) / (seen + 0.5));
    return Math.ceil(Math.log(chance) / Math.log(loss));
  }

  #sample(sampleMs: number): void {
    // Busy machines and cold code only ever add to a sample, so a smaller one is nearer to the truth.
    const before = this.rttMs ?? sampleMs;
    const weight = sampleMs < before ? 1 / 2 : 1 / 8;
    this.rttMs = before + weight * (sampleMs - before);
    if (this.#lastSampleMs !== undefined) {
      this.#jitterSamples += 1;
      const share = 1 / Math.min(this.#jitterSamples, jitterWindow);
      this.#jitter += share * (Math.abs(sampleMs - this.#lastSampleMs) - this.#jitter);
    }
    this.#lastSampleMs = sampleMs;
  }

  #settle(isLost: boolean): void {
    this.#settled += 1;
    this.#loss += ((isLost ? 1 : 0) - this.#loss) / Math.min(this.#settled, lossWindow);
    this.#sinceLoss = isLost ? 0 : this.#sinceLoss + 1;
    while (this.#loss >= (gradeBounds[this.#grade] ?? Infinity)) this.#grade += 1;
    while (this.#loss < (gradeBounds[this.#grade - 1] ?? 0) * leaveShare) this.#grade -= 1;
  }
}
