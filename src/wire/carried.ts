/**
 * Messages between the programs of two members, inside their tunnel (`inner.ts`, kind 2), beside the LAN report (`lan.ts`): what keeps
 * members going while no server answers (protocol §13). Little-endian.
 *
 * Type 2, a signal (`signal.ts`), for the recipient itself or for it to pass on:
 *
 *     0     1      2      4        8        12
 *     0x02  flags  zero   from     to       sealed …
 *
 * flags bit 0: it has been passed on, and goes no further; the others are sent as zero and ignored. from, to: client numbers
 * (`client-number.ts`). Sender and recipient seal and open it; who passes it on learns no more of it than a server would.
 *
 * Type 3, revocations and deletions (`signed.ts`), each a signed document as it was received:
 *
 *     0     1      2      4
 *     0x03  count  zero   count times: length (2) ‖ document
 */
import { MAX_MESSAGE_BYTES } from './inner.ts';

const signalType = 2;
const revocationsType = 3;
const passedOnFlag = 1;
const signalHeaderBytes = 12;
const listHeaderBytes = 4;
const lengthBytes = 2;

/** The longest sealed signal that fits. */
export const maxCarriedSignalBytes = MAX_MESSAGE_BYTES - signalHeaderBytes;
export const maxCarriedRevocations = 16;

export interface CarriedSignal {
  /** Client numbers. */
  readonly from: number;
  readonly to: number;
  readonly isPassedOn: boolean;
  readonly sealed: Uint8Array;
}

/** Which message between members' programs it is. */
export function memberMessageType(
  bytes: Uint8Array,
): 'lan-report' | 'signal' | 'revocations' | undefined {
  const [type] = bytes;
  if (type === 1) return 'lan-report';
  if (type === signalType) return 'signal';
  return type === revocationsType ? 'revocations' : undefined;
}

export function encodeCarriedSignal(signal: CarriedSignal): Uint8Array {
  const { from, to, isPassedOn, sealed } = signal;
  const bytes = new Uint8Array(signalHeaderBytes + sealed.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = signalType;
  bytes[1] = isPassedOn ? passedOnFlag : 0;
  view.setUint32(4, from, true);
  view.setUint32(8, to, true);
  bytes.set(sealed, signalHeaderBytes);
  return bytes;
}

/** Undefined when the bytes are no carried signal. */
export function decodeCarriedSignal(bytes: Uint8Array): CarriedSignal | undefined {
  if (bytes[0] !== signalType || bytes.length <= signalHeaderBytes) return undefined;
  if (bytes.length > MAX_MESSAGE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    from: view.getUint32(4, true),
    to: view.getUint32(8, true),
    isPassedOn: (bytes[1]! & passedOnFlag) !== 0,
    sealed: bytes.slice(signalHeaderBytes),
  };
}

/** As many of the documents as fit into one message; how many these are. Undefined when not even the first one does. */
export function encodeRevocations(
  documents: readonly Uint8Array[],
): { readonly bytes: Uint8Array; readonly count: number } | undefined {
  let size = listHeaderBytes;
  let count = 0;
  for (const { length } of documents.slice(0, maxCarriedRevocations)) {
    if (size + lengthBytes + length > MAX_MESSAGE_BYTES) break;
    size += lengthBytes + length;
    count += 1;
  }
  if (count === 0) return undefined;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes[0] = revocationsType;
  bytes[1] = count;
  let at = listHeaderBytes;
  for (const document of documents.slice(0, count)) {
    view.setUint16(at, document.length, true);
    bytes.set(document, at + lengthBytes);
    at += lengthBytes + document.length;
  }
  return { bytes, count };
}

/** Undefined when the bytes are no list of revocations, or not all of it is there. */
export function decodeRevocations(bytes: Uint8Array): Uint8Array[] | undefined {
  const count = bytes[1] ?? 0;
  if (bytes[0] !== revocationsType || bytes.length > MAX_MESSAGE_BYTES) return undefined;
  if (count === 0 || count > maxCarriedRevocations) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const documents: Uint8Array[] = [];
  let at = listHeaderBytes;
  for (let i = 0; i < count; i++) {
    if (at + lengthBytes > bytes.length) return undefined;
    const length = view.getUint16(at, true);
    at += lengthBytes;
    if (length === 0 || at + length > bytes.length) return undefined;
    documents.push(bytes.slice(at, at + length));
    at += length;
  }
  return at === bytes.length ? documents : undefined;
}
