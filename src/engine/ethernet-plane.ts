import { INNER_HEADER_BYTES, writeInnerHeader } from '#wire/inner.ts';
import { COUNTER } from './counters.ts';
import {
  ETHERNET_HEADER_BYTES,
  isGroupMac,
  MAC_BYTES,
  payloadOf,
  readAddress,
  stationAt,
  writeMac,
} from './ethernet.ts';
import {
  decideFrame,
  OUT_ASK_ARP,
  OUT_ASK_ND,
  OUT_FLOOD,
  OUT_MALFORMED,
  OUT_NOBODY,
  OUT_PACKET,
  OUT_QUIET,
  OUT_STRANGER,
} from './ethernet-decision.ts';
import {
  FRAME_DESTINATION,
  FRAME_GOOD,
  FRAME_MALFORMED,
  FRAME_ROUTER,
  FRAME_SOURCE,
  judgeFrame,
  type Segment,
} from './ethernet-judge.ts';
import {
  ARP_TARGET_IP,
  arpReply,
  IPV6_HEADER_BYTES,
  ND_TARGET,
  neighbourAdvertisement,
} from './ethernet-neighbours.ts';
import { packetsOf } from './group-packets.ts';
import {
  FAMILY_FRAME,
  ITEM_CSUM_START,
  ITEM_FAMILY,
  ITEM_LENGTH,
  ITEM_LINK,
  ITEM_OFFSET,
  PIECE_LENGTH,
  PIECE_OFFSET,
  PIECE_WORDS,
  UNIT_DESTINATION,
  UNIT_FAMILY,
  UNIT_FIRST,
  UNIT_GROUP,
  UNIT_STATION,
} from './layout.ts';
import type { PlaneState } from './plane-state.ts';

const OUT_FRAMES = COUNTER['out-frames'];
const OUT_FRAME_ANSWERED = COUNTER['out-frame-answered'];
const OUT_FRAME_LOCAL = COUNTER['out-frame-local'];
const OUT_FRAME_NOBODY = COUNTER['out-frame-nobody'];
const OUT_FRAME_STRANGER = COUNTER['out-frame-stranger'];
const OUT_GROUP_LIMITED = COUNTER['out-group-limited'];
const OUT_MALFORMED_COUNTER = COUNTER['out-malformed'];
const IN_FRAMES = COUNTER['in-frames'];
const IN_GROUP_LIMITED = COUNTER['in-group-limited'];

/** What `takeFrame` says beside the peer to whom a frame goes. */
/** The row is that of an IP packet as from a TUN device. */
export const IS_PACKET = -1;
/** Answered, flooded or dropped, and counted. */
export const IS_DONE = -2;

/** Takes what a TAP device delivered: the peer to whom it goes as a frame, which the row then describes, or one of the above. */
export function takeFrame(state: PlaneState, segment: Segment, row: number, nowMs: number): number {
  const { items, out, counters } = state.tables;
  const family = items[row + ITEM_FAMILY]!;
  const link = family === FAMILY_FRAME ? 0 : ETHERNET_HEADER_BYTES;
  const at = items[row + ITEM_OFFSET]! - link;
  const length = items[row + ITEM_LENGTH]! + link;
  const decision = decideFrame(out, at, length, family, segment);
  switch (decision) {
    case OUT_PACKET:
      return IS_PACKET;
    case OUT_ASK_ARP:
    case OUT_ASK_ND:
      counters[OUT_FRAME_ANSWERED]!++;
      state.addon.deviceInject(answer(state, at, decision === OUT_ASK_ARP));
      return IS_DONE;
    case OUT_FLOOD:
      flood(state, row, at, length, nowMs);
      return IS_DONE;
    case OUT_QUIET:
      counters[OUT_FRAME_LOCAL]!++;
      return IS_DONE;
    case OUT_STRANGER:
      counters[OUT_FRAME_STRANGER]!++;
      return IS_DONE;
    case OUT_NOBODY:
      counters[OUT_FRAME_NOBODY]!++;
      return IS_DONE;
    case OUT_MALFORMED:
      counters[OUT_MALFORMED_COUNTER]!++;
      return IS_DONE;
    default:
      if (!state.lan.isEthernet(decision)) {
        counters[OUT_FRAME_NOBODY]!++;
        return IS_DONE;
      }
      counters[OUT_FRAMES]!++;
      wrap(state, row, at, length);
      return decision;
  }
}

const words = new Int32Array(4);

/** The station of the member that has the address in these bytes; 0: nobody has it. */
function stationBy(state: PlaneState, bytes: Uint8Array, at: number, family: 4 | 6): number {
  readAddress(bytes, at, family, words);
  const peer = state.peers.routes.lookup(family, words, 0);
  return peer < 0 ? 0 : state.peers.stationOf(peer);
}

