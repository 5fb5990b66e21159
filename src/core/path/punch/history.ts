/** What came of attempts with each peer, in words, and when the next one is due because of it. */
import type { MonotonicMs } from '#core/time.ts';
import { type Attempt, describeOutcome, describeRefusal, type PunchOutcome } from './attempt.ts';
import { PunchSchedule } from './schedule.ts';

/** Refusals whose reasons pass soon. */
const passing: ReadonlySet<string> = new Set([
  'busy',
  'crossed',
  'direct',
  'not-ready',
  'too-soon',
]);

/** By refusing, the other side has asked the server for what was missing, or has told what its NAT is. */
const correctable: ReadonlySet<string> = new Set(['disagree', 'unproven']);

export class PunchHistory {
  readonly schedule = new PunchSchedule();
  /** How the last attempt with a peer went. */
  readonly #told = new Map<number, string>();

  /** How the last attempt went, and when the next one is due. */
  explain(peer: number, now: MonotonicMs): string | undefined {
    const dueAt = this.schedule.dueAt(peer);
    const inS = dueAt === undefined ? 0 : Math.ceil((dueAt - now) / 1000);
    const next = inS > 0 ? `next try in ${inS} s` : undefined;
    const parts = [this.#told.get(peer), next].filter((part) => part !== undefined);
    return parts.length === 0 ? undefined : parts.join('; ');
  }

  /** How the last attempt went. */
  told(peer: number): string | undefined {
    return this.#told.get(peer);
  }

  removePeer(peer: number): void {
    this.schedule.remove(peer);
    this.#told.delete(peer);
  }

  /** @param chance 0 to 1, random: so that many do not come together again. */
  ended(attempt: Attempt, outcome: PunchOutcome, chance: number, now: MonotonicMs): void {
    const { peer } = attempt;
    const { schedule } = this;
    const inWords =
      outcome.type === 'refused' ? { ...outcome, why: describeRefusal(outcome.why) } : outcome;
    this.#told.set(peer, describeOutcome(attempt, inWords));
    if (outcome.type === 'direct') schedule.rest(peer);
    else if (outcome.type === 'no-hit') schedule.failed(peer, chance, now, outcome.isSmall);
    else if (outcome.type !== 'refused') schedule.failed(peer, chance, now);
    else if (correctable.has(outcome.why)) schedule.soon(peer, now);
    else if (passing.has(outcome.why)) schedule.postponed(peer, chance, now);
    else schedule.discouraged(peer, now);
  }
}
