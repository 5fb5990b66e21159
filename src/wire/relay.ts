/**
 * Datagrams between a client and a relay (protocol §11), over UDP and, byte for byte the same, one in each binary message of a
 * WebSocket. Integers are little-endian unless marked BE. All begin alike:
 *
 *     0        4     5..7
 *     42555202 type  zero
 *
 *     type            8              …
 *      1 data         token 8        destination u32, payload                            client → relay
 *      2 delivered    from u32       payload                                             relay → client
 *      3 allocate     transaction 12 time u64, cookie 16, length u16, ticket, mac 16     client → relay
 *      4 challenge    transaction 12 cookie 16                                           relay → client
 *      5 allocated    transaction 12 token 8, lifetime u32 (s), observed 20, mac 16      relay → client
 *      6 refresh      token 8        transaction 12, time u64, cookie 16, mac 16         client → relay
 *      7 refreshed    transaction 12 observed 20, mac 16                                 relay → client
 *      8 release      token 8        transaction 12, time u64, mac 16                    client → relay
 *      9 draining     token 8        grace u32 (s), mac 16                               relay → client
 *     10 error        transaction 12 code u8, zero 3                                     relay → client
 *
 *     observed:  0           1     2             4
 *                family 4|6  zero  port (2, BE)  address (16)
 *
 * A `challenge` that nobody asked for says that data came from another address than the allocation's: its transaction is the token and 4
 * random bytes.
 *
 * `destination` and `from` are client identifiers as numbers. mac = keyed BLAKE2s-128, with the key that the ticket seals, over
 * everything before it. A cookie of zeros is none. IPv4 sits in the last 4 bytes of the address. Lengths are exact, and no
 * answer is longer than what asks for it: `allocate` is at least 68 bytes, padded with zeros in front of the MAC while there is no
 * ticket.
 */
import { addressBytes, type Endpoint, formatAddress } from './endpoint.ts';

export const relayPath = '/v1/relay';
export const relayHeaderBytes = 8;
/** What a client puts in front of everything that it sends through a relay. */
export const relayPrefixBytes = 20;
/** What a relay puts in front of what it delivers, unless that is a WireGuard transport message. */
export const deliveredPrefixBytes = 12;
export const relayTransactionBytes = 12;
export const relayCookieBytes = 16;
export const relayMacBytes = 16;
export const relayKeyBytes = 32;
export const maxTicketBytes = 1024;
/** The largest datagram, or message of a WebSocket: UDP over IPv4 carries no more. */
export const maxRelayDatagramBytes = 65_507;
/** The largest datagram that is neither `data` nor `delivered`. */
export const maxRelayControlBytes = 62 + maxTicketBytes;

/** What a `challenge` has: a relay sends none in answer to less. */
export const challengeBytes = 36;

const tokenBytes = 8;
const magic = 0x4255_5202;
const allocateFixedBytes = 62;
const minAllocateBytes = 68;
const types = {
  ...{ data: 1, delivered: 2, allocate: 3, challenge: 4, allocated: 5, refresh: 6 },
  ...{ refreshed: 7, release: 8, draining: 9, error: 10 },
} as const;
export type RelayType = keyof typeof types;
const names = new Map<number, RelayType>(
  Object.entries(types).map(([name, type]) => [type, name as RelayType]),
);
const exactBytes = {
  ...{
    challenge: challengeBytes,
    allocated: 68,
    refresh: 68,
    refreshed: 56,
    release: 52,
    draining: 36,
  },
  error: 24,
} as const;

const errorCodes = {
  /** Malformed, not signed by the relay's cluster, or for another relay: log in for another one. */
  'bad-ticket': 1,
  /** Expired, or not yet valid by the relay's clock. */
  'expired-ticket': 2,
  /** The server took it back, or the client holds the allocation by a ticket with a higher serial. */
  'revoked-ticket': 3,
  /** The time of the request is too far from the relay's. */
  'wrong-time': 4,
  /** No allocation has this token (any more): allocate again. */
  'unknown-token': 5,
  /** The relay serves as many as it can. */
  full: 6,
  /** The relay is about to end: use another one. */
  draining: 7,
} as const;
export type RelayErrorCode = keyof typeof errorCodes;
const errorNames = new Map<number, RelayErrorCode>(
  Object.entries(errorCodes).map(([name, code]) => [code, name as RelayErrorCode]),
);

