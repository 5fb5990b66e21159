import type { AeadSuite } from '#core/crypto.ts';
import type { Endpoint } from '#wire/endpoint.ts';

/**
 * The data plane as the rest of the program sees it: a device, sockets, peers with one path and a few keypairs each.
 * Everything that is bulk data stays inside; handshakes, STUN and probes come up through `EngineEvents`.
 *
 * The packet engine (`packet-engine.ts`) runs it in a worker thread over the C addon; simulations use a fake.
 * Calls that return no promise are queued in order to the worker and take effect in that order.
 */
export interface Engine extends AsyncDisposable {
  /** Creates the virtual interface. BuriError: device-busy, device-forbidden, device-missing. */
  openDevice(options: DeviceOptions): Promise<DeviceInfo>;
  closeDevice(): Promise<void>;
  /** Binds a UDP socket; port 0 lets the system choose. BuriError: port-in-use, address-unavailable. At most 18. */
  openSocket(options: SocketOptions): Promise<SocketInfo>;
  /**
   * Takes part in a bound UDP socket of this process: the engine has a copy of the descriptor, and what arrives is read by whoever
   * comes first until the other copy is closed. BuriError: too-many-sockets, socket-failed.
   */
  adoptSocket(descriptor: number): Promise<SocketInfo>;
  closeSocket(socket: SocketId): Promise<void>;

  /** Makes a peer known, or replaces its inner addresses (what is routed to it and what it may send from). */
  setPeer(peer: PeerIndex, options: PeerOptions): void;
  /** Forgets a peer with its path, keys and staged packets. */
  removePeer(peer: PeerIndex): void;
  /** Where the peer's packets go from now on; undefined stages them (bounded) and drops the oldest. */
  setPath(peer: PeerIndex, path: EnginePath | undefined): void;
  /** Accepts packets under these keys at once. Sending under them starts with `activateKeys`. */
  installKeys(keys: TransportKeys): void;
  /** From now on the peer's packets are sealed under these keys; staged packets leave. */
  activateKeys(localIndex: number): void;
  /** Erases the keys. */
  removeKeys(localIndex: number): void;
  /** An empty transport packet to the peer under its active keys. */
  sendKeepalive(peer: PeerIndex): void;
  /** What the peer is to get of what is for many; until told, everything. */
  setLan(peer: PeerIndex, options: LanOptions): void;
  /** A message of at most 1,200 bytes to the peer's program, sealed. Dropped and counted when there are no active keys. */
  sendMessage(peer: PeerIndex, bytes: Uint8Array): void;
  /** A datagram as it is: handshake, STUN, probe. Dropped and counted when the socket is full. */
  sendDatagram(
    socket: SocketId,
    remote: Endpoint,
    bytes: Uint8Array,
    options?: DatagramOptions,
  ): void;
  /** The X25519 public key that mac1 of incoming handshakes is checked against before they come up. */
  setLocalPublicKey(publicKey: Uint8Array): void;

  /** A snapshot of all counters, cheap: read from shared memory. */
  counters(): EngineCounters;
  /** Bytes and packets of one peer, both ways, from shared memory. */
  peerCounters(peer: PeerIndex): PeerCounters;
}

/** Index of a peer, 0 to 65,535, chosen by the caller and dense. */
export type PeerIndex = number;
/** Handle of a socket, given by the engine. */
export type SocketId = number;

/** design: a path is (local socket, remote address, prefix). The prefix is a relay header put before every datagram. */
export interface EnginePath {
  readonly socket: SocketId;
  readonly remote: Endpoint;
  readonly prefix?: Uint8Array;
  /** The largest packet of the inside that fits in one piece; absent: not known, and everything is sent as it is. */
  readonly mtuBytes?: number;
}

export interface DeviceOptions {
  readonly name: string;
  readonly mode: DeviceMode;
  readonly mtuBytes: number;
  /** Addresses of this client inside: what incoming packets may be for. */
  readonly addresses: readonly string[];
  /** Directed broadcast addresses of what is reached through the device. */
  readonly broadcasts?: readonly string[];
  /** Prefixes whose addresses only members have. In Ethernet mode nobody speaks for them but their owners. */
  readonly pools?: readonly string[];
}

