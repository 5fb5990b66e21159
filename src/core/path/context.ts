import type { MonotonicMs } from '#core/time.ts';
import type { AddressFamily } from '#wire/endpoint.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import type { Prefix } from './address-class.ts';
import type { AddressBudget, ProbeGate } from './budget.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { LocalSocket, PathOutput } from './io.ts';
import type { RelayPath } from './relay-path.ts';

export interface LocalState {
  readonly sockets: readonly LocalSocket[];
  readonly nat: NatBehaviour;
  /** Allocations, by relay. */
  readonly relays: ReadonlyMap<string, RelayPath>;
  /** Our own candidates are known, so that an offer has something to say. */
  readonly discovered: boolean;
  /** Of these candidates, relays left out: sockets are open for both, whatever addresses there are. */
  readonly families: ReadonlySet<AddressFamily>;
  /** The control connection is up. */
  readonly connected: boolean;
}

/** What the machines of all peers share, as one of them sees it. */
export interface PathContext {
  /** This machine as it is now. */
  local(): LocalState;
  readonly virtual: readonly Prefix[];
  readonly gate: ProbeGate;
  readonly addresses: AddressBudget;
  /** Random, 0 to 1. */
  chance(): number;
  emit(output: PathOutput): void;
  /** Seals and sends a request, and remembers its transaction. */
  sendRequest(peer: number, pair: CandidatePair, using: boolean, ttl?: number): void;
  /** The same, padded to `sizeBytes` and not to be fragmented; it says nothing of the pair when it gets lost. */
  sendPadded(peer: number, pair: CandidatePair, sizeBytes: number): void;
  /** A request that measures the pair; it says nothing of whether it is alive when it gets lost. */
  sendMeasuring(peer: number, pair: CandidatePair, using: boolean): void;
  /** Whether the budgets have room for such a one. */
  mayMeasure(now: MonotonicMs): boolean;
  /** The largest packet of the inside that there can be. */
  readonly innerMtuBytes: number;
  count(counter: PathCounter, by: number): void;
  /** The peer carries traffic: it is among the most recent ones now. */
  touch(peer: number): void;
  /** It is among those whose mappings are kept open. */
  isKept(peer: number): boolean;
  /** How often a direct path is used at least, lest mappings on the way end. */
  keepaliveMs(): number;
}

export const noCounts = () => ({
  requestsSent: 0,
  requestsReceived: 0,
  responsesSent: 0,
  responsesReceived: 0,
  datagramsMalformed: 0,
  keysUnknown: 0,
  relayMismatched: 0,
  probesForged: 0,
  requestsStale: 0,
  requestsReplayed: 0,
  requestsOverRate: 0,
  responsesUnmatched: 0,
  probesWithheld: 0,
  candidatesRefused: 0,
  peersRefused: 0,
  hardAttempts: 0,
  hardProbes: 0,
  hardSucceeded: 0,
  hardFailed: 0,
  hardRefused: 0,
  pathsFound: 0,
  pathsChanged: 0,
  pathsLost: 0,
  pathsLapsed: 0,
  pathsDistrusted: 0,
  measuringSent: 0,
  mtuProbesSent: 0,
  mtuProbesAnswered: 0,
  mtuLowered: 0,
  mtuRaised: 0,
});

/** Names are stable: metrics show them. */
export type PathCounter = keyof ReturnType<typeof noCounts>;