export interface Allocate {
  readonly type: 'allocate';
  /** 12 random bytes, never used twice with a key. */
  readonly transaction: Uint8Array;
  /** Sender's time in milliseconds since 1970. */
  readonly time: number;
  readonly cookie?: Uint8Array;
  /** A signed document `relay-ticket`; may be empty as long as there is no cookie. */
  readonly ticket: Uint8Array;
}
export interface Challenge {
  readonly type: 'challenge';
  readonly transaction: Uint8Array;
  readonly cookie: Uint8Array;
}
export interface Allocated {
  readonly type: 'allocated';
  readonly transaction: Uint8Array;
  readonly token: bigint;
  /** The allocation ends that long after the last `refresh` or `data`. */
  readonly lifetimeSeconds: number;
  readonly observed: Endpoint;
}
export interface Refresh {
  readonly type: 'refresh';
  readonly token: bigint;
  readonly transaction: Uint8Array;
  readonly time: number;
  readonly cookie?: Uint8Array;
}
export interface Refreshed {
  readonly type: 'refreshed';
  readonly transaction: Uint8Array;
  readonly observed: Endpoint;
}
export interface Release {
  readonly type: 'release';
  readonly token: bigint;
  readonly transaction: Uint8Array;
  readonly time: number;
}
export interface Draining {
  readonly type: 'draining';
  readonly token: bigint;
  /** The relay goes on forwarding that long. */
  readonly graceSeconds: number;
}
export interface RelayError {
  readonly type: 'error';
  readonly transaction: Uint8Array;
  readonly code: RelayErrorCode;
}
/** Those with a MAC, and those that come from a relay which has no key to make one, or has not looked for it yet. */
export type SealedRelayMessage = Allocate | Allocated | Refresh | Refreshed | Release | Draining;
export type PlainRelayMessage = Challenge | RelayError;
export type RelayMessage = SealedRelayMessage | PlainRelayMessage;

/** The two functions that messages with a MAC need. */
export interface RelayMac {
  blake2sMac(key: Uint8Array, lengthBytes: 16 | 32, ...parts: readonly Uint8Array[]): Uint8Array;
  equal(a: Uint8Array, b: Uint8Array): boolean;
}

/** What the first 8 bytes say; undefined when this is no datagram of relays. */
export function relayType(bytes: Uint8Array): RelayType | undefined {
  if (bytes.length < relayHeaderBytes || bytes.length > maxRelayDatagramBytes) return undefined;
  if (viewOf(bytes).getUint32(0) !== magic) return undefined;
  if (bytes[5] !== 0 || bytes[6] !== 0 || bytes[7] !== 0) return undefined;
  return names.get(bytes[4]!);
}

/** The 20 bytes in front of everything from the allocation `token` to the client `destination`. */
export function relayPrefix(token: bigint, destination: number): Uint8Array {
  const bytes = begun('data', relayPrefixBytes);
  const view = viewOf(bytes);
  view.setBigUint64(8, token, true);
  view.setUint32(16, destination, true);
  return bytes;
}

/** A whole `data` datagram; undefined when this is none. The payload is a view. */
export function readData(
  bytes: Uint8Array,
): { token: bigint; destination: number; payload: Uint8Array } | undefined {
  if (relayType(bytes) !== 'data' || bytes.length <= relayPrefixBytes) return undefined;
  const view = viewOf(bytes);
  const [token, destination] = [view.getBigUint64(8, true), view.getUint32(16, true)];
  return { token, destination, payload: bytes.subarray(relayPrefixBytes) };
}

/** The 12 bytes in front of what a relay delivers from the client `from`. */
export function deliveredPrefix(from: number): Uint8Array {
  const bytes = begun('delivered', deliveredPrefixBytes);
  viewOf(bytes).setUint32(8, from, true);
  return bytes;
}

