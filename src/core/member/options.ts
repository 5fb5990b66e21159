import type { Crypto } from '../crypto.ts';
import type { CachedNetwork } from '../mesh/mesh.ts';
import type { KeyPair } from '../noise/handshake-state.ts';
import type { KnownWays } from './last-good.ts';

export interface MemberOptions {
  readonly crypto: Crypto;
  /** The pin: Ed25519 key of the cluster. */
  readonly clusterKey: Uint8Array;
  readonly tunnelKey: KeyPair;
  /** Own Ed25519 identity in hexadecimal. */
  readonly identity: string;
  readonly suites: readonly string[];
  readonly extensionVersion: number;
  /** As the server assigned it. */
  readonly clientId: string;
  /** Virtual pools, `address/length`. */
  readonly pools: readonly string[];
  /** The largest packet of the inside; the default of the path machine when absent. */
  readonly innerMtuBytes?: number;
  /** From an earlier run. */
  readonly networks: readonly CachedNetwork[];
  /** How peers and relays were reached last. */
  readonly ways?: KnownWays;
  readonly secrets: ReadonlyMap<string, Uint8Array>;
  readonly serverTimeMs: number;
  readonly lastTimestamp?: Uint8Array;
  /** UDP port that is forwarded by hand on the public address. */
  readonly configuredPort?: number;
}