/** IP packets, or Ethernet frames: a TAP device has the MAC 7a:79 and the four bytes of the first IPv4 address. */
export type DeviceMode = 'tun' | 'tap';

export interface DeviceInfo {
  readonly name: string;
  /**
   * Offloads that device and kernel were found to have, by name (vnet-hdr, csum, tso4, tso6, uso4, uso6); and `vaes` when it is the
   * processor's wide AES instructions that seal and open AES-256-GCM, not OpenSSL.
   */
  readonly offloads: readonly string[];
}

export interface SocketOptions {
  readonly family: 4 | 6;
  /** Local address; the wildcard when absent. */
  readonly address?: string;
  readonly port: number;
}

export interface SocketInfo {
  readonly socket: SocketId;
  readonly port: number;
  /** udp-segment, udp-gro where the kernel has them. */
  readonly offloads: readonly string[];
}

export interface PeerOptions {
  /** IPv4 and IPv6 addresses in canonical text, or prefixes `address/length`. */
  readonly innerPrefixes: readonly string[];
}

export interface LanOptions {
  /** It takes Ethernet frames of any kind, not IP packets alone. */
  readonly ethernet: boolean;
  /** Multicast groups that it joined, in canonical text (others than those that everybody gets); at most 256, else all. */
  readonly groups: readonly string[] | 'all';
}

export interface TransportKeys {
  readonly peer: PeerIndex;
  readonly suite: AeadSuite;
  /** Receiver index that the peer puts in its packets to us; unique in the engine. */
  readonly localIndex: number;
  /** Receiver index that we put in our packets. */
  readonly remoteIndex: number;
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
}

export interface DatagramOptions {
  /** IP TTL or hop limit of this datagram alone; the system's default when absent. */
  readonly ttl?: number;
  /** Nobody may fragment it; dropped when it is too large for the first link. */
  readonly dontFragment?: boolean;
}

/** What the worker tells; every kind passes a bounded queue and is dropped with a counter when it is full. */
export interface EngineEvents {
  /** A handshake or cookie message (mac1 already checked), a STUN message, or one with Buri's magic. */
  onDatagram(kind: DatagramKind, bytes: Uint8Array, socket: SocketId, remote: Endpoint): void;
  /** Packets wait for a peer that has no active keys (or no path). Repeated at most every 250 ms. */
  onWantSession(peer: PeerIndex): void;
  /**
   * Traffic of a peer since the last report; at once when it starts after 50 ms of silence, then at most every 50 ms. `bulk` tells data
   * from keepalives: WireGuard's timers treat them differently.
   */
  onActivity(activity: PeerActivity): void;
  /** An authenticated packet arrived from another address or socket than the peer's path. At most 10/s a peer. */
  onRoam(peer: PeerIndex, socket: SocketId, remote: Endpoint): void;
  /** The first packet under these keys authenticated (a responder's session is confirmed by it). */
  onConfirmed(peer: PeerIndex, localIndex: number): void;
  /** Sending under these keys passed the rekey limit of messages (2^60 for ChaCha20-Poly1305, 2^28 for AES). */
  onRekeyLimit(peer: PeerIndex, localIndex: number): void;
  /** Programs joined or left multicast groups on the device, perhaps. At most every 50 ms. */
  onGroupsChanged(): void;
  /** A message of the peer's program; at most 10/s a peer. */
  onMessage(peer: PeerIndex, bytes: Uint8Array): void;
  /** The device vanished or failed for good. */
  onDeviceLost(reason: string): void;
}

export type DatagramKind =
  | 'handshake-initiation'
  | 'handshake-response'
  | 'cookie-reply'
  | 'stun'
  | 'buri';

export interface PeerActivity {
  readonly peer: PeerIndex;
  /** Local index of the keys that were used. */
  readonly localIndex: number;
  readonly sentData: boolean;
  readonly sentKeepalive: boolean;
  readonly receivedData: boolean;
  readonly receivedKeepalive: boolean;
}

/** Names are stable: metrics and `status --json` show them. */
export type EngineCounters = Readonly<Record<string, number>>;

export interface PeerCounters {
  readonly sentBytes: number;
  readonly sentPackets: number;
  readonly receivedBytes: number;
  readonly receivedPackets: number;
}
