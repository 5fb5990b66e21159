import {
  DESTINATION_EVERYBODY,
  DESTINATION_LOCAL,
  DESTINATION_UNICAST,
  isGroupManagement,
} from '#core/lan/groups.ts';
import { COUNTER } from './counters.ts';
import {
  ITEM_DESTINATION,
  ITEM_FAMILY,
  ITEM_GSO_SIZE,
  ITEM_LENGTH,
  ITEM_OFFSET,
  PIECE_LENGTH,
  PIECE_OFFSET,
  PIECE_WORDS,
  UNIT_DESTINATION,
  UNIT_FAMILY,
  UNIT_FIRST,
  UNIT_PIECES,
} from './layout.ts';
import type { PlaneState } from './plane-state.ts';

const NOBODY: readonly number[] = [];

const OUT_GROUP_LIMITED = COUNTER['out-group-limited'];
const OUT_GROUP_LOCAL = COUNTER['out-group-local'];
const IN_GROUP = COUNTER['in-group'];
const IN_GROUP_LIMITED = COUNTER['in-group-limited'];
const IN_DESTINATION_REFUSED = COUNTER['in-destination-refused'];

/**
 * Takes an IP packet from the device that is for more than one: kept for the fan-out, or dropped and counted. False when it is for
 * one peer.
 */
export function takeGroupPacket(state: PlaneState, row: number, nowMs: number): boolean {
  const { items, out, counters } = state.tables;
  const { groups, lan, fanOut } = state;
  const family = items[row + ITEM_FAMILY]!;
  const kind = groups.kindOf(family, items, row + ITEM_DESTINATION);
  if (kind === DESTINATION_UNICAST) return false;
  if (isGroupManagement(out, items[row + ITEM_OFFSET]!, items[row + ITEM_LENGTH]!, family)) {
    counters[OUT_GROUP_LOCAL]!++;
    if (groups.mayTellChange(nowMs)) state.uplink.push({ type: 'groups-changed' });
    return true;
  }
  if (kind === DESTINATION_LOCAL || isFromLinkLocal(out, items[row + ITEM_OFFSET]!, family)) {
    counters[OUT_GROUP_LOCAL]!++;
    return true;
  }
  const toAll = kind === DESTINATION_EVERYBODY;
  const first = toAll ? lan.everybody : lan.unfiltered;
  const second = toAll ? NOBODY : lan.members(family, items, row + ITEM_DESTINATION);
  const bucket = toAll ? groups.outEverybody : groups.outMembers;
  const packets = packetsOf(items, row);
  const copies = packets * (first.length + second.length);
  if (!bucket.take(packets, nowMs) || !groups.outCopies.take(copies, nowMs)) {
    counters[OUT_GROUP_LIMITED]!++;
    return true;
  }
  fanOut.add(items, row, first, second);
  return true;
}

/**
 * A link-local source (fe80::/10) says nothing of who sends, so every receiver would refuse it: a TUN interface has one, which
 * the system uses for its own announcements. In Ethernet mode such packets travel as frames.
 */
function isFromLinkLocal(out: Uint8Array, offset: number, family: number): boolean {
  return family === 6 && out[offset + 8] === 0xfe && (out[offset + 9]! & 0xc0) === 0x80;
}

/** How many packets a super-packet becomes, about. */
export function packetsOf(items: Int32Array, row: number): number {
  const gsoSize = items[row + ITEM_GSO_SIZE]!;
  return gsoSize === 0 ? 1 : Math.ceil(items[row + ITEM_LENGTH]! / gsoSize);
}

/** Whether a unit is for more than one and we take it, its source being the peer's own; what we do not take is counted. */
export function takesGroupUnit(
  state: PlaneState,
  row: number,
  peer: number,
  nowMs: number,
): boolean {
  const { units, pieces, incoming, counters } = state.tables;
  const { groups } = state;
  const family = units[row + UNIT_FAMILY]!;
  const packets = units[row + UNIT_PIECES]!;
  const kind = groups.kindOf(family, units, row + UNIT_DESTINATION);
  const piece = units[row + UNIT_FIRST]! * PIECE_WORDS;
  const offset = pieces[piece + PIECE_OFFSET]!;
  const isForeign =
    kind === DESTINATION_UNICAST ||
    kind === DESTINATION_LOCAL ||
    isGroupManagement(incoming, offset, pieces[piece + PIECE_LENGTH]!, family);
  if (isForeign) {
    counters[IN_DESTINATION_REFUSED]! += packets;
    return false;
  }
  const rates = kind === DESTINATION_EVERYBODY ? groups.inEverybody : groups.inMembers;
  if (!rates.take(peer, packets, nowMs)) {
    counters[IN_GROUP_LIMITED]! += packets;
    return false;
  }
  counters[IN_GROUP]! += packets;
  return true;
}
