/** What goes into the client machine and what comes out. */
import type { ClientMessage, ServerMessage, ServerMessageOf } from '#wire/control.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { LocalAddress } from '../discovery/candidates.ts';
import type { DiscoverySocket } from '../discovery/io.ts';
import type { LanOutput, LocalLan } from '../lan/lan.ts';
import type { PathInput, PunchOutput } from '../path/io.ts';
import type { Path } from '../path/path.ts';
import type { SessionActivity } from '../session/events.ts';
import type { TransportKeys } from '../session/keypair.ts';

/** Datagrams that are not bulk data, as the engine tells them apart. */
export type MemberDatagram =
  | 'handshake-initiation'
  | 'handshake-response'
  | 'cookie-reply'
  | 'stun'
  | 'buri';

export type MemberInput =
  /**
   * Logged in, to the node at this IP address, or, where a proxy looked its name up, under this name. What follows comes as
   * `server`.
   */
  | {
      readonly type: 'connected';
      readonly welcome: ServerMessageOf<'welcome'>;
      readonly serverAddress: string | undefined;
      readonly serverName?: string;
    }
  /** The control connection is gone, on purpose or not. */
  | { readonly type: 'disconnected' }
  | { readonly type: 'server'; readonly message: ServerMessage }
  /** Admission opened or made the end-to-end secret of a network. */
  | { readonly type: 'secret'; readonly network: string; readonly secret: Uint8Array }
  | { readonly type: 'sockets'; readonly sockets: readonly DiscoverySocket[] }
  /** Addresses of this machine, of all interfaces but ours; and whether routes or addresses changed. */
  | {
      readonly type: 'local-addresses';
      readonly addresses: readonly LocalAddress[];
      readonly changed: boolean;
    }
  /** Where gateways lead to the main sockets, as they say (port mapping). */
  | { readonly type: 'mapped'; readonly endpoints: readonly Endpoint[] }
  | {
      readonly type: 'datagram';
      readonly kind: MemberDatagram;
      readonly bytes: Uint8Array;
      readonly socket: number;
      readonly remote: Endpoint;
    }
  /** Packets wait for a peer. */
  | { readonly type: 'want'; readonly peer: number }
  | { readonly type: 'activity'; readonly activity: SessionActivity }
  | {
      readonly type: 'roam';
      readonly peer: number;
      readonly socket: number;
      readonly remote: Endpoint;
    }
  | { readonly type: 'confirmed'; readonly peer: number; readonly localIndex: number }
  | { readonly type: 'rekey-limit'; readonly peer: number; readonly localIndex: number }
  /** A message of the peer's program came through the tunnel. */
  | { readonly type: 'message'; readonly peer: number; readonly bytes: Uint8Array }
  /** What this client takes of broadcast and multicast. */
  | { readonly type: 'lan'; readonly local: LocalLan }
  /** The bridge to a relay's WebSocket is ready at this endpoint of the loopback interface; undefined: not any more. */
  | { readonly type: 'bridge'; readonly relay: string; readonly endpoint: Endpoint | undefined }
  /** Somebody wants to know how the NAT behaves now. */
  | { readonly type: 'check-nat' }
  /** Of the sockets of an attempt at hard NATs (`core/path/io.ts`). */
  | Extract<PathInput, { type: 'punch-opened' | 'punch-datagram' | 'punch-adopted' | 'hard-nat' }>
  | { readonly type: 'tick' };

export type MemberOutput =
  | PunchOutput
  | { readonly type: 'send'; readonly message: ClientMessage }
  /** Find out soon whether the control connection still lives; where there is none, try again soon. */
  | {
      readonly type: 'check-server' /** The connection is dead, most likely. */;
      readonly slept?: true;
    }
  | {
      readonly type: 'datagram';
      readonly socket: number;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
      readonly ttl?: number;
      readonly dontFragment?: true;
    }
  /** A peer with its inner addresses; again when they change. */
  | {
      readonly type: 'set-peer';
      readonly peer: number;
      readonly innerPrefixes: readonly string[];
    }
  | { readonly type: 'remove-peer'; readonly peer: number }
  | { readonly type: 'set-path'; readonly peer: number; readonly path: Path | undefined }
  /** The keys belong to whoever takes this: they are erased after use. */
  | { readonly type: 'install-keys'; readonly keys: TransportKeys }
  | { readonly type: 'activate-keys'; readonly localIndex: number }
  | { readonly type: 'remove-keys'; readonly localIndex: number }
  | { readonly type: 'keepalive'; readonly peer: number }
  | LanOutput
  /**
   * UDP to this relay does not work: connect a WebSocket to one of these, and answer with `bridge` and the loopback endpoint whose
   * datagrams it carries; again whenever it broke and when it is back, until it is unwanted.
   */
  | { readonly type: 'bridge-wanted'; readonly relay: string; readonly urls: readonly string[] }
  | { readonly type: 'bridge-unwanted'; readonly relay: string }
  /** A network's durable state changed: keep `saved(network)`. */
  | { readonly type: 'save-network'; readonly network: string }
  /** How peers and relays are reached changed: keep `ways(now)`. */
  | { readonly type: 'save-ways' }
  /** Not a member any more: forget the network and its secret. */
  | { readonly type: 'forget-network'; readonly network: string; readonly reason: string }
  /**
   * To be on disk soon, a mark ahead of what is sent: 12 bytes of TAI64N. Lost by a kill right after it, it matters only
   * if the clock is set back as well: then peers refuse our initiations until the clock has caught up.
   */
  | { readonly type: 'save-timestamp'; readonly timestamp: Uint8Array }
  | { readonly type: 'save-server-time'; readonly serverTimeMs: number }
  | { readonly type: 'notice'; readonly code: string; readonly message: string }
  | { readonly type: 'clear-notice'; readonly code: string };
