import type { Endpoint } from '#wire/endpoint.ts';
import { relayPrefix } from '#wire/relay.ts';
import type { Path } from './path.ts';

/** A way to peers over a relay where this client has an allocation; `RelayWay` of core/relay is one. */
export interface RelayPath {
  readonly relay: string;
  readonly transport: 'udp' | 'tcp';
  readonly socket: number;
  readonly remote: Endpoint;
  readonly token: bigint;
  /** For people: where the relay is. */
  readonly label: string;
  readonly draining: boolean;
}

/** The path to the client of this number. */
export const pathOver = (
  { socket, remote, token }: Pick<RelayPath, 'socket' | 'remote' | 'token'>,
  destination: number,
): Path => ({ socket, remote, prefix: relayPrefix(token, destination) });

/** What leaves as one datagram: with the relay's header in front when the path has one. */
export function onPath({ prefix }: Path, bytes: Uint8Array): Uint8Array {
  if (prefix === undefined) return bytes;
  const whole = new Uint8Array(prefix.length + bytes.length);
  whole.set(prefix);
  whole.set(bytes, prefix.length);
  return whole;
}
