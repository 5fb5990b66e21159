/** STUN messages as bytes: their layout is in `stun.ts`. */
import { addressBytes, type Endpoint } from './endpoint.ts';
import {
  fingerprintBytes,
  fingerprintOf,
  type StunClass,
  stunAttribute,
  stunBinding,
  stunClasses,
  stunHeaderBytes,
  stunMagicCookie,
  stunTokenBytes,
  stunTransactionIdBytes,
  xored,
} from './stun.ts';

const maxSoftwareBytes = 128;

type Attribute = readonly [type: number, value: Uint8Array];

export interface BindingRequest {
  readonly transactionId: Uint8Array;
  /** Ask for the answer from the server's other port, or its other address (RFC 5780 §7.2). */
  readonly changePort?: boolean;
  readonly changeIp?: boolean;
  /** Let the answer come to this port instead (RFC 5780 §7.5). */
  readonly responsePort?: number;
  /** Ask for a token (protocol §8). */
  readonly wantsToken?: boolean;
  readonly software?: string;
}

export function encodeBindingRequest(request: BindingRequest): Uint8Array {
  const attributes: Attribute[] = [];
  if (request.changePort === true || request.changeIp === true) {
    const bits = (request.changeIp === true ? 4 : 0) | (request.changePort === true ? 2 : 0);
    attributes.push([stunAttribute.changeRequest, Uint8Array.of(0, 0, 0, bits)]);
  }
  const { responsePort } = request;
  if (responsePort !== undefined) {
    const value = Uint8Array.of(responsePort >> 8, responsePort & 0xff, 0, 0);
    attributes.push([stunAttribute.responsePort, value]);
  }
  if (request.wantsToken === true)
    attributes.push([stunAttribute.buriToken, new Uint8Array(stunTokenBytes)]);
  if (request.software !== undefined) attributes.push(softwareAttribute(request.software));
  return encode('request', request.transactionId, attributes);
}

export interface BindingSuccess {
  readonly transactionId: Uint8Array;
  /** Where the request came from. */
  readonly xorMapped: Endpoint;
  /** Where this answer is sent from. */
  readonly responseOrigin?: Endpoint;
  /** Where a request with CHANGE-REQUEST would be answered from. */
  readonly otherAddress?: Endpoint;
  readonly token?: Uint8Array;
  readonly software?: string;
}

export function encodeBindingSuccess(success: BindingSuccess): Uint8Array {
  const attributes: Attribute[] = [
    [
      stunAttribute.xorMappedAddress,
      xored(endpointValue(success.xorMapped), success.transactionId),
    ],
  ];
  if (success.responseOrigin !== undefined)
    attributes.push([stunAttribute.responseOrigin, endpointValue(success.responseOrigin)]);
  if (success.otherAddress !== undefined)
    attributes.push([stunAttribute.otherAddress, endpointValue(success.otherAddress)]);
  if (success.token !== undefined) attributes.push([stunAttribute.buriToken, success.token]);
  if (success.software !== undefined) attributes.push(softwareAttribute(success.software));
  return encode('success', success.transactionId, attributes);
}

export interface BindingError {
  readonly transactionId: Uint8Array;
  /** 400 bad request, 420 unknown attribute. */
  readonly code: number;
  readonly reason: string;
  readonly unknownAttributes?: readonly number[];
}

export function encodeBindingError(error: BindingError): Uint8Array {
  const reason = new TextEncoder().encode(error.reason);
  const code = new Uint8Array(4 + reason.length);
  code[2] = Math.floor(error.code / 100);
  code[3] = error.code % 100;
  code.set(reason, 4);
  const attributes: Attribute[] = [[stunAttribute.errorCode, code]];
  if (error.unknownAttributes !== undefined) {
    const types = new Uint8Array(error.unknownAttributes.length * 2);
    const view = new DataView(types.buffer);
    for (const [i, type] of error.unknownAttributes.entries()) view.setUint16(2 * i, type);
    attributes.push([stunAttribute.unknownAttributes, types]);
  }
  return encode('error', error.transactionId, attributes);
}

const softwareAttribute = (software: string): Attribute => [
  stunAttribute.software,
  new TextEncoder().encode(software).subarray(0, maxSoftwareBytes),
];

/** The value of MAPPED-ADDRESS and its like. */
export function endpointValue({ address, port }: Endpoint): Uint8Array {
  const bytes = addressBytes(address);
  if (bytes === undefined) throw new Error(`not an address: ${address}`);
  const value = new Uint8Array(4 + bytes.length);
  value[1] = bytes.length === 4 ? 1 : 2;
  new DataView(value.buffer).setUint16(2, port);
  value.set(bytes, 4);
  return value;
}

function encode(
  messageClass: StunClass,
  transactionId: Uint8Array,
  attributes: readonly Attribute[],
): Uint8Array {
  if (transactionId.length !== stunTransactionIdBytes) throw new Error('transaction id: 12 bytes');
  const lengthBytes = attributes.reduce((sum, [, value]) => sum + 4 + ((value.length + 3) & ~3), 0);
  const bytes = new Uint8Array(stunHeaderBytes + lengthBytes);
  const view = new DataView(bytes.buffer);
  const bits = stunClasses.indexOf(messageClass);
  view.setUint16(0, stunBinding | ((bits & 2) << 7) | ((bits & 1) << 4));
  view.setUint16(2, lengthBytes);
  view.setUint32(4, stunMagicCookie);
  bytes.set(transactionId, 8);
  let offset = stunHeaderBytes;
  for (const [type, value] of attributes) {
    view.setUint16(offset, type);
    view.setUint16(offset + 2, value.length);
    bytes.set(value, offset + 4);
    offset += 4 + ((value.length + 3) & ~3);
  }
  return bytes;
}

/** The message with a FINGERPRINT at its end (RFC 8489 §14.7): tells STUN from what merely looks like it. */
export function withFingerprint(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(message.length + fingerprintBytes);
  bytes.set(message);
  const view = new DataView(bytes.buffer);
  view.setUint16(2, bytes.length - stunHeaderBytes);
  const value = fingerprintOf(bytes.subarray(0, message.length));
  view.setUint16(message.length, stunAttribute.fingerprint);
  view.setUint16(message.length + 2, 4);
  view.setUint32(message.length + 4, value);
  return bytes;
}
