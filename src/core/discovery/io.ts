/** What goes into discovery and what comes out. */
import type { Crypto } from '#core/crypto.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { Candidate, NatBehaviour } from '#wire/signal.ts';
import type { LocalSocket } from '../path/io.ts';
import type { LocalAddress } from './candidates.ts';

export interface DiscoverySocket extends LocalSocket {
  /**
   * `main` (the default): tunnels use it, so its mapping matters. `test`: a second socket for the filtering test, whose result
   * is then right at any time; without one the test is only made when the mapping is new. `sample`: its mappings show how the
   * NAT allocates ports. Tunnels use neither.
   */
  readonly purpose?: 'main' | 'test' | 'sample';
}

export type DiscoveryInput =
  | { readonly type: 'sockets'; readonly sockets: readonly DiscoverySocket[] }
  | { readonly type: 'local-addresses'; readonly addresses: readonly LocalAddress[] }
  /** STUN endpoints, resolved: two ports of each address. Empty while logged out. */
  | { readonly type: 'servers'; readonly servers: readonly Endpoint[] }
  /** The port that the user forwards by hand on the public address. */
  | { readonly type: 'configured-port'; readonly port: number | undefined }
  /** Where gateways lead to the main sockets (port mapping). */
  | { readonly type: 'mapped'; readonly endpoints: readonly Endpoint[] }
  /** Engine datagram of kind 'stun'. */
  | {
      readonly type: 'datagram';
      readonly bytes: Uint8Array;
      readonly socket: number;
      readonly remote: Endpoint;
    }
  /** A peer sees what leaves by this socket come from there: believed while no server says where we are. */
  | {
      readonly type: 'observed';
      readonly peer: number;
      readonly socket: number;
      readonly endpoint: Endpoint;
    }
  | { readonly type: 'network-changed' }
  /**
   * Something hints that a mapping may be another one (a path was doubted, a signal is wanted): the server is asked again,
   * at most every two seconds.
   */
  | { readonly type: 'recheck' }
  /** Somebody wants to know: all tests again, now. Over when `isSettled`. */
  | { readonly type: 'check' }
  | { readonly type: 'tick' };

export interface Discovered {
  /** What peers are told, at most 16. */
  readonly candidates: readonly Candidate[];
  /** Of the IPv4 way where there is one. Allocation and hairpin need sockets for tests and samples. */
  readonly nat: NatBehaviour;
  readonly publicEndpoints: readonly Endpoint[];
  /** Whether any STUN answer came back. */
  readonly udp: 'works' | 'blocked' | 'unknown';
  /**
   * How long the NAT remembers an idle mapping that has been used both ways for some seconds: longer than this, as far as it
   * was measured. Absent until known. Keepalives that begin at 25 s may grow to somewhat less than it.
   */
  readonly mappingLifetimeMs?: number;
}

/** What is known of one address family. */
export interface FamilyReport {
  readonly udp: 'works' | 'blocked' | 'unknown';
  readonly publicEndpoint: Endpoint | undefined;
  /** The public port is the one of the socket. */
  readonly portPreserved: boolean | undefined;
  /** To the STUN server. */
  readonly rttMs: number | undefined;
}

export type DiscoveryOutput =
  | {
      readonly type: 'send';
      readonly socket: number;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
    }
  | ({ readonly type: 'changed' } & Discovered);

export interface DiscoveryOptions {
  readonly crypto: Crypto;
  /** Inside addresses, `address/length`: never candidates. The default pools when absent. */
  readonly virtualPrefixes?: readonly string[];
}

/** Tunnels use it. */
export const isMain = ({ purpose }: DiscoverySocket): boolean =>
  purpose === undefined || purpose === 'main';
