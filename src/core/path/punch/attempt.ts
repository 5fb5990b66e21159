/** One attempt with one peer, as far as it has come; and the words that a user reads about it. */
import type { MonotonicMs } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { PunchPorts } from '#wire/signal.ts';
import type { PunchRole, Technique } from './plan.ts';
import type { Run } from './run.ts';
import type { Sampler } from './sampler.ts';

export interface Attempt {
  readonly peer: number;
  /** Chosen by the side that proposed it. */
  readonly id: number;
  readonly technique: Technique;
  readonly role: PunchRole;
  /** This side proposed it. */
  readonly proposed: boolean;
  /** How many attempts with this peer came to nothing before. */
  readonly before: number;
  ours: PunchPorts | undefined;
  theirs: PunchPorts | undefined;
}

/**
 * ```
 *                 due, or an offer                samples, own ports known
 *  idle ───────────────────────────► preparing ─────────────────────────────► agreeing
 *   ▲                                                 offer or answer sent        │
 *   │ path, end, refusal, removal of the peer                                     │ punch
 *   └────────────────────── adopting ◄──────────────────────────────── running ◄──┘
 *                                      a probe of the peer's arrived
 * ```
 */
export type PunchState =
  | { readonly name: 'idle' }
  | {
      readonly name: 'preparing';
      readonly attempt: Attempt;
      readonly sampler: Sampler;
      readonly until: MonotonicMs;
    }
  | { readonly name: 'agreeing'; readonly attempt: Attempt; readonly until: MonotonicMs }
  | { readonly name: 'running'; readonly attempt: Attempt; readonly run: Run }
  | {
      readonly name: 'adopting';
      readonly attempt: Attempt;
      readonly run: Run;
      readonly index: number;
      /** What arrived first on the socket: handled once the engine has it. */
      readonly first: { readonly bytes: Uint8Array; readonly remote: Endpoint } | undefined;
      readonly until: MonotonicMs;
    };

export type PunchOutcome =
  | { readonly type: 'direct'; readonly sent: number }
  /** `isSmall`: so few ports were guessed that another attempt may follow at once. */
  | { readonly type: 'no-hit'; readonly sent: number; readonly isSmall?: boolean }
  | { readonly type: 'refused'; readonly why: string }
  | { readonly type: 'failed'; readonly why: string };

const techniques: Readonly<Record<Technique, string>> = {
  birthday: 'guessing the port of a NAT that chooses at random',
  block: 'guessing a port within the block of a NAT',
  sequence: 'predicting the next ports of a NAT that counts',
};

const refusals: Readonly<Record<string, string>> = {
  off: 'it is switched off on the other side',
  busy: 'the other side is busy with another attempt',
  crossed: 'both sides proposed it at once',
  direct: 'the other side has a direct path',
  disagree: 'the other side sees the NATs differently',
  'no-room': 'the other side has no socket to spare',
  'not-ready': 'the other side could not prepare it',
  unproven: 'the server has not confirmed the address here yet',
  'too-soon': 'the other side wants a pause',
};

export const describeTechnique = (technique: Technique): string => techniques[technique];

export const describeRefusal = (why: string): string =>
  refusals[why] ?? 'the other side takes no part';

export function describeOutcome(attempt: Attempt, outcome: PunchOutcome): string {
  const what = techniques[attempt.technique];
  switch (outcome.type) {
    case 'direct':
      return `${what} made it direct`;
    case 'no-hit': {
      const by = attempt.role === 'opens' ? 'packets' : 'probes';
      const count = outcome.sent.toLocaleString('en');
      return `${what} did not succeed (${count} ${by})`;
    }
    case 'refused':
    case 'failed':
      return `${what} was not possible: ${outcome.why}`;
    default:
      return outcome satisfies never;
  }
}
