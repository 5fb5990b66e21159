import type { Activity } from './activity.ts';
import type { Addon, ByteWork } from './addon.ts';
import type { Segment } from './ethernet-judge.ts';
import type { FanOut } from './fan-out.ts';
import type { GroupTraffic } from './group-traffic.ts';
import type { LanTable } from './lan-table.ts';
import type { Mac1Check } from './mac1.ts';
import type { PeerTable } from './peer-table.ts';
import type { PrefixTable } from './prefix-table.ts';
import type { Staging } from './staging.ts';
import type { Tables } from './tables.ts';
import type { PeerBuckets } from './token-bucket.ts';
import type { Uplink } from './uplink.ts';

/** What both directions of the data plane share. */
export interface PlaneState {
  readonly addon: Addon;
  readonly bytes: ByteWork;
  readonly tables: Tables;
  readonly peerNumbers: Float64Array;
  readonly peers: PeerTable;
  /** Our own inner addresses: what incoming packets may be for. */
  ours: PrefixTable;
  /** Of a TAP device; undefined for a TUN device. */
  ethernet: Segment | undefined;
  readonly staging: Staging;
  readonly activity: Activity;
  readonly uplink: Uplink;
  /** Who gets what is for many. */
  readonly lan: LanTable;
  readonly groups: GroupTraffic;
  readonly fanOut: FanOut;
  readonly messageRates: PeerBuckets;
  readonly tooBigRates: PeerBuckets;
  /** Executes the commands that wait; undefined where none can be missed. */
  readonly catchUp: (() => void) | undefined;
  mac1: Mac1Check | undefined;
}

/** A peer whose packets wait is reported again after this long. */
export const WANT_SESSION_INTERVAL_MS = 250;

/** Tells the core that packets wait for a session. */
export function wantSession(state: PlaneState, peer: number, nowMs: number): void {
  if (!state.peers.mayWant(peer, nowMs, WANT_SESSION_INTERVAL_MS)) return;
  state.uplink.push({ type: 'want-session', peer });
}
