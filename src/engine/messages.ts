import type { Endpoint } from '#wire/endpoint.ts';
import type {
  DatagramKind,
  DeviceInfo,
  DeviceOptions,
  EnginePath,
  LanOptions,
  PeerActivity,
  PeerIndex,
  SocketId,
  SocketInfo,
  SocketOptions,
  TransportKeys,
} from './engine.ts';
import type { SharedCounters } from './tables.ts';

/** What a worker is started with. */
export interface WorkerSettings {
  readonly shared: SharedCounters;
  readonly threads: number;
  /** It is not the first: datagrams and messages of the main thread leave by that one, perhaps before this one has the commands. */
  readonly isFurther: boolean;
  /** Byte work by the TypeScript twin instead of C. */
  readonly portable: boolean;
  /** Bits of offloads to go without, for tests and for broken drivers. */
  readonly withoutOffloads: number;
}

/**
 * What a worker opens: for itself alone, or for several, as the first of them or as one that joins with its own queue of the device,
 * its own socket on the port.
 */
export type Share = 'alone' | 'first' | 'join';

export interface OpenedDevice extends DeviceInfo {
  /** Whether others can join. */
  readonly isShared: boolean;
}

/** Main thread to worker: commands that are answered. */
export type AskedCommand =
  | {
      readonly type: 'open-device';
      readonly id: number;
      readonly options: DeviceOptions;
      readonly share: Share;
    }
  | { readonly type: 'close-device'; readonly id: number }
  | {
      readonly type: 'open-socket';
      readonly id: number;
      readonly options: SocketOptions;
      readonly share: Share;
      /** The handle that it shall have; undefined: any. */
      readonly socket: SocketId | undefined;
    }
  | {
      readonly type: 'adopt-socket';
      readonly id: number;
      readonly descriptor: number;
      readonly share: Share;
      readonly socket: SocketId | undefined;
    }
  | { readonly type: 'close-socket'; readonly id: number; readonly socket: SocketId }
  /** Closes the device and all sockets: the thread is about to end. */
  | { readonly type: 'close-all'; readonly id: number };

/** Main thread to worker. */
export type Command =
  | AskedCommand
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
  | {
      readonly type: 'install-keys';
      readonly keys: TransportKeys;
      readonly firstCounter: bigint;
      /** What several threads share of the keys. */
      readonly shared: Uint8Array<SharedArrayBuffer> | undefined;
    }
  | { readonly type: 'activate-keys'; readonly localIndex: number }
  | { readonly type: 'remove-keys'; readonly localIndex: number }
  | { readonly type: 'send-keepalive'; readonly peer: PeerIndex }
  | { readonly type: 'set-lan'; readonly peer: PeerIndex; readonly options: LanOptions }
  | { readonly type: 'send-message'; readonly peer: PeerIndex; readonly bytes: Uint8Array }
  | {
      readonly type: 'send-datagram';
      readonly socket: SocketId;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
      readonly ttl: number;
      readonly dontFragment: boolean;
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
  | { readonly type: 'groups-changed' }
  | { readonly type: 'message'; readonly peer: PeerIndex; readonly bytes: Uint8Array }
  | { readonly type: 'device-lost'; readonly reason: string };

/** Worker to main thread. */
export type Report =
  | { readonly type: 'events'; readonly events: readonly EngineEvent[] }
  | {
      readonly type: 'done';
      readonly id: number;
      readonly result: OpenedDevice | SocketInfo | undefined;
    }
  | {
      readonly type: 'failed';
      /** The command that failed; absent when the worker itself did. */
      readonly id?: number;
      readonly code: string;
      readonly message: string;
    };
