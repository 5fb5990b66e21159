/**
 * Path probes (protocol §7): one datagram of 96 bytes, request and response alike, so that nobody gains by answering.
 *
 *     0        4      5..7   8           16        40                       80      96
 *     42555201 type   zero   key id (8)  nonce 24  sealed body (40 bytes)   tag 16  padding (requests only)
 *
 *     body:  0                12     13            14             30           32         40
 *            transaction (12) flags  family 4|6|0  address (16)   port (2, BE) time (u64)
 *
 * type 1 request, 2 response. Sealed with XChaCha20-Poly1305, associated data = the first 16 bytes and the padding. Padding (zeros,
 * whatever is in it is ignored) makes a request as large as what it asks about: whether so much fits through the path
 * in one piece. Its response is not padded. The address is the observed source, in responses only; IPv4 sits in its last 4 bytes. Flags bit 0: the sender has had a response on this path;
 * bit 1: the sender uses this path now; the others are sent as zero and ignored.
 */
import { addressBytes, type Endpoint, formatAddress } from './endpoint.ts';

export const probeBytes = 96;
/** The largest request, padding included: beyond any path that the inside could use. */
export const maxProbeBytes = 9216;
export const probeTransactionBytes = 12;
export const probeNonceBytes = 24;
export const probeKeyBytes = 32;
export const probeKeyIdBytes = 8;

const magic = 0x4255_5201;
const headerBytes = 16;
const nonceEnd = headerBytes + probeNonceBytes;
const bodyBytes = 40;
const types = { request: 1, response: 2 } as const;
const provenFlag = 1;
const usingFlag = 2;

export type ProbeType = keyof typeof types;

/** The two functions of the AEAD that probes are sealed with. */
export interface ProbeAead {
  xSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, ad: Uint8Array): Uint8Array;
  xOpen(
    key: Uint8Array,
    nonce: Uint8Array,
    sealed: Uint8Array,
    ad: Uint8Array,
  ): Uint8Array | undefined;
}

/** One direction between two peers: 32 bytes of key, and the 8 bytes that name it on the wire. */
export interface ProbeKey {
  readonly key: Uint8Array;
  readonly keyId: bigint;
}

export interface ProbeHeader {
  readonly type: ProbeType;
  readonly keyId: bigint;
}

export interface ProbeBody {
  /** 12 bytes; a response repeats those of its request. */
  readonly transaction: Uint8Array;
  /** The sender has had a response on this path. */
  readonly proven: boolean;
  /** The sender uses this path now. */
  readonly using: boolean;
  /** In a response: the source that the request came from. */
  readonly observed?: Endpoint;
  /** Sender's time in milliseconds since 1970. */
  readonly time: number;
}

/** What the first 16 bytes say, read without any key; undefined when the datagram is no probe. */
export function readProbeHeader(bytes: Uint8Array): ProbeHeader | undefined {
  if (bytes.length < probeBytes || bytes.length > maxProbeBytes) return undefined;
  const view = viewOf(bytes);
  if (view.getUint32(0) !== magic) return undefined;
  if (bytes[5] !== 0 || bytes[6] !== 0 || bytes[7] !== 0) return undefined;
  const keyId = view.getBigUint64(8);
  if (bytes[4] === types.request) return { type: 'request', keyId };
  if (bytes[4] === types.response && bytes.length === probeBytes) {
    return { type: 'response', keyId };
  }
  return undefined;
}

/**
 * @param nonce 24 random bytes, never used twice.
 * @param sizeBytes of the datagram: more than 96 pads a request.
 */
export function sealProbe(
  aead: ProbeAead,
  { key, keyId }: ProbeKey,
  type: ProbeType,
  body: ProbeBody,
  nonce: Uint8Array,
  sizeBytes = probeBytes,
): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  const view = viewOf(bytes);
  view.setUint32(0, magic);
  bytes[4] = types[type];
  view.setBigUint64(8, keyId);
  bytes.set(nonce, headerBytes);
  bytes.set(aead.xSeal(key, nonce, encodeProbeBody(body), associatedData(bytes)), nonceEnd);
  return bytes;
}

/** The body of a probe whose header has been read; undefined when it is forged or malformed. */
export function openProbe(
  aead: ProbeAead,
  key: Uint8Array,
  bytes: Uint8Array,
): ProbeBody | undefined {
  if (bytes.length < probeBytes || bytes.length > maxProbeBytes) return undefined;
  const body = aead.xOpen(
    key,
    bytes.subarray(headerBytes, nonceEnd),
    bytes.subarray(nonceEnd, probeBytes),
    associatedData(bytes),
  );
  return body === undefined ? undefined : decodeProbeBody(body);
}

function associatedData(bytes: Uint8Array): Uint8Array {
  const header = bytes.subarray(0, headerBytes);
  if (bytes.length === probeBytes) return header;
  const whole = new Uint8Array(headerBytes + bytes.length - probeBytes);
  whole.set(header);
  whole.set(bytes.subarray(probeBytes), headerBytes);
  return whole;
}

/** The first 8 bytes as the number that a probe's header carries. */
export const probeKeyId = (bytes: Uint8Array): bigint => viewOf(bytes).getBigUint64(0);

export function encodeProbeBody(body: ProbeBody): Uint8Array {
  const bytes = new Uint8Array(bodyBytes);
  const view = viewOf(bytes);
  bytes.set(body.transaction, 0);
  bytes[12] = (body.proven ? provenFlag : 0) | (body.using ? usingFlag : 0);
  if (body.observed !== undefined) {
    const address = addressBytes(body.observed.address);
    if (address === undefined) throw new Error(`not an address: ${body.observed.address}`);
    bytes[13] = address.length === 4 ? 4 : 6;
    bytes.set(address, 30 - address.length);
    view.setUint16(30, body.observed.port);
  }
  view.setBigUint64(32, BigInt(Math.trunc(body.time)), true);
  return bytes;
}

export function decodeProbeBody(bytes: Uint8Array): ProbeBody | undefined {
  if (bytes.length !== bodyBytes) return undefined;
  const view = viewOf(bytes);
  const family = bytes[13];
  const time = view.getBigUint64(32, true);
  if (time > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  if (family !== 0 && family !== 4 && family !== 6) return undefined;
  const flags = bytes[12]!;
  const body = {
    transaction: bytes.slice(0, probeTransactionBytes),
    proven: (flags & provenFlag) !== 0,
    using: (flags & usingFlag) !== 0,
    time: Number(time),
  };
  if (family === 0) return body;
  const address = formatAddress(bytes.subarray(family === 4 ? 26 : 14, 30));
  return { ...body, observed: { address, port: view.getUint16(30) } };
}

const viewOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
