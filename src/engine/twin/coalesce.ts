import { MAX_SEGMENTS, OFFLOAD_TSO4, OFFLOAD_TSO6, OFFLOAD_USO4, OFFLOAD_USO6 } from '../layout.ts';
import { get16, get32, onesSum, pseudoHeaderSum, put16, setIpv4Checksum } from './checksum.ts';
import { type Inner, PROTOCOL_TCP, PROTOCOL_UDP, type Wrapped } from './inner.ts';
import { GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM } from './segment.ts';

const TCP_PSH = 8;
const TCP_ACK = 16;
const MAX_UNIT_BYTES = 65_535;

/** An opened packet: exactly its bytes, without padding and without the header of what is not IP, somewhere in a larger buffer. */
export interface OpenedPacket {
  readonly bytes: Uint8Array;
  readonly inner: Inner | Wrapped;
  /** Slot of the key it was opened with: packets of different peers never share a unit. */
  readonly key: number;
}

/** Packets of one flow that the device takes in one write. */
export interface Unit {
  readonly key: number;
  readonly family: (Inner | Wrapped)['family'];
  /** The first packet, and the payloads of the others. */
  readonly pieces: Uint8Array[];
  innerBytes: number;
  flags: number;
  gsoType: number;
  headersLength: number;
  gsoSize: number;
  csumStart: number;
  csumOffset: number;
}

interface Flow {
  readonly unit: Unit;
  readonly first: OpenedPacket;
  readonly headersLength: number;
  readonly payloadLength: number;
  nextSequence: number;
  open: boolean;
}

/**
 * Joins consecutive packets of flows to units, in the order given. A packet joins only the latest unit of its flow; what has
 * no flow (fragments, other protocols) ends all open units, so that nothing overtakes. The headers of the first packet
 * of a unit are rewritten in place.
 */
export function coalesce(packets: readonly OpenedPacket[], offloads: number): Unit[] {
  const units: Unit[] = [];
  // Flows by hash, as C has them: of two flows with the same hash only the later one stays open.
  const flows = new Map<number, Flow>();
  for (const packet of packets) {
    if (!hasFlow(packet)) {
      for (const flow of flows.values()) finish(flow);
      flows.clear();
      units.push(newUnit(packet));
      continue;
    }
    const shape = inspect(packet, offloads);
    const slot = flowSlot(packet);
    const flow = flows.get(slot);
    if (flow !== undefined && joins(flow, packet, shape)) {
      join(flow, packet, shape);
      continue;
    }
    if (flow !== undefined) finish(flow);
    const unit = newUnit(packet);
    units.push(unit);
    flows.set(slot, newFlow(unit, packet, shape));
  }
  for (const flow of flows.values()) finish(flow);
  return units;
}

function hasFlow({ bytes, inner }: OpenedPacket): boolean {
  if (inner.fragment || (inner.family === 4 && inner.headerLength !== 20)) return false;
  if (inner.protocol === PROTOCOL_TCP) return bytes.length >= inner.headerLength + 20;
  return inner.protocol === PROTOCOL_UDP && bytes.length >= inner.headerLength + 8;
}

function flowSlot({ bytes, inner }: OpenedPacket): number {
  const [at, size] = inner.family === 4 ? [12, 8] : [8, 32];
  let hash = inner.protocol;
  for (let i = 0; i < size; i += 4) hash = Math.imul(hash ^ get32(bytes, at + i), 0x9e3779b1);
  hash = Math.imul(hash ^ get32(bytes, inner.headerLength), 0x9e3779b1);
  return hash >>> 26;
}

interface Joinable {
  readonly joinable: boolean;
  readonly headersLength: number;
  readonly payloadLength: number;
}

function inspect({ bytes, inner }: OpenedPacket, offloads: number): Joinable {
  const l4 = inner.headerLength;
  const tcp = inner.protocol === PROTOCOL_TCP;
  const l4Header = tcp ? (bytes[l4 + 12]! >> 4) * 4 : 8;
  const headersLength = l4 + l4Header;
  const payloadLength = bytes.length - headersLength;
  const no = { joinable: false, headersLength, payloadLength };
  if (payloadLength <= 0) return no;
  const v4 = inner.family === 4;
  if (tcp) {
    if (l4Header < 20 || (bytes[l4 + 12]! & 15) !== 0) return no;
    if ((bytes[l4 + 13]! & ~TCP_PSH) !== TCP_ACK || get16(bytes, l4 + 18) !== 0) return no;
    if ((offloads & (v4 ? OFFLOAD_TSO4 : OFFLOAD_TSO6)) === 0) return no;
  } else {
    if (get16(bytes, l4 + 4) !== bytes.length - l4 || get16(bytes, l4 + 6) === 0) return no;
    if ((offloads & (v4 ? OFFLOAD_USO4 : OFFLOAD_USO6)) === 0) return no;
  }
  if (v4 && ((bytes[6]! & 0x80) !== 0 || onesSum(bytes.subarray(0, 20)) !== 0xffff)) return no;
  const pseudo = pseudoHeaderSum(bytes, inner.protocol, bytes.length - l4);
  const joinable = onesSum(bytes.subarray(l4), pseudo) === 0xffff;
  return { joinable, headersLength, payloadLength };
}

