/** What the daemon's main thread and the thread of the bridges say to each other. */
import type { HttpProxy } from '../proxy.ts';

/** A proxy as it crosses threads, where no function can. */
export type PlainProxy = Omit<HttpProxy, 'authorization'> & { readonly login: string | undefined };

export interface BridgeTarget {
  readonly url: string;
  readonly proxy: PlainProxy | undefined;
}

export type BridgeCommand =
  | { readonly type: 'open'; readonly relay: string; readonly targets: readonly BridgeTarget[] }
  | { readonly type: 'close'; readonly relay: string }
  /** The network has changed: find out soon whether the connections live. */
  | { readonly type: 'check' };

export type BridgeReport =
  /** Datagrams to and from this port of 127.0.0.1 go through the relay's WebSocket. */
  | { readonly type: 'up'; readonly relay: string; readonly port: number }
  | {
      readonly type: 'down';
      readonly relay: string;
      readonly code: string;
      readonly reason: string;
    };

export interface BridgeSettings {
  /** Port of the engine's socket: the only one whose datagrams are carried. */
  readonly enginePort: number;
  readonly counters: Float64Array<SharedArrayBuffer>;
}

export const bridgeCounterNames = [
  /** Datagrams to relays and from them. */
  'bridge-out',
  'bridge-in',
  /** Dropped: the connection does not take them as fast as they come; or had waited for too long. */
  'bridge-out-full',
  'bridge-out-late',
  /** Dropped: there is no connection just now. */
  'bridge-out-closed',
  /** Dropped: from another program than the engine, or too long. */
  'bridge-foreign',
  'bridge-too-long',
  'bridge-connections',
  'bridge-failures',
] as const;

export type BridgeCounter = (typeof bridgeCounterNames)[number];

/** Index of each by its name. */
export const bridgeCounter = Object.fromEntries(
  bridgeCounterNames.map((name, index) => [name, index]),
) as Record<BridgeCounter, number>;
