/**
 * STUN Binding (RFC 8489) with the NAT-behaviour attributes of RFC 5780. All integers big-endian.
 *
 *     0        2        4              8                    20
 *     type     length   2112A442       transaction id (12)  attributes …
 *
 *     attribute:  type (2) ‖ length (2) ‖ value ‖ zero padding to a multiple of 4
 *     type:       class in bits 4 and 8 (00 request, 01 indication, 10 success, 11 error), method in the other 12
 *
 *     XOR-MAPPED-ADDRESS  00 ‖ family (01 IPv4, 02 IPv6) ‖ port ^ 2112 ‖ address ^ (cookie ‖ transaction id)
 *     MAPPED-ADDRESS, RESPONSE-ORIGIN, OTHER-ADDRESS      the same, nothing xored
 *     CHANGE-REQUEST      32 bits: 4 change IP, 2 change port
 *     ERROR-CODE          0000 ‖ hundreds ‖ number ‖ reason
 *     RESPONSE-PORT       port ‖ 0000
 *     BURI-TOKEN (C0B5)   16 bytes, comprehension-optional: zeros ask for a token, an answer brings it (protocol §8)
 *     FINGERPRINT         CRC-32 of all before it, ^ 5354554E; last
 */
import { type Endpoint, formatAddress } from './endpoint.ts';

export const stunMagicCookie = 0x2112_a442;
export const stunHeaderBytes = 20;
export const stunTransactionIdBytes = 12;
/** Of the token in a server's answer: protocol §8. */
export const stunTokenBytes = 16;
/** Largest message that is looked at: coturn's client pads requests by 1,500 bytes (RFC 5780 §7.6). */
export const maxStunBytes = 2048;
/** Most attributes of one message that are looked at. */
export const maxStunAttributes = 32;
const fingerprintMask = 0x5354_554e;
export const fingerprintBytes = 8;

export const stunBinding = 0x001;

export const stunAttribute = {
  mappedAddress: 0x0001,
  changeRequest: 0x0003,
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  unknownAttributes: 0x000a,
  realm: 0x0014,
  nonce: 0x0015,
  messageIntegritySha256: 0x001c,
  userhash: 0x001e,
  xorMappedAddress: 0x0020,
  priority: 0x0024,
  padding: 0x0026,
  responsePort: 0x0027,
  software: 0x8022,
  fingerprint: 0x8028,
  responseOrigin: 0x802b,
  otherAddress: 0x802c,
  buriToken: 0xc0b5,
} as const;

export type StunClass = 'request' | 'indication' | 'success' | 'error';
export const stunClasses = ['request', 'indication', 'success', 'error'] as const;

export interface StunMessage {
  readonly class: StunClass;
  readonly method: number;
  readonly transactionId: Uint8Array;
  readonly xorMappedAddress?: Endpoint;
  readonly mappedAddress?: Endpoint;
  readonly responseOrigin?: Endpoint;
  readonly otherAddress?: Endpoint;
  readonly changeRequest?: { readonly ip: boolean; readonly port: boolean };
  /** Where at the source's address the answer is wanted (RFC 5780 §7.5). */
  readonly responsePort?: number;
  /** Of an answer, or 16 zeros in a request that asks for one. */
  readonly token?: Uint8Array;
  readonly errorCode?: { readonly code: number; readonly reason: string };
  readonly username?: string;
  readonly software?: string;
  /** Present, and right: a message with a wrong one is no message. */
  readonly fingerprint: boolean;
  /** Comprehension-required attributes (below 8000) that this codec does not act on. */
  readonly unknownRequired: readonly number[];
}

type Draft = { -readonly [K in keyof StunMessage]: StunMessage[K] };

/** Whether a datagram claims to be STUN: what a socket shared with other protocols looks at first. */
export function looksLikeStun(bytes: Uint8Array): boolean {
  return (
    bytes.length >= stunHeaderBytes &&
    (bytes[0]! & 0xc0) === 0 &&
    bytes[4] === 0x21 &&
    bytes[5] === 0x12 &&
    bytes[6] === 0xa4 &&
    bytes[7] === 0x42
  );
}

