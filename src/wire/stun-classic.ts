/**
 * STUN as it was first (RFC 3489): no magic cookie, a transaction id of 16 bytes, nothing xored. Old clients still send it;
 * servers answer in kind (RFC 8489 §11). Integers big-endian; attributes as in `stun.ts`, and
 *
 *     0        2        4                          20
 *     type     length   transaction id (16)        attributes …
 *
 *     SOURCE-ADDRESS (4)    where the answer comes from
 *     CHANGED-ADDRESS (5)   where it would come from with both changes
 */
import type { Endpoint } from './endpoint.ts';
import { looksLikeStun, maxStunBytes, stunBinding, stunHeaderBytes } from './stun.ts';
import { endpointValue } from './stun-encode.ts';

const mappedAddress = 0x0001;
const responseAddress = 0x0002;
const changeRequest = 0x0003;
const sourceAddress = 0x0004;
const changedAddress = 0x0005;
const credentials: ReadonlySet<number> = new Set([0x0006, 0x0007, 0x0008]);
const maxAttributes = 16;
const success = 0x0101;

export interface ClassicRequest {
  readonly transactionId: Uint8Array;
  readonly changeRequest: { readonly ip: boolean; readonly port: boolean };
}

/**
 * A Binding request without the cookie; undefined when it is none, or asks for what is not done: an answer to somebody else
 * (RESPONSE-ADDRESS) is a reflector, and unknown attributes below 8000 must not be ignored.
 */
export function decodeClassicRequest(bytes: Uint8Array): ClassicRequest | undefined {
  if (bytes.length < stunHeaderBytes || bytes.length > maxStunBytes || bytes.length % 4 !== 0)
    return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0) !== stunBinding || looksLikeStun(bytes)) return undefined;
  if (view.getUint16(2) !== bytes.length - stunHeaderBytes) return undefined;
  let change = { ip: false, port: false };
  let offset = stunHeaderBytes;
  for (let count = 0; offset < bytes.length; count++) {
    if (count === maxAttributes || offset + 4 > bytes.length) return undefined;
    const type = view.getUint16(offset);
    const lengthBytes = view.getUint16(offset + 2);
    const end = offset + 4 + lengthBytes;
    if (end > bytes.length || type === responseAddress) return undefined;
    if (type === changeRequest) {
      if (lengthBytes !== 4) return undefined;
      const bits = bytes[offset + 7]!;
      change = { ip: (bits & 4) !== 0, port: (bits & 2) !== 0 };
    } else if (type < 0x8000 && !credentials.has(type)) return undefined;
    offset = (end + 3) & ~3;
  }
  return { transactionId: bytes.slice(4, stunHeaderBytes), changeRequest: change };
}

export interface ClassicSuccess {
  readonly transactionId: Uint8Array;
  readonly mapped: Endpoint;
  readonly source?: Endpoint;
  readonly changed?: Endpoint;
}

export function encodeClassicSuccess(answer: ClassicSuccess): Uint8Array {
  const attributes = [
    [mappedAddress, answer.mapped],
    [sourceAddress, answer.source],
    [changedAddress, answer.changed],
  ] as const;
  const values = attributes.flatMap(([type, endpoint]) =>
    endpoint === undefined ? [] : [{ type, value: endpointValue(endpoint) }],
  );
  const lengthBytes = values.reduce((sum, { value }) => sum + 4 + value.length, 0);
  const bytes = new Uint8Array(stunHeaderBytes + lengthBytes);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, success);
  view.setUint16(2, lengthBytes);
  bytes.set(answer.transactionId, 4);
  let offset = stunHeaderBytes;
  for (const { type, value } of values) {
    view.setUint16(offset, type);
    view.setUint16(offset + 2, value.length);
    bytes.set(value, offset + 4);
    offset += 4 + value.length;
  }
  return bytes;
}
