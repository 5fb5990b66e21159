/**
 * Plays the inputs of the fuzz targets on the addon or its twin, and writes such inputs. native/fuzz/script.h describes them; what these
 * functions do with an input is what native/fuzz/fuzz_outbound.c and fuzz_inbound.c do; relay-rigs.ts does the same for relays.
 */
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { SUITE_AES_256_GCM, SUITE_CHACHA20_POLY1305 } from '#engine/addon.ts';
import * as layout from '#engine/layout.ts';
import { GSO_UDP_L4 } from '#engine/twin/segment.ts';
import { TransportKey } from '#engine/twin/transport.ts';
import type { Opened, PlainItem, ReceivedMessage, Rig, SealedRun } from './byte-rigs.ts';

export const PACKET_TARGETS = ['outbound', 'inbound'] as const;
export type PacketTarget = (typeof PACKET_TARGETS)[number];

const BATCH_ITEMS = 7;
const PATTERN_TIMES = 16;
const MAX_DATAGRAM = 16_384;
const SLOTS = [0, 1] as const;
const SUITES = [SUITE_AES_256_GCM, SUITE_CHACHA20_POLY1305] as const;
const SUITE_NAMES = ['aes256gcm', 'chacha20poly1305'] as const;
const FLAG_NEEDS_CSUM = 1;

/** What a batch came to, in a form that can be compared. */
export type Played = SealedBatch | Opened;

export interface SealedBatch {
  readonly rows: readonly (readonly number[])[];
  readonly runs: readonly SealedRun[];
  /** Of packets that may be sealed again: how they lie there afterwards. */
  readonly placed: readonly (string | undefined)[];
}

export function play(target: PacketTarget, rig: Rig, input: Uint8Array): Played[] {
  rig.tables.counters.fill(0);
  return target === 'outbound' ? playOutbound(rig, input) : playInbound(rig, input);
}

export class Script {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get hasEnded(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.hasEnded ? 0 : this.#bytes[this.#at++]!;
  }

  word(): number {
    return this.byte() * 256 + this.byte();
  }

  content(length: number): Uint8Array {
    const content = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += content.length;
    return content;
  }
}

const keyOf = (slot: number, side: number): Uint8Array => new Uint8Array(32).fill(16 * slot + side);

function setKeys(rig: Rig): void {
  for (const slot of SLOTS) {
    rig.work.setKey(slot, SUITES[slot], slot, keyOf(slot, 1), keyOf(slot, 2), 0, 0);
  }
}

// ---- outbound

function playOutbound(rig: Rig, input: Uint8Array): SealedBatch[] {
  const script = new Script(input);
  const mtu = script.word();
  const pathMtu = script.word();
  const prefixLength = script.byte() % (layout.MAX_PREFIX_BYTES + 1);
  setKeys(rig);
  rig.work.setOffloads(0xff, mtu);
  for (const slot of SLOTS) {
    const prefix = new Uint8Array(slot === 0 ? 0 : prefixLength).fill(0xaa);
    rig.work.setPath(slot, 0, Uint8Array.of(192, 0, 2, 1), 1, prefix, slot === 0 ? pathMtu : 0);
  }
  const batches: SealedBatch[] = [];
  let items: PlainItem[] = [];
  let complete = false;
  const seal = (): void => {
    if (items.length > 0) batches.push(sealBatch(rig, items, complete));
    items = [];
    complete = false;
  };
  while (!script.hasEnded) {
    const op = script.byte();
    if ((op & 1) !== 0 || items.length === BATCH_ITEMS) seal();
    complete ||= (op & 2) !== 0;
    items.push(readItem(script, op));
  }
  seal();
  return batches;
}

function readItem(script: Script, op: number): PlainItem {
  const flags = script.byte() | ((op & 16) === 0 ? 0 : layout.FLAG_ANY_SIZE);
  const gsoType = script.byte();
  const gsoSize = script.word();
  const csumStart = script.word();
  const csumOffset = script.byte();
  const link = script.byte();
  const path = (op & 4) === 0 ? 0 : 1;
  const content = script.content(script.word());
  const longest = (op & 32) === 0 ? content.length : content.length * (1 + PATTERN_TIMES);
  const packet = new Uint8Array(Math.min(longest, layout.SUPER_PACKET_BYTES));
  packet.set(content);
  for (let i = content.length; i < packet.length; i++) packet[i] = i;
  const least = gsoSize === 0 ? 0 : Math.floor(packet.length / 256);
  return {
    ...{ packet, flags, gsoType, gsoSize: Math.max(gsoSize, least), csumStart, csumOffset, link },
    ...{ key: (op & 8) === 0 ? path : -1, path },
  };
}

function sealBatch(rig: Rig, items: readonly PlainItem[], complete: boolean): SealedBatch {
  const { runs, rows } = rig.seal(items, complete);
  const placed = items.map((item, i) => (isSealedAgain(item) ? rig.placed(i) : undefined));
  return { rows, runs, placed };
}

const isSealedAgain = ({ gsoType, link = 0 }: PlainItem): boolean =>
  gsoType === 0 || link > 0 || (gsoType & 0x7f) === GSO_UDP_L4;