/** The message, or undefined when the bytes are not exactly one well-formed STUN message. */
export function decodeStun(bytes: Uint8Array): StunMessage | undefined {
  if (!looksLikeStun(bytes) || bytes.length > maxStunBytes) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = view.getUint16(0);
  if (view.getUint16(2) !== bytes.length - stunHeaderBytes || bytes.length % 4 !== 0)
    return undefined;
  const unknownRequired: number[] = [];
  const message: Draft = {
    class: stunClasses[((type >> 7) & 2) | ((type >> 4) & 1)]!,
    method: (type & 0xf) | ((type >> 1) & 0x70) | ((type >> 2) & 0xf80),
    transactionId: bytes.slice(8, stunHeaderBytes),
    fingerprint: false,
    unknownRequired,
  };
  const seen = new Set<number>();
  let offset = stunHeaderBytes;
  let integrity = false;
  for (let count = 0; offset < bytes.length; count++) {
    if (count === maxStunAttributes || offset + 4 > bytes.length) return undefined;
    const attribute = view.getUint16(offset);
    const end = offset + 4 + view.getUint16(offset + 2);
    if (end > bytes.length) return undefined;
    const value = bytes.subarray(offset + 4, end);
    if (attribute === stunAttribute.fingerprint) {
      if (!fingerprintFits(view, bytes, offset, value.length)) return undefined;
      message.fingerprint = true;
    } else if (!integrity && !seen.has(attribute)) {
      // RFC 8489 §14: of a repeated attribute only the first counts, and none after MESSAGE-INTEGRITY.
      seen.add(attribute);
      if (!readAttribute(message, unknownRequired, attribute, value)) return undefined;
    }
    integrity ||= attribute === stunAttribute.messageIntegrity;
    offset = (end + 3) & ~3;
  }
  return message;
}

function fingerprintFits(view: DataView, bytes: Uint8Array, offset: number, length: number) {
  if (length !== 4 || offset + fingerprintBytes !== bytes.length) return false;
  return view.getUint32(offset + 4) === fingerprintOf(bytes.subarray(0, offset));
}

/** False when the value is malformed. */
function readAttribute(
  message: Draft,
  unknownRequired: number[],
  attribute: number,
  value: Uint8Array,
): boolean {
  switch (attribute) {
    case stunAttribute.xorMappedAddress:
      return hold(message, 'xorMappedAddress', readEndpoint(value, message.transactionId));
    case stunAttribute.mappedAddress:
      return hold(message, 'mappedAddress', readEndpoint(value));
    case stunAttribute.responseOrigin:
      return hold(message, 'responseOrigin', readEndpoint(value));
    case stunAttribute.otherAddress:
      return hold(message, 'otherAddress', readEndpoint(value));
    case stunAttribute.changeRequest:
      if (value.length !== 4) return false;
      message.changeRequest = { ip: (value[3]! & 4) !== 0, port: (value[3]! & 2) !== 0 };
      return true;
    case stunAttribute.responsePort:
      if (value.length !== 4 && value.length !== 2) return false;
      message.responsePort = (value[0]! << 8) | value[1]!;
      return true;
    case stunAttribute.buriToken:
      if (value.length === stunTokenBytes) message.token = value.slice();
      return true;
    case stunAttribute.errorCode:
      if (value.length < 4) return false;
      message.errorCode = {
        code: (value[2]! & 7) * 100 + value[3]!,
        reason: text(value.subarray(4)),
      };
      return true;
    case stunAttribute.username:
      message.username = text(value);
      return true;
    case stunAttribute.software:
      message.software = text(value);
      return true;
    default:
      if (attribute < 0x8000 && !ignored.has(attribute)) unknownRequired.push(attribute);
      return true;
  }
}

type AddressField = 'xorMappedAddress' | 'mappedAddress' | 'responseOrigin' | 'otherAddress';

function hold(message: Draft, name: AddressField, endpoint: Endpoint | undefined): boolean {
  if (endpoint !== undefined) message[name] = endpoint;
  return endpoint !== undefined;
}

/** Comprehension-required, and of no consequence to a Binding exchange without credentials. */
const ignored: ReadonlySet<number> = new Set([
  stunAttribute.messageIntegrity,
  stunAttribute.messageIntegritySha256,
  stunAttribute.unknownAttributes,
  stunAttribute.realm,
  stunAttribute.nonce,
  stunAttribute.userhash,
  stunAttribute.priority,
  stunAttribute.padding,
]);

const text = (value: Uint8Array) => new TextDecoder().decode(value);

function readEndpoint(value: Uint8Array, transactionId?: Uint8Array): Endpoint | undefined {
  const family = value[1];
  const lengthBytes = family === 1 ? 4 : family === 2 ? 16 : 0;
  if (lengthBytes === 0 || value.length !== 4 + lengthBytes) return undefined;
  const plain = transactionId === undefined ? value : xored(value, transactionId);
  return { address: formatAddress(plain.subarray(4)), port: (plain[2]! << 8) | plain[3]! };
}

/** The address attribute with port and address xored with the cookie and the transaction id. */
export function xored(value: Uint8Array, transactionId: Uint8Array): Uint8Array {
  const out = value.slice();
  const mask = new Uint8Array(16);
  new DataView(mask.buffer).setUint32(0, stunMagicCookie);
  mask.set(transactionId, 4);
  for (let i = 2; i < 4; i++) out[i]! ^= mask[i - 2]!;
  for (let i = 4; i < out.length; i++) out[i]! ^= mask[i - 4]!;
  return out;
}

export const fingerprintOf = (bytes: Uint8Array) => (crc32(bytes) ^ fingerprintMask) >>> 0;

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  return crc;
});

/** CRC-32 of ITU-T V.42. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff]!;
  return (crc ^ 0xffff_ffff) >>> 0;
}
