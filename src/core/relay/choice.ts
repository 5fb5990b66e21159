/** Which relays to hold: pure. */
import { homeGainMs, homeShare, volunteerPenaltyMs } from './limits.ts';

export interface Ranked {
  readonly id: string;
  /** Undefined: it has not answered. */
  readonly rttMs: number | undefined;
  readonly isVolunteer: boolean;
  /** It refuses, ends, or does not answer although it is held. */
  readonly isBad: boolean;
}

export interface Choice {
  readonly home: string | undefined;
  readonly spare: string | undefined;
}

/**
 * The home relay is the nearest, the spare the nearest of the others. Whoever was chosen stays until another one is nearer by max(20 %,
 * 10 ms), or it is bad and another one is not. Relays that have not answered come last, in the order of the list.
 */
export function chooseRelays(relays: readonly Ranked[], before: Choice): Choice {
  const home = best(relays, before.home);
  const others = relays.filter(({ id }) => id !== home?.id);
  // The home of before is the spare of choice: it is held already.
  const isKept = before.spare !== home?.id ? before.spare : before.home;
  return { home: home?.id, spare: best(others, isKept)?.id };
}

function best(relays: readonly Ranked[], before: string | undefined): Ranked | undefined {
  const known = relays.find(({ id }) => id === before);
  const sorted = relays
    .filter(({ isBad }) => !isBad)
    .toSorted((a, b) => cost(a) - cost(b) || relays.indexOf(a) - relays.indexOf(b));
  const [first] = sorted;
  if (first === undefined) return known ?? relays[0];
  if (known === undefined || known.isBad) return first;
  const gainMs = cost(known) - cost(first);
  return gainMs > Math.max(cost(known) * homeShare, homeGainMs) ? first : known;
}

/** A large number for silence, so that differences stay numbers. */
const silentMs = 100_000;

const cost = ({ rttMs, isVolunteer }: Ranked): number =>
  (rttMs ?? silentMs) + (isVolunteer ? volunteerPenaltyMs : 0);