/** An input for the target: packets, each in the batch of the one before unless it says otherwise. */
export function outboundScript(
  setup: { readonly mtu: number; readonly pathMtu?: number; readonly prefixLength?: number },
  items: readonly (PlainItem & { readonly op?: number })[],
): Uint8Array {
  return Uint8Array.from([
    ...word(setup.mtu),
    ...word(setup.pathMtu ?? 0),
    setup.prefixLength ?? 0,
    ...items.flatMap((item) => [
      (item.op ?? 0) | (item.path === 1 ? 4 : 0),
      ...[item.flags, item.gsoType, ...word(item.gsoSize), ...word(item.csumStart)],
      ...[item.csumOffset, item.link ?? 0, ...word(item.packet.length), ...item.packet],
    ]),
  ]);
}

/** A packet of the device without offloads. */
export const plainItem = (packet: Uint8Array): PlainItem => ({
  ...{ packet, flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0, key: 0, path: 0 },
});

/** A packet of the device whose checksum, and perhaps more, is left to it. */
export const partialItem = (
  packet: Uint8Array,
  l4: number,
  { tcp, gsoType = 0, gsoSize = 0 }: { tcp: boolean; gsoType?: number; gsoSize?: number },
): PlainItem => ({
  ...plainItem(packet),
  ...{ flags: FLAG_NEEDS_CSUM, gsoType, gsoSize, csumStart: l4, csumOffset: tcp ? 16 : 6 },
});

// ---- inbound

/** The other side of a key. */
class Sender {
  readonly #slot: 0 | 1;
  #counter = 0n;

  constructor(slot: 0 | 1) {
    this.#slot = slot;
  }

  skip(by: number): void {
    this.#counter += BigInt(by);
  }

  seal(content: Uint8Array): Uint8Array {
    const slot = this.#slot;
    const [send, receive] = [keyOf(slot, 2), keyOf(slot, 1)];
    const counter = this.#counter++;
    const key = new TransportKey(nodeCrypto, SUITE_NAMES[slot], slot, send, receive, counter);
    return key.seal(content)!;
  }
}

function playInbound(rig: Rig, input: Uint8Array): Opened[] {
  const script = new Script(input);
  setKeys(rig);
  rig.work.setOffloads(script.word(), 0);
  const senders = SLOTS.map((slot) => new Sender(slot));
  const batches: Opened[] = [];
  let last: Uint8Array = new Uint8Array(0);
  let messages: { parts: Uint8Array[]; length: number; segment: number }[] = [];
  const open = (): void => {
    const received = messages.map(
      ({ parts, segment }): ReceivedMessage => ({ bytes: Buffer.concat(parts), segment }),
    );
    batches.push(rig.open(received, (index) => index));
    messages = [];
  };
  while (!script.hasEnded) {
    const op = script.byte();
    const datagram = readDatagram(script, op, senders, last);
    if (datagram.isSealed) last = datagram.whole;
    const { bytes } = datagram;
    const current = messages.at(-1);
    const fits = current !== undefined && current.length + bytes.length <= layout.MAX_SEND_BYTES;
    let begins = !fits || (op & 2) !== 0;
    const isFull = begins && messages.length === layout.MAX_SLOTS;
    if (messages.length > 0 && ((op & 1) !== 0 || isFull)) {
      open();
      begins = true;
    }
    if (begins) messages.push({ parts: [bytes], length: bytes.length, segment: bytes.length });
    else {
      current!.parts.push(bytes);
      current!.length += bytes.length;
    }
  }
  if (messages.length > 0) open();
  return batches;
}

function readDatagram(
  script: Script,
  op: number,
  senders: readonly Sender[],
  last: Uint8Array,
): { bytes: Uint8Array; whole: Uint8Array; isSealed: boolean } {
  const skip = script.word();
  const kind = (op >> 2) & 3;
  const content = script.content(Math.min(script.word(), MAX_DATAGRAM));
  const sender = senders[kind - 1];
  if (sender !== undefined && (op & 32) !== 0) sender.skip(skip);
  const whole = kind === 0 ? content : kind === 3 ? last : sender!.seal(content);
  // Not slice(), which is no copy of what was read from a file.
  const bytes = Uint8Array.from(whole);
  const position = (op & 16) === 0 ? undefined : script.word();
  if (position !== undefined && bytes.length > 0) {
    bytes[position % bytes.length]! ^= 1 << (position % 8);
  }
  return { bytes, whole, isSealed: sender !== undefined };
}

export interface DatagramStep {
  /** Bits of the operation, see script.h. */
  readonly op: number;
  readonly content?: Uint8Array;
  readonly skip?: number;
  readonly position?: number;
}

export function inboundScript(offloads: number, steps: readonly DatagramStep[]): Uint8Array {
  return Uint8Array.from([
    ...word(offloads),
    ...steps.flatMap(({ op, content = new Uint8Array(0), skip = 0, position }) => [
      op | (position === undefined ? 0 : 16),
      ...[...word(skip), ...word(content.length), ...content],
      ...(position === undefined ? [] : word(position)),
    ]),
  ]);
}

// ---- device

/** Frames or packets as a device delivers them, without virtio-net header but for zeros. */
export const deviceScript = (
  isTap: boolean,
  offloads: number,
  frames: readonly { readonly bytes: Uint8Array; readonly header?: readonly number[] }[],
): Uint8Array =>
  Uint8Array.from([
    ...[isTap ? 1 : 0, offloads],
    ...frames.flatMap(({ bytes, header = Array(10).fill(0) }) => [
      ...[...word(bytes.length), ...header, ...bytes],
    ]),
  ]);

export const word = (value: number): number[] => [(value >> 8) & 255, value & 255];