function joins(flow: Flow, packet: OpenedPacket, shape: Joinable): boolean {
  const { first, unit } = flow;
  const { inner, bytes } = packet;
  const l4 = inner.headerLength;
  if (!flow.open || !shape.joinable || flow.headersLength !== shape.headersLength) return false;
  if (unit.key !== packet.key || shape.payloadLength > flow.payloadLength) return false;
  if (inner.family !== first.inner.family || inner.protocol !== first.inner.protocol) return false;
  const addresses = inner.family === 4 ? [12, 20] : [8, 40];
  if (!sameBytes(first.bytes, bytes, addresses[0]!, addresses[1]!)) return false;
  if (!sameBytes(first.bytes, bytes, l4, l4 + 4)) return false;
  const total = flow.headersLength + unit.pieces.length * flow.payloadLength + shape.payloadLength;
  if (unit.pieces.length >= MAX_SEGMENTS || total > MAX_UNIT_BYTES) return false;
  if (!sameIpFields(first.bytes, packet, unit.pieces.length)) return false;
  if (inner.protocol !== PROTOCOL_TCP) return true;
  return (
    get32(bytes, l4 + 4) === flow.nextSequence &&
    sameBytes(first.bytes, bytes, l4 + 8, l4 + 12) &&
    sameBytes(first.bytes, bytes, l4 + 14, l4 + 16) &&
    sameBytes(first.bytes, bytes, l4 + 20, shape.headersLength)
  );
}

function sameIpFields(first: Uint8Array, { bytes, inner }: OpenedPacket, packets: number): boolean {
  if (inner.family === 6) return sameBytes(first, bytes, 0, 4) && first[7] === bytes[7];
  if (first[1] !== bytes[1] || first[8] !== bytes[8] || first[6] !== bytes[6]) return false;
  // Without 'do not fragment' the identification matters and has to count up.
  const counted = (get16(first, 4) + packets) & 0xffff;
  return (first[6]! & 0x40) !== 0 || get16(bytes, 4) === counted;
}

function sameBytes(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false;
  return true;
}

function join(flow: Flow, packet: OpenedPacket, shape: Joinable): void {
  const flagsAt = packet.inner.headerLength + 13;
  flow.unit.pieces.push(packet.bytes.subarray(shape.headersLength));
  flow.unit.innerBytes += packet.bytes.length;
  flow.nextSequence = (flow.nextSequence + shape.payloadLength) >>> 0;
  if (packet.inner.protocol === PROTOCOL_TCP) {
    flow.first.bytes[flagsAt]! |= packet.bytes[flagsAt]! & TCP_PSH;
  }
  if (endsUnit(packet, shape.payloadLength, flow.payloadLength)) flow.open = false;
}

function endsUnit(packet: OpenedPacket, payloadLength: number, gsoSize: number): boolean {
  if (payloadLength < gsoSize) return true;
  const { inner, bytes } = packet;
  return inner.protocol === PROTOCOL_TCP && (bytes[inner.headerLength + 13]! & TCP_PSH) !== 0;
}

function newUnit({ bytes, inner, key }: OpenedPacket): Unit {
  return {
    key,
    family: inner.family,
    pieces: [bytes],
    innerBytes: bytes.length,
    flags: 0,
    gsoType: GSO_NONE,
    headersLength: 0,
    gsoSize: 0,
    csumStart: 0,
    csumOffset: 0,
  };
}

function newFlow(unit: Unit, packet: OpenedPacket, shape: Joinable): Flow {
  const { headersLength, payloadLength, joinable } = shape;
  const { bytes, inner } = packet;
  const sequence = inner.protocol === PROTOCOL_TCP ? get32(bytes, inner.headerLength + 4) : 0;
  const nextSequence = (sequence + payloadLength) >>> 0;
  const open = joinable && !endsUnit(packet, payloadLength, payloadLength);
  return { unit, first: packet, headersLength, payloadLength, nextSequence, open };
}

/** Makes the headers of the first packet those of the whole, for the device to take apart again. */
function finish(flow: Flow): void {
  const { unit, first } = flow;
  if (unit.pieces.length < 2) return;
  const packet = first.bytes;
  const l4 = first.inner.headerLength;
  const tcp = first.inner.protocol === PROTOCOL_TCP;
  const length = unit.pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (unit.family === 4) {
    put16(packet, 2, length);
    setIpv4Checksum(packet, l4);
  } else {
    put16(packet, 4, length - 40);
  }
  if (!tcp) put16(packet, l4 + 4, length - l4);
  put16(packet, l4 + (tcp ? 16 : 6), pseudoHeaderSum(packet, first.inner.protocol, length - l4));
  unit.flags = NEEDS_CSUM;
  unit.gsoType = tcp ? (unit.family === 4 ? GSO_TCPV4 : GSO_TCPV6) : GSO_UDP_L4;
  unit.headersLength = flow.headersLength;
  unit.gsoSize = flow.payloadLength;
  unit.csumStart = l4;
  unit.csumOffset = tcp ? 16 : 6;
}
