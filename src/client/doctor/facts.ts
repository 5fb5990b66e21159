/** What `buri doctor` finds out, before anybody judges it. */
import type { DoctorCheck } from '#wire/local-api.ts';
import type { FirewallVerdict } from './firewall.ts';

export type Check = DoctorCheck;

export interface DoctorFacts {
  readonly loggedIn: boolean;
  readonly server: {
    readonly url: string | undefined;
    readonly connected: boolean;
    readonly error?: { readonly code: string; readonly message: string };
    readonly proxy: string | undefined;
    /** Whether its name has an address; undefined: it is an address, or a proxy looks it up. */
    readonly resolves: boolean | undefined;
  };
  /** Clock of this machine less that of the server, when it was last heard. */
  readonly clockAheadMs: number | undefined;
  readonly device: {
    readonly name: string;
    readonly wanted: boolean;
    readonly exists: boolean;
    readonly ipv4: string | undefined;
    /** Addresses that the interface has now. */
    readonly addresses: readonly string[];
    /** Notices about it. */
    readonly trouble: readonly string[];
  };
  /** Where a packet to the pool goes; undefined when that is not known. */
  readonly poolRoute: { readonly dev: string | undefined; readonly text: string } | undefined;
  /** The local route that shares addresses with the pool. */
  readonly overlap: { readonly pool: string; readonly route: string } | undefined;
  readonly firewall: {
    /** Why the rules could not be read. */
    readonly unread?: string;
    /** What comes in through the interface from a member: ping and TCP. */
    readonly ping: FirewallVerdict | undefined;
    readonly tcp: FirewallVerdict | undefined;
    /** Unasked UDP to the tunnel port. */
    readonly udp: FirewallVerdict | undefined;
  };
  readonly port: number;
  readonly nat: {
    readonly mapping: string;
    readonly filtering: string;
    readonly publicEndpoints: number;
    /** STUN servers are known and have been asked. */
    readonly asked: boolean;
  };
  /** MTU of the interface that the default route leads through. */
  readonly uplinkMtuBytes: number | undefined;
  readonly relays: readonly RelayFacts[];
  readonly peers: readonly PeerFacts[];
}

export interface RelayFacts {
  readonly relay: string;
  readonly transport: 'udp' | 'tcp' | undefined;
  readonly error?: string;
}

export interface PeerFacts {
  readonly clientId: string;
  readonly nick: string;
  readonly kind: 'direct' | 'relayed' | 'establishing' | 'unreachable' | 'none';
  readonly transport?: 'udp' | 'tcp';
  readonly reason?: string;
  readonly mtuBytes?: number;
  readonly established: boolean;
  /** Whether its system answers through the tunnel to what nobody listens for. */
  readonly inbound: 'open' | 'closed' | 'untested';
}
