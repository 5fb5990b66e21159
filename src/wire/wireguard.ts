/**
 * The four messages of WireGuard (whitepaper §5.4; https://www.wireguard.com/protocol/). Integers are little-endian.
 *
 *   Handshake initiation, 148 bytes           Handshake response, 92 bytes
 *     0   1  type = 1                            0   1  type = 2
 *     1   3  reserved, zero                      1   3  reserved, zero
 *     4   4  sender index                        4   4  sender index
 *     8  32  ephemeral public key   ┐            8   4  receiver index
 *    40  48  static key, sealed     ├ noise     12  32  ephemeral public key  ┐ noise
 *    88  28  timestamp, sealed      ┘           44  16  nothing, sealed       ┘
 *   116  16  mac1 of bytes 0–115                60  16  mac1 of bytes 0–59
 *   132  16  mac2 of bytes 0–131                76  16  mac2 of bytes 0–75
 *
 *   Cookie reply, 64 bytes                    Transport data, 32 bytes and more
 *     0   1  type = 3                            0   1  type = 4
 *     1   3  reserved, zero                      1   3  reserved, zero
 *     4   4  receiver index                      4   4  receiver index
 *     8  24  nonce                               8   8  counter
 *    32  32  cookie, sealed                     16   n  packet padded to 16, sealed; empty: keepalive
 */
export const messageType = {
  handshakeInitiation: 1,
  handshakeResponse: 2,
  cookieReply: 3,
  transport: 4,
} as const;

export const initiationLengthBytes = 148;
export const responseLengthBytes = 92;
export const cookieReplyLengthBytes = 64;
export const transportHeaderLengthBytes = 16;
/** Header and tag: an empty packet. */
export const minimumTransportLengthBytes = 32;
export const macLengthBytes = 16;
export const timestampLengthBytes = 12;

const initiationNoiseOffset = 8;
const initiationNoiseLengthBytes = 108;
const responseNoiseOffset = 12;
const responseNoiseLengthBytes = 48;
const cookieNonceLengthBytes = 24;
const sealedCookieLengthBytes = 32;

export interface Initiation {
  readonly senderIndex: number;
  /** The Noise message: ephemeral key, sealed static key, sealed timestamp. */
  readonly noise: Uint8Array;
}

export interface Response {
  readonly senderIndex: number;
  readonly receiverIndex: number;
  /** The Noise message: ephemeral key, sealed nothing. */
  readonly noise: Uint8Array;
}

export interface CookieReply {
  readonly receiverIndex: number;
  readonly nonce: Uint8Array;
  readonly sealedCookie: Uint8Array;
}

export interface TransportHeader {
  readonly receiverIndex: number;
  /** Up to 2^53 - 1; keys are replaced long before. */
  readonly counter: number;
}

export type MessageKind =
  | 'handshake-initiation'
  | 'handshake-response'
  | 'cookie-reply'
  | 'transport';

/** What a datagram is by its first four bytes and its length; undefined when it is none of the four. */
export function messageKind(bytes: Uint8Array): MessageKind | undefined {
  if (bytes.length < 4 || bytes[1] !== 0 || bytes[2] !== 0 || bytes[3] !== 0) return undefined;
  switch (bytes[0]) {
    case messageType.handshakeInitiation:
      return bytes.length === initiationLengthBytes ? 'handshake-initiation' : undefined;
    case messageType.handshakeResponse:
      return bytes.length === responseLengthBytes ? 'handshake-response' : undefined;
    case messageType.cookieReply:
      return bytes.length === cookieReplyLengthBytes ? 'cookie-reply' : undefined;
    case messageType.transport:
      return bytes.length >= minimumTransportLengthBytes ? 'transport' : undefined;
    default:
      return undefined;
  }
}

/** Both macs are zero; `core/session/cookie.ts` fills them in. */
export function encodeInitiation({ senderIndex, noise }: Initiation): Uint8Array {
  const bytes = start(messageType.handshakeInitiation, initiationLengthBytes);
  view(bytes).setUint32(4, senderIndex, true);
  bytes.set(exactly(noise, initiationNoiseLengthBytes), initiationNoiseOffset);
  return bytes;
}

