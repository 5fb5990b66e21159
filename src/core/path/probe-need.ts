/** Between which NATs a direct path takes more than a few probes: pure. */
import type { NatBehaviour } from '#wire/signal.ts';

/**
 * Whether one side's public port has to be guessed because the other side lets in only the very port that it sent to (protocol §8).
 * Both then send many probes: one to many ports, the other from many.
 */
export function needsManyProbes(local: NatBehaviour, remote: NatBehaviour): boolean {
  return isGuess(local, remote) || isGuess(remote, local);
}

const isGuess = (changing: NatBehaviour, strict: NatBehaviour): boolean =>
  (changing.mapping === 'address-dependent' || changing.mapping === 'address-and-port-dependent') &&
  strict.filtering === 'address-and-port-dependent';
