/** What every rule is given beside the transaction: the time, the primitives, the cluster's signature, the settings. */
import type { Crypto } from '#core/crypto.ts';
import { Limiter } from '#core/limiter.ts';
import type { Now } from '#core/time.ts';
import {
  networkCreations,
  passwordGuesses,
  passwordGuessesPerPrefix,
  tokenGuesses,
} from './limits.ts';
import type { Pool4 } from './pool.ts';
import type { TicketLimits, TicketSerials } from './relays/tickets.ts';

export type EnrolMode = 'token' | 'open' | 'closed';

export interface CoordinatorConfig {
  readonly enrol: EnrolMode;
  readonly pool4: Pool4;
  /** A client lost without goodbye is 'unconfirmed' this long, then 'offline'. */
  readonly graceMs: number;
  /** Shown to clients at login. */
  readonly software: string;
  /** What each client may use of a relay. */
  readonly relayLimits?: TicketLimits;
}

export interface Context {
  readonly crypto: Crypto;
  readonly config: CoordinatorConfig;
  /** Identifier of this node. */
  readonly node: string;
  /** There are no other nodes. */
  readonly isAlone: boolean;
  /** Ed25519 by the cluster key. */
  readonly sign: (message: Uint8Array) => Uint8Array;
  readonly now: Now;
  readonly guard: Guard;
  /** Does something beside the database once, however often the transaction is run again, with the result of the first time. */
  readonly once: <T>(what: string, work: () => T) => T;
  readonly ticketSerials: TicketSerials;
}

/** Attempts that cost: in memory only, since a restart is rarer than a guess. */
export class Guard {
  readonly passwords = new Limiter(passwordGuesses);
  readonly passwordsPerPrefix = new Limiter(passwordGuessesPerPrefix);
  readonly tokens = new Limiter(tokenGuesses);
  readonly creations = new Limiter(networkCreations);
}

/** For one transaction, and its repetitions. */
export function onlyOnce(): Context['once'] {
  const done = new Map<string, unknown>();
  return <T>(what: string, work: () => T): T => {
    if (!done.has(what)) done.set(what, work());
    return done.get(what) as T;
  };
}
