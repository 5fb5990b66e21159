/** What goes into the relay machine and what comes out. */
import type { Endpoint } from '#wire/endpoint.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import type { LocalSocket } from '../path/io.ts';

export type RelayTransport = 'udp' | 'tcp';

/** An allocation that can be used: the way to a relay, and what its data carries. */
export interface RelayWay {
  readonly relay: string;
  readonly transport: RelayTransport;
  readonly socket: number;
  /** The relay; of a WebSocket the driver's bridge on the loopback interface. */
  readonly remote: Endpoint;
  readonly token: bigint;
  /** For people: where the relay is. */
  readonly label: string;
  readonly rttMs: number | undefined;
  /** It is about to end: to be left as soon as another way is proven. */
  readonly draining: boolean;
}

/** A relay of the server's list: for people to read. */
export interface RelayReport {
  readonly relay: string;
  /** Of the nearest way that answers; undefined: nothing has answered. */
  readonly rttMs: number | undefined;
  /** The allocation that is held there. */
  readonly way: RelayWay | undefined;
  readonly isHome: boolean;
}

export type RelaysInput =
  /** The sockets that tunnels use. */
  | { readonly type: 'sockets'; readonly sockets: readonly LocalSocket[] }
  /** All relays that this client may use, complete, with unspecified addresses replaced. */
  | { readonly type: 'relays'; readonly relays: readonly RelayEntry[] }
  /** Server time less wall clock. */
  | { readonly type: 'time-offset'; readonly offsetMs: number }
  /** A datagram with the magic of relays. */
  | {
      readonly type: 'datagram';
      readonly bytes: Uint8Array;
      readonly socket: number;
      readonly remote: Endpoint;
    }
  /** The driver's bridge to a relay's WebSocket is ready at this loopback endpoint, or (undefined) not any more. */
  | { readonly type: 'bridge'; readonly relay: string; readonly endpoint: Endpoint | undefined }
  /** A peer has an allocation there, and none in common with us. Undefined: those in common bring nothing, any other one may. */
  | { readonly type: 'want'; readonly relay: string | undefined }
  /** A path over this relay is doubted: ask it whether it is there. */
  | { readonly type: 'check'; readonly relay: string | 'all' }
  /** Something hints that the NAT's mapping may be another one: ask all that were not heard just now. */
  | { readonly type: 'recheck' }
  /** How long mappings of this network's NAT live; undefined: not known. */
  | { readonly type: 'mapping-lifetime'; readonly lifetimeMs: number | undefined }
  | { readonly type: 'network-changed' }
  | { readonly type: 'tick' };

export type RelaysOutput =
  | {
      readonly type: 'send';
      readonly socket: number;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
    }
  /** There is an allocation, or it is reached in another way or has another token than before. */
  | { readonly type: 'up'; readonly way: RelayWay }
  | { readonly type: 'down'; readonly relay: string }
  /** What peers are told has changed: see `announced`. */
  | { readonly type: 'announced' }
  /** Please connect a WebSocket to one of these and answer with `bridge`; again after it broke. */
  | {
      readonly type: 'bridge-wanted';
      readonly relay: string;
      readonly urls: readonly string[];
    }
  | { readonly type: 'bridge-unwanted'; readonly relay: string }
  /** A relay delivers what is no transport message: whoever sent it proves that itself, the relay proves nothing. */
  | {
      readonly type: 'delivered';
      readonly way: RelayWay;
      readonly from: number;
      readonly bytes: Uint8Array;
    };

export const noRelayCounts = () => ({
  allocations: 0,
  refreshes: 0,
  roams: 0,
  moves: 0,
  losses: 0,
  requests: 0,
  malformed: 0,
  unknownSource: 0,
  unmatched: 0,
  forged: 0,
  refused: 0,
  delivered: 0,
});

/** Names are stable: metrics show them. */
export type RelayCounter = keyof ReturnType<typeof noRelayCounts>;
