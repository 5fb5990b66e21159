/**
 * The client's side of WebSockets (RFC 6455), as far as datagrams in binary messages need it. Frames are written into and read out
 * of buffers that the caller owns: nothing is allocated for one.
 *
 *   0  FIN 1 bit, RSV 3 bits (zero), opcode 4 bits
 *   1  MASK 1 bit (set by clients only), length 7 bits: 0..125, or 126: 16 bits follow, or 127: 64 bits follow; shortest form
 *   -  4 bytes mask, when MASK is set: payload byte i is XORed with mask byte i mod 4
 *   -  payload
 */

export const opContinuation = 0;
export const opText = 1;
export const opBinary = 2;
export const opClose = 8;
export const opPing = 9;
export const opPong = 10;

/** Of a masked frame with up to 65,535 bytes of payload. */
export const maxFrameOverhead = 8;
const maxControlBytes = 125;

/** Writes a masked frame of one final message; returns where it ends. There must be room for payload and `maxFrameOverhead`. */
export function writeFrame(
  to: DataView,
  at: number,
  opcode: number,
  from: DataView,
  start: number,
  length: number,
  mask: number,
): number {
  to.setUint8(at, 0x80 | opcode);
  let payload = at + 6;
  if (length <= maxControlBytes) to.setUint8(at + 1, 0x80 | length);
  else {
    to.setUint8(at + 1, 0x80 | 126);
    to.setUint16(at + 2, length);
    payload = at + 8;
  }
  to.setInt32(payload - 4, mask, true);
  let i = 0;
  for (const words = length & ~3; i < words; i += 4) {
    to.setInt32(payload + i, from.getInt32(start + i, true) ^ mask, true);
  }
  for (; i < length; i++) {
    to.setUint8(payload + i, from.getUint8(start + i) ^ (mask >>> (8 * (i & 3))));
  }
  return payload + length;
}

export interface FrameSink {
  /** A whole binary message: `length` bytes at `at`, which are the caller's again afterwards. */
  onMessage(bytes: Uint8Array, at: number, length: number): void;
  /** A close, ping or pong. */
  onControl(opcode: number, payload: Uint8Array): void;
}

/** Takes frames of a server out of a stream of bytes. */
export class FrameReader {
  readonly #maxMessageBytes: number;
  readonly #sink: FrameSink;
  /** The beginning of a frame whose end has not come. */
  readonly #partial: Uint8Array;
  #held = 0;
  /** A message in fragments, which only proxies make. */
  #message: Uint8Array | undefined;
  #assembled = 0;
  #inMessage = false;
  #fault: string | undefined;
  // Of the frame that was looked at last.
  #head = 0;
  #payload = 0;

