/** Where something comes from and goes to: a UDP address on one of the relay's sockets, or a WebSocket. */
import { addressBytes, type Endpoint, formatAddress, sameEndpoint } from '#wire/endpoint.ts';

export type Source = UdpSource | WebSocketSource;

export interface UdpSource {
  readonly kind: 'udp';
  readonly socket: number;
  readonly endpoint: Endpoint;
}

/** Its address is proven by TCP. */
export interface WebSocketSource {
  readonly kind: 'ws';
  readonly connection: number;
  readonly endpoint: Endpoint;
}

/**
 * A source as six integers, which is how the data path compares it: socket and family, port, address (4 words, most significant first). A
 * WebSocket has the family 0 and its number for an address.
 */
export type SourceWords = Int32Array;
export const SOURCE_WORDS = 6;
const FAMILY_SHIFT = 16;

export const socketAndFamily = (socket: number, family: number): number =>
  (family << FAMILY_SHIFT) | socket;

export function writeSource(words: SourceWords, at: number, source: Source): void {
  words.fill(0, at, at + SOURCE_WORDS);
  if (source.kind === 'ws') {
    words[at + 2] = source.connection;
    return;
  }
  const { address, port } = source.endpoint;
  const bytes = addressBytes(address);
  if (bytes === undefined) throw new Error(`not an address: ${address}`);
  words[at] = socketAndFamily(source.socket, bytes.length === 4 ? 4 : 6);
  words[at + 1] = port;
  for (let i = 0; i < bytes.length; i += 4) {
    words[at + 2 + i / 4] =
      (bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!;
  }
}

export const isSame = (a: Source, b: Source): boolean =>
  a.kind === 'udp' && b.kind === 'udp'
    ? a.socket === b.socket && sameEndpoint(a.endpoint, b.endpoint)
    : a.kind === 'ws' && b.kind === 'ws' && a.connection === b.connection;

/** The address of a row of the table that C fills in: family, and four words from `at` on. */
export function addressOf(words: Int32Array, family: number, at: number): string {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length; i += 4) view.setInt32(i, words[at + i / 4]!);
  return formatAddress(bytes);
}
