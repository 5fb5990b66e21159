import type { Endpoint } from '#wire/endpoint.ts';
import type {
  DatagramKind,
  DeviceInfo,
  DeviceOptions,
  EnginePath,
  PeerActivity,
  PeerIndex,
  SocketId,
  SocketInfo,
  SocketOptions,
  TransportKeys,
} from './engine.ts';
import type { SharedCounters } from './tables.ts';

/** What the worker is started with. */
export interface WorkerSettings {
  readonly shared: SharedCounters;
  /** Byte work by the TypeScript twin instead of C. */
  readonly portable: boolean;
  /** Bits of offloads to go without, for tests and for broken drivers. */
  readonly withoutOffloads: number;
}

/** Main thread to worker. Those with an `id` are answered. */
export type Command =
  | { readonly type: 'open-device'; readonly id: number; readonly options: DeviceOptions }
  | { readonly type: 'close-device'; readonly id: number }
  | { readonly type: 'open-socket'; readonly id: number; readonly options: SocketOptions }
  | { readonly type: 'close-socket'; readonly id: number; readonly socket: SocketId }
  | {
      readonly type: 'set-peer';
      readonly peer: PeerIndex;
      readonly innerPrefixes: readonly string[];
    }
  | { readonly type: 'remove-peer'; readonly peer: PeerIndex }
  | {
      readonly type: 'set-path';
      readonly peer: PeerIndex;
      readonly path: EnginePath | undefined;
    }
  | { readonly type: 'install-keys'; readonly keys: TransportKeys; readonly firstCounter: bigint }
  | { readonly type: 'activate-keys'; readonly localIndex: number }
  | { readonly type: 'remove-keys'; readonly localIndex: number }
  | { readonly type: 'send-keepalive'; readonly peer: PeerIndex }
  | {
      readonly type: 'send-datagram';
      readonly socket: SocketId;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
      readonly ttl: number;
    }
  | { readonly type: 'set-public-key'; readonly publicKey: Uint8Array };

/** Events of the worker; `Report` carries those of one turn of its loop. */
export type EngineEvent =
  | {
      readonly type: 'datagram';
      readonly kind: DatagramKind;
      readonly bytes: Uint8Array;
      readonly socket: SocketId;
      readonly remote: Endpoint;
    }
  | { readonly type: 'want-session'; readonly peer: PeerIndex }
  | { readonly type: 'activity'; readonly activity: PeerActivity }
  | {
      readonly type: 'roam';
      readonly peer: PeerIndex;
      readonly socket: SocketId;
      readonly remote: Endpoint;
    }
  | { readonly type: 'confirmed'; readonly peer: PeerIndex; readonly localIndex: number }
  | { readonly type: 'rekey-limit'; readonly peer: PeerIndex; readonly localIndex: number }
  | { readonly type: 'device-lost'; readonly reason: string };

/** Worker to main thread. */
export type Report =
  | { readonly type: 'events'; readonly events: readonly EngineEvent[] }
  | {
      readonly type: 'done';
      readonly id: number;
      readonly result: DeviceInfo | SocketInfo | undefined;
    }
  | {
      readonly type: 'failed';
      /** The command that failed; absent when the worker itself did. */
      readonly id?: number;
      readonly code: string;
      readonly message: string;
    };