/** Undefined when it is no initiation. `noise` is a view into `bytes`. */
export function decodeInitiation(bytes: Uint8Array): Initiation | undefined {
  if (messageKind(bytes) !== 'handshake-initiation') return undefined;
  return {
    senderIndex: view(bytes).getUint32(4, true),
    noise: slice(bytes, initiationNoiseOffset, initiationNoiseLengthBytes),
  };
}

/** Both macs are zero; `core/session/cookie.ts` fills them in. */
export function encodeResponse({ senderIndex, receiverIndex, noise }: Response): Uint8Array {
  const bytes = start(messageType.handshakeResponse, responseLengthBytes);
  view(bytes).setUint32(4, senderIndex, true);
  view(bytes).setUint32(8, receiverIndex, true);
  bytes.set(exactly(noise, responseNoiseLengthBytes), responseNoiseOffset);
  return bytes;
}

/** Undefined when it is no response. `noise` is a view into `bytes`. */
export function decodeResponse(bytes: Uint8Array): Response | undefined {
  if (messageKind(bytes) !== 'handshake-response') return undefined;
  return {
    senderIndex: view(bytes).getUint32(4, true),
    receiverIndex: view(bytes).getUint32(8, true),
    noise: slice(bytes, responseNoiseOffset, responseNoiseLengthBytes),
  };
}

export function encodeCookieReply({ receiverIndex, nonce, sealedCookie }: CookieReply): Uint8Array {
  const bytes = start(messageType.cookieReply, cookieReplyLengthBytes);
  view(bytes).setUint32(4, receiverIndex, true);
  bytes.set(exactly(nonce, cookieNonceLengthBytes), 8);
  bytes.set(exactly(sealedCookie, sealedCookieLengthBytes), 32);
  return bytes;
}

/** Undefined when it is no cookie reply. The byte strings are views into `bytes`. */
export function decodeCookieReply(bytes: Uint8Array): CookieReply | undefined {
  if (messageKind(bytes) !== 'cookie-reply') return undefined;
  return {
    receiverIndex: view(bytes).getUint32(4, true),
    nonce: slice(bytes, 8, cookieNonceLengthBytes),
    sealedCookie: slice(bytes, 32, sealedCookieLengthBytes),
  };
}

export function encodeTransport(header: TransportHeader, sealed: Uint8Array): Uint8Array {
  const bytes = start(messageType.transport, transportHeaderLengthBytes + sealed.length);
  view(bytes).setUint32(4, header.receiverIndex, true);
  view(bytes).setBigUint64(8, BigInt(header.counter), true);
  bytes.set(sealed, transportHeaderLengthBytes);
  return bytes;
}

/** Undefined when it is no transport message or its counter is beyond 2^53 - 1. `sealed` is a view into `bytes`. */
export function decodeTransport(
  bytes: Uint8Array,
): (TransportHeader & { readonly sealed: Uint8Array }) | undefined {
  if (messageKind(bytes) !== 'transport') return undefined;
  const counter = Number(view(bytes).getBigUint64(8, true));
  if (!Number.isSafeInteger(counter)) return undefined;
  return {
    receiverIndex: view(bytes).getUint32(4, true),
    counter,
    sealed: bytes.subarray(transportHeaderLengthBytes),
  };
}

/** Where the macs of a handshake message of this length begin: mac1 there, mac2 16 bytes later. */
export const macOffset = (lengthBytes: number): number => lengthBytes - 2 * macLengthBytes;

function start(type: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  bytes[0] = type;
  return bytes;
}

const view = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const slice = (bytes: Uint8Array, offset: number, lengthBytes: number): Uint8Array =>
  bytes.subarray(offset, offset + lengthBytes);

function exactly(part: Uint8Array, lengthBytes: number): Uint8Array {
  if (part.length !== lengthBytes)
    throw new Error(`a field of ${lengthBytes} bytes has ${part.length}`);
  return part;
}
