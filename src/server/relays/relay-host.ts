/** What a relay in the server's own process is given; whoever starts both joins them (protocol §11). */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import type { RelayOffer, RelayRevocation } from '#wire/relay-control.ts';

/** An HTTP request for the relay's WebSocket: the receiver upgrades it, or ends the socket. */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export interface RelayRegistration {
  /** At least one address, unspecified ones for where clients log in. */
  readonly offer: Omit<RelayOffer, 'relayKey'>;
  /** Drop these clients' allocations and refuse their tickets; called before `register` has anything to return, too. */
  readonly revoke: (revoked: readonly RelayRevocation[]) => void;
  readonly software: string;
}

export interface RelayHost {
  /** What tickets call the relay. */
  readonly id: string;
  /** Ed25519 key that signs tickets. */
  readonly clusterKey: Uint8Array;
  /** X25519 key that tickets are sealed to, kept in the data directory. */
  readonly keyPair: KeyPair;
  /** URLs of `/v1/relay` on the listeners of the server, if `onUpgrade` has a handler. */
  readonly webSocketUrls: readonly string[];
  /** Takes over what comes to `/v1/relay`; undefined: nobody does. */
  onUpgrade(handler: UpgradeHandler | undefined): void;
  /** Clients are told of the relay from now on. Returns what takes it back. */
  register(registration: RelayRegistration): () => void;
}
