import { loadAddon } from './addon.ts';
import { adoptError } from './open-errors.ts';

/**
 * A descriptor of a UDP socket on any IPv4 port, for `dgram`'s `bind({ fd })`, which closes it, and `Engine.adoptSocket`. Node's own
 * sockets do not show theirs. BuriError: too-many-files, socket-failed.
 */
export function openUdpDescriptor(): number {
  const descriptor = loadAddon().socketDescriptor();
  if (descriptor < 0) throw adoptError(descriptor);
  return descriptor;
}
