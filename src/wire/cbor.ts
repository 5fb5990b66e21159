/**
 * Strict CBOR (RFC 8949): maps with text keys, no tags, no indefinite lengths, no duplicate keys, bounded depth
 * and size. Whatever comes from a wire passes here and then a schema, before anything else looks at it.
 */
import { decode as cborgDecode, encode as cborgEncode } from 'cborg';

/** Deepest nesting of arrays and maps that is accepted. */
export const maxCborDepth = 12;
/** Most items (of all kinds) in one message. */
export const maxCborItems = 200_000;

export const encodeCbor = (value: unknown): Uint8Array => cborgEncode(value);

/** The value, or undefined when the bytes are not exactly one acceptable item of at most `maxBytes`. */
export function decodeCbor(bytes: Uint8Array, maxBytes: number): unknown {
  if (bytes.length === 0 || bytes.length > maxBytes || !withinBounds(bytes)) return undefined;
  try {
    return cborgDecode(bytes, {
      allowIndefinite: false,
      allowUndefined: false,
      allowInfinity: false,
      allowNaN: false,
      allowBigInt: false,
      rejectDuplicateMapKeys: true,
      strict: true,
    });
  } catch {
    return undefined;
  }
}

/** Walks the headers alone, so that neither depth nor claimed lengths can cost more than the bytes received. */
function withinBounds(bytes: Uint8Array): boolean {
  const remaining: number[] = [];
  let offset = 0;
  for (let items = 0; items < maxCborItems; items++) {
    const header = headerAt(bytes, offset);
    if (header === undefined) return false;
    offset = header.end;
    if (header.children > 0) remaining.push(header.children);
    if (remaining.length > maxCborDepth) return false;
    if (header.children === 0) {
      while (remaining.length > 0) {
        const left = remaining[remaining.length - 1]! - 1;
        if (left > 0) {
          remaining[remaining.length - 1] = left;
          break;
        }
        remaining.pop();
      }
    }
    if (remaining.length === 0) return offset === bytes.length;
  }
  return false;
}

function headerAt(bytes: Uint8Array, at: number): { end: number; children: number } | undefined {
  const initial = bytes[at];
  if (initial === undefined) return undefined;
  const major = initial >> 5;
  const additional = initial & 0x1f;
  if (major === 6 || additional > 27) return undefined;
  const argumentBytes = additional < 24 ? 0 : 1 << (additional - 24);
  const start = at + 1 + argumentBytes;
  if (start > bytes.length) return undefined;
  if (major === 7) return { end: start, children: 0 };
  let argument = additional < 24 ? additional : 0;
  for (let i = 0; i < argumentBytes; i++) argument = argument * 256 + bytes[at + 1 + i]!;
  switch (major) {
    case 2:
      return argument > bytes.length - start ? undefined : { end: start + argument, children: 0 };
    case 3: {
      const end = start + argument;
      return end <= bytes.length && isUtf8(bytes.subarray(start, end))
        ? { end, children: 0 }
        : undefined;
    }
    case 4:
      return argument > bytes.length - start ? undefined : { end: start, children: argument };
    case 5:
      return argument > bytes.length - start ? undefined : { end: start, children: 2 * argument };
    default:
      return { end: start, children: 0 };
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function isUtf8(bytes: Uint8Array): boolean {
  try {
    utf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