/** A whole `delivered` datagram; undefined when this is none. The payload is a view. */
export function readDelivered(
  bytes: Uint8Array,
): { from: number; payload: Uint8Array } | undefined {
  if (relayType(bytes) !== 'delivered' || bytes.length <= deliveredPrefixBytes) return undefined;
  return {
    from: viewOf(bytes).getUint32(8, true),
    payload: bytes.subarray(deliveredPrefixBytes),
  };
}

/** The transaction of a challenge that nobody asked for. `random` gives so many random bytes. */
export function movedTransaction(
  { random }: { readonly random: (lengthBytes: number) => Uint8Array },
  token: bigint,
): Uint8Array {
  const transaction = new Uint8Array(relayTransactionBytes);
  viewOf(transaction).setBigUint64(0, token, true);
  transaction.set(random(relayTransactionBytes - tokenBytes), tokenBytes);
  return transaction;
}

/** The token that such a transaction names. */
export const movedToken = (transaction: Uint8Array): bigint =>
  viewOf(transaction).getBigUint64(0, true);

/** Whether a payload is delivered bare: a WireGuard transport message. */
export const isDeliveredBare = (payload: Uint8Array): boolean =>
  payload.length >= 32 && viewOf(payload).getUint32(0) === 0x0400_0000;

/** A message with a MAC. A ticket that is too long is a bug of the caller. */
export function sealRelay(mac: RelayMac, key: Uint8Array, message: SealedRelayMessage): Uint8Array {
  const bytes = bytesOf(message);
  const end = bytes.length - relayMacBytes;
  bytes.set(mac.blake2sMac(key, relayMacBytes, bytes.subarray(0, end)), end);
  return bytes;
}

export const encodePlainRelay = (message: PlainRelayMessage): Uint8Array => bytesOf(message);

/** Whether a message that `decodeRelay` read is from somebody with the key. False for those without a MAC. */
export function relayMacIsValid(mac: RelayMac, key: Uint8Array, bytes: Uint8Array): boolean {
  const type = relayType(bytes);
  if (type === undefined || type === 'data' || type === 'delivered') return false;
  if (type === 'challenge' || type === 'error') return false;
  const end = bytes.length - relayMacBytes;
  if (end < relayHeaderBytes) return false;
  const expected = mac.blake2sMac(key, relayMacBytes, bytes.subarray(0, end));
  return mac.equal(expected, bytes.subarray(end));
}

/** Any message but `data` and `delivered`; undefined when it is malformed. The MAC has not been looked at. */
export function decodeRelay(bytes: Uint8Array): RelayMessage | undefined {
  const type = relayType(bytes);
  if (type === undefined || type === 'data' || type === 'delivered') return undefined;
  if (type === 'allocate') return decodeAllocate(bytes);
  if (bytes.length !== exactBytes[type]) return undefined;
  const view = viewOf(bytes);
  const u64 = (at: number) => view.getBigUint64(at, true);
  const transaction = () => bytes.slice(8, 20);
  switch (type) {
    case 'challenge': {
      const cookie = readCookie(bytes, 20);
      return cookie && { type, transaction: transaction(), cookie };
    }
    case 'allocated': {
      const [token, lifetimeSeconds] = [u64(20), view.getUint32(28, true)];
      const observed = readObserved(bytes, 32);
      return observed && { type, transaction: transaction(), token, lifetimeSeconds, observed };
    }
    case 'refresh': {
      const time = readTime(view, 28);
      if (time === undefined) return undefined;
      const message = { type, token: u64(8), transaction: bytes.slice(16, 28), time };
      const cookie = readCookie(bytes, 36);
      return cookie === undefined ? message : { ...message, cookie };
    }
    case 'refreshed': {
      const observed = readObserved(bytes, 20);
      return observed && { type, transaction: transaction(), observed };
    }
    case 'release': {
      const time = readTime(view, 28);
      if (time === undefined) return undefined;
      return { type, token: u64(8), transaction: bytes.slice(16, 28), time };
    }
    case 'draining':
      return { type, token: u64(8), graceSeconds: view.getUint32(16, true) };
    case 'error': {
      const code = errorNames.get(bytes[20]!);
      if (code === undefined || bytes[21] !== 0 || bytes[22] !== 0 || bytes[23] !== 0) {
        return undefined;
      }
      return { type, transaction: transaction(), code };
    }
    default:
      return type satisfies never;
  }
}