  constructor(maxMessageBytes: number, sink: FrameSink) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#sink = sink;
    this.#partial = new Uint8Array(maxMessageBytes + maxFrameOverhead);
  }

  /** Returns what is wrong with the stream, which is of no use any more then. */
  push(chunk: Uint8Array): string | undefined {
    let at = 0;
    while (this.#fault === undefined && this.#held > 0 && at < chunk.length)
      at = this.#fill(chunk, at);
    while (this.#fault === undefined && at < chunk.length) {
      if (!this.#look(chunk, at, chunk.length)) {
        if (this.#fault !== undefined) break;
        this.#partial.set(chunk.subarray(at), 0);
        this.#held = chunk.length - at;
        break;
      }
      this.#take(chunk, at);
      at += this.#head + this.#payload;
    }
    return this.#fault;
  }

  /** Completes the frame that was begun, as far as the chunk goes; returns where it goes on. */
  #fill(chunk: Uint8Array, at: number): number {
    // Byte by byte while the header is not whole: few are.
    const knowsEnd = this.#look(this.#partial, 0, this.#held) || this.#head > 0;
    if (this.#fault !== undefined) return at;
    const wanted = knowsEnd ? this.#head + this.#payload - this.#held : 1;
    const given = Math.min(wanted, chunk.length - at);
    this.#partial.set(chunk.subarray(at, at + given), this.#held);
    this.#held += given;
    if (this.#look(this.#partial, 0, this.#held)) {
      this.#held = 0;
      this.#take(this.#partial, 0);
    }
    return at + given;
  }

  /** Whether a whole frame begins at `at`. `#head` is 0 while not even its header is whole. */
  #look(bytes: Uint8Array, at: number, end: number): boolean {
    this.#head = 0;
    if (end - at < 2) return false;
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    const opcode = first & 0x0f;
    if ((first & 0x70) !== 0) return this.#fail('reserved bits are set');
    if ((second & 0x80) !== 0) return this.#fail('a server masks nothing');
    if (opcode >= opClose && ((first & 0x80) === 0 || second > maxControlBytes)) {
      return this.#fail('a control frame is too long or in fragments');
    }
    if (second === 127) return this.#fail('a message is too long');
    let length = second;
    let head = 2;
    if (second === 126) {
      if (end - at < 4) return false;
      length = (bytes[at + 2]! << 8) | bytes[at + 3]!;
      head = 4;
      if (length <= maxControlBytes) return this.#fail('a length is not in its shortest form');
    }
    if (length > this.#maxMessageBytes) return this.#fail('a message is too long');
    this.#head = head;
    this.#payload = length;
    return end - at >= head + length;
  }

  #take(bytes: Uint8Array, at: number): void {
    const first = bytes[at]!;
    const opcode = first & 0x0f;
    const start = at + this.#head;
    const isFinal = (first & 0x80) !== 0;
    if (opcode >= opClose) {
      if (opcode > opPong) this.#fail('an unknown kind of frame');
      else this.#sink.onControl(opcode, bytes.subarray(start, start + this.#payload));
    } else if (opcode === opBinary && !this.#inMessage) {
      if (isFinal) this.#sink.onMessage(bytes, start, this.#payload);
      else this.#assemble(bytes, start, false);
    } else if (opcode === opContinuation && this.#inMessage) this.#assemble(bytes, start, isFinal);
    else this.#fail('a frame is out of place');
  }

  #assemble(bytes: Uint8Array, start: number, isFinal: boolean): void {
    this.#message ??= new Uint8Array(this.#maxMessageBytes);
    const message = this.#message;
    if (this.#assembled + this.#payload > message.length) {
      this.#fail('a message is too long');
      return;
    }
    message.set(bytes.subarray(start, start + this.#payload), this.#assembled);
    this.#assembled += this.#payload;
    this.#inMessage = !isFinal;
    if (!isFinal) return;
    const length = this.#assembled;
    this.#assembled = 0;
    this.#sink.onMessage(message, 0, length);
  }

  #fail(fault: string): false {
    this.#fault ??= fault;
    return false;
  }
}

/** All that the answer to an upgrade may have before the first frame. */
export const maxUpgradeAnswerBytes = 16_384;

/** @param key 16 random bytes in base64 */
export const upgradeRequest = (host: string, path: string, key: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`;

/** What SHA-1 is taken of to check the answer. */
export const acceptInput = (key: string): string => `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;

export type UpgradeAnswer =
  | { readonly kind: 'partial' }
  /** Frames begin at `bodyAt`. */
  | { readonly kind: 'open'; readonly bodyAt: number }
  | { readonly kind: 'refused'; readonly status: number }
  | { readonly kind: 'broken' };

/** @param accept base64 of the SHA-1 of `acceptInput` */
export function readUpgradeAnswer(bytes: Uint8Array, accept: string): UpgradeAnswer {
  const text = String.fromCharCode(...bytes.subarray(0, maxUpgradeAnswerBytes));
  const start = 'HTTP/1.1 ';
  if (!text.startsWith(start.slice(0, text.length))) return { kind: 'broken' };
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return { kind: bytes.length >= maxUpgradeAnswerBytes ? 'broken' : 'partial' };
  const status = Number(/^HTTP\/1\.1 ([0-9]{3})/.exec(text)?.[1] ?? 0);
  if (status !== 101) return status === 0 ? { kind: 'broken' } : { kind: 'refused', status };
  const head = text.slice(0, end + 2);
  const isOurs =
    /\r\nsec-websocket-accept:[ \t]*([A-Za-z0-9+/=]+)[ \t]*\r\n/i.exec(head)?.[1] === accept;
  // Nothing was offered, so nothing can have been chosen.
  const hasExtension = /\r\nsec-websocket-(?:extensions|protocol):/i.test(head);
  return isOurs && !hasExtension ? { kind: 'open', bodyAt: end + 4 } : { kind: 'broken' };
}