/** The answer of the member that is asked for. */
function answer(state: PlaneState, at: number, isArp: boolean): Uint8Array {
  const { out } = state.tables;
  const asked =
    at + ETHERNET_HEADER_BYTES + (isArp ? ARP_TARGET_IP : IPV6_HEADER_BYTES + ND_TARGET);
  const station = stationBy(state, out, asked, isArp ? 4 : 6);
  return isArp ? arpReply(out, at, station) : neighbourAdvertisement(out, at, station);
}

/** To everybody in Ethernet mode, under the caps of broadcast. */
function flood(state: PlaneState, row: number, at: number, length: number, nowMs: number): void {
  const { items, counters } = state.tables;
  const { groups, lan, fanOut } = state;
  if (lan.ethernet.length === 0) {
    counters[OUT_FRAME_NOBODY]!++;
    return;
  }
  const packets = packetsOf(items, row);
  const copies = packets * lan.ethernet.length;
  if (!groups.outEverybody.take(packets, nowMs) || !groups.outCopies.take(copies, nowMs)) {
    counters[OUT_GROUP_LIMITED]!++;
    return;
  }
  counters[OUT_FRAMES]!++;
  wrap(state, row, at, length);
  fanOut.add(items, row, lan.ethernet);
}

/** Puts the inner header before a frame, in the room that the device left, and has the row describe both. */
function wrap(state: PlaneState, row: number, at: number, length: number): void {
  const { items, out } = state.tables;
  const start = at - INNER_HEADER_BYTES;
  writeInnerHeader(out, start, { kind: 'frame', length: Math.min(length, 0xffff) });
  // A super-packet has its checksums where its IP header is: behind tags, perhaps.
  items[row + ITEM_LINK] = INNER_HEADER_BYTES + (payloadOf(out, at, length) >>> 16);
  items[row + ITEM_CSUM_START]! += items[row + ITEM_OFFSET]! - start;
  items[row + ITEM_OFFSET] = start;
  items[row + ITEM_LENGTH] = INNER_HEADER_BYTES + length;
  items[row + ITEM_FAMILY] = FAMILY_FRAME;
}

const REFUSALS: Readonly<Record<number, number>> = {
  [FRAME_SOURCE]: COUNTER['in-source-refused'],
  [FRAME_DESTINATION]: COUNTER['in-destination-refused'],
  [FRAME_MALFORMED]: COUNTER['in-malformed'],
  [FRAME_ROUTER]: COUNTER['in-router-refused'],
};

/** Whether the device takes the frame of a peer; what it does not take is counted. */
export function takesFrame(state: PlaneState, row: number, peer: number, nowMs: number): boolean {
  const { units, pieces, incoming, counters } = state.tables;
  const { ethernet, peers, groups } = state;
  if (ethernet === undefined) {
    counters[COUNTER['in-destination-refused']]!++;
    return false;
  }
  const piece = units[row + UNIT_FIRST]! * PIECE_WORDS;
  const at = pieces[piece + PIECE_OFFSET]!;
  const length = pieces[piece + PIECE_LENGTH]!;
  const verdict = judgeFrame(incoming, at, length, ethernet, peer, peers.stationOf(peer));
  if (verdict !== FRAME_GOOD) {
    counters[REFUSALS[verdict]!]!++;
    return false;
  }
  const isFlooded = isGroupMac(incoming, at) || stationAt(incoming, at) !== ethernet.station;
  if (isFlooded && !groups.inEverybody.take(peer, 1, nowMs)) {
    counters[IN_GROUP_LIMITED]!++;
    return false;
  }
  counters[IN_FRAMES]!++;
  return true;
}

/** Says to whom an accepted IP unit goes on a TAP device, and from whom it is. */
export function addressUnit(state: PlaneState, row: number, peer: number): void {
  const { units } = state.tables;
  const isOurs = state.ours.lookup(units[row + UNIT_FAMILY]!, units, row + UNIT_DESTINATION) >= 0;
  units[row + UNIT_STATION] = state.peers.stationOf(peer);
  units[row + UNIT_GROUP] = isOurs ? 0 : 1;
}

/**
 * Writes an IP packet that was built here, such as an ICMP error, into the device, whatever its kind. On a TAP device it comes
 * from the MAC of the member whose address is its source.
 */
export function injectPacket(state: PlaneState, packet: Uint8Array): boolean {
  const { addon, ethernet } = state;
  if (ethernet === undefined) return addon.deviceInject(packet);
  const isV4 = packet[0]! >> 4 === 4;
  const frame = new Uint8Array(ETHERNET_HEADER_BYTES + packet.length);
  writeMac(frame, 0, ethernet.station);
  writeMac(frame, MAC_BYTES, stationBy(state, packet, isV4 ? 12 : 8, isV4 ? 4 : 6));
  frame.set(isV4 ? [0x08, 0x00] : [0x86, 0xdd], 2 * MAC_BYTES);
  frame.set(packet, ETHERNET_HEADER_BYTES);
  return addon.deviceInject(frame);
}