function decodeAllocate(bytes: Uint8Array): Allocate | undefined {
  if (bytes.length < minAllocateBytes || bytes.length > maxRelayControlBytes) return undefined;
  const view = viewOf(bytes);
  const [time, length] = [readTime(view, 20), view.getUint16(44, true)];
  const padded = Math.max(allocateFixedBytes + length, minAllocateBytes);
  if (time === undefined || padded !== bytes.length) return undefined;
  const end = bytes.length - relayMacBytes;
  for (let i = 46 + length; i < end; i++) if (bytes[i] !== 0) return undefined;
  const transaction = bytes.slice(8, 20);
  const message = { type: 'allocate', transaction, time } as const;
  const ticket = bytes.slice(46, 46 + length);
  const cookie = readCookie(bytes, 28);
  return cookie === undefined ? { ...message, ticket } : { ...message, cookie, ticket };
}

function bytesOf(message: RelayMessage): Uint8Array {
  const { type } = message;
  const bytes = begun(type, type === 'allocate' ? allocateBytes(message.ticket) : exactBytes[type]);
  const view = viewOf(bytes);
  if (type === 'refresh' || type === 'release') {
    view.setBigUint64(8, message.token, true);
    bytes.set(message.transaction, 16);
    view.setBigUint64(28, BigInt(Math.trunc(message.time)), true);
    if (type === 'refresh' && message.cookie !== undefined) bytes.set(message.cookie, 36);
    return bytes;
  }
  if (type === 'draining') {
    view.setBigUint64(8, message.token, true);
    view.setUint32(16, message.graceSeconds, true);
    return bytes;
  }
  bytes.set(message.transaction, 8);
  switch (type) {
    case 'allocate':
      view.setBigUint64(20, BigInt(Math.trunc(message.time)), true);
      if (message.cookie !== undefined) bytes.set(message.cookie, 28);
      view.setUint16(44, message.ticket.length, true);
      bytes.set(message.ticket, 46);
      return bytes;
    case 'challenge':
      bytes.set(message.cookie, 20);
      return bytes;
    case 'allocated':
      view.setBigUint64(20, message.token, true);
      view.setUint32(28, message.lifetimeSeconds, true);
      writeObserved(bytes, 32, message.observed);
      return bytes;
    case 'refreshed':
      writeObserved(bytes, 20, message.observed);
      return bytes;
    case 'error':
      bytes[20] = errorCodes[message.code];
      return bytes;
    default:
      return type satisfies never;
  }
}

function allocateBytes(ticket: Uint8Array): number {
  if (ticket.length > maxTicketBytes) throw new Error(`a ticket of ${ticket.length} bytes`);
  return Math.max(allocateFixedBytes + ticket.length, minAllocateBytes);
}

function begun(type: RelayType, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  viewOf(bytes).setUint32(0, magic);
  bytes[4] = types[type];
  return bytes;
}

function readCookie(bytes: Uint8Array, at: number): Uint8Array | undefined {
  const cookie = bytes.slice(at, at + relayCookieBytes);
  return cookie.some((byte) => byte !== 0) ? cookie : undefined;
}

function readTime(view: DataView, at: number): number | undefined {
  const time = view.getBigUint64(at, true);
  return time > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(time);
}

function readObserved(bytes: Uint8Array, at: number): Endpoint | undefined {
  const family = bytes[at];
  if ((family !== 4 && family !== 6) || bytes[at + 1] !== 0) return undefined;
  const port = viewOf(bytes).getUint16(at + 2);
  const address = formatAddress(bytes.subarray(family === 4 ? at + 16 : at + 4, at + 20));
  return port === 0 ? undefined : { address, port };
}

function writeObserved(bytes: Uint8Array, at: number, { address, port }: Endpoint): void {
  const raw = addressBytes(address);
  if (raw === undefined) throw new Error(`not an address: ${address}`);
  bytes[at] = raw.length === 4 ? 4 : 6;
  viewOf(bytes).setUint16(at + 2, port);
  bytes.set(raw, at + 20 - raw.length);
}

const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
