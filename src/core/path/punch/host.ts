/** What the attempts need of the path machine around them. */
import type { Crypto } from '#core/crypto.ts';
import type { Now } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import type { ProbeGate } from '../budget.ts';
import type { LocalState, PathCounter } from '../context.ts';
import type { LocalSocket, PathOutput } from '../io.ts';

export interface PunchPeer {
  readonly leads: boolean;
  /** As it told; undefined before it signalled. */
  readonly nat: NatBehaviour | undefined;
  readonly hasDirectPath: boolean;
}

export interface PunchHost {
  readonly crypto: Crypto;
  readonly gate: ProbeGate;
  local(): LocalState;
  peer(peer: number): PunchPeer | undefined;
  emit(output: PathOutput): void;
  /** Random, 0 to 1. */
  chance(): number;
  /** A sealed request to the peer that nobody waits for an answer to. */
  seal(peer: number, now: Now): Uint8Array | undefined;
  /** Whose authentic request this is. */
  senderOf(bytes: Uint8Array, now: Now): number | undefined;
  /** A datagram that arrived on a socket which the machine knows by now. */
  deliver(bytes: Uint8Array, socket: LocalSocket, remote: Endpoint, now: Now): void;
  /** The list of adopted sockets changed. */
  socketsChanged(now: Now): void;
  /** Some peer's answered pair is on this socket. */
  isInUse(socket: number): boolean;
  count(counter: PathCounter, by: number): void;
}
