import { COUNTER } from './counters.ts';
import { injectPacket } from './ethernet-plane.ts';
import { packetTooBig } from './icmp.ts';
import {
  ITEM_CSUM_OFFSET,
  ITEM_CSUM_START,
  ITEM_FLAGS,
  ITEM_GSO_SIZE,
  ITEM_GSO_TYPE,
  ITEM_LENGTH,
  ITEM_LINK,
  ITEM_OFFSET,
} from './layout.ts';
import type { PlaneState } from './plane-state.ts';
import type { Rate } from './token-bucket.ts';
import { segment } from './twin/segment.ts';

const OUT_TOO_BIG = COUNTER['out-too-big'];

/** Answers to packets that are too big, for each peer: one for every packet of a sender that has learnt nothing yet. */
export const TOO_BIG_RATE: Rate = { perSecond: 100, burst: 100 };

/**
 * Tells the sender of a packet, whose row stands in the ITEM table, that it is too big for the path, as a router would. The
 * answer comes from the packet's own destination, which the system believes to be behind the device.
 */
export function answerTooBig(state: PlaneState, row: number, peer: number, nowMs: number): void {
  const { tables, peers, tooBigRates } = state;
  tables.counters[OUT_TOO_BIG]!++;
  const mtuBytes = peers.mtuOf(peer);
  if (mtuBytes === 0 || !tooBigRates.take(peer, 1, nowMs)) return;
  const packet = firstPacket(state, row);
  const answer = packet === undefined ? undefined : packetTooBig(packet, mtuBytes);
  if (answer !== undefined) injectPacket(state, answer);
}

/** What the system sent first: the packet itself, or the first segment of a super-packet. */
function firstPacket({ tables }: PlaneState, row: number): Uint8Array | undefined {
  const { items, out } = tables;
  const offset = items[row + ITEM_OFFSET]!;
  const packet = out.subarray(offset, offset + items[row + ITEM_LENGTH]!);
  const gsoType = items[row + ITEM_GSO_TYPE]!;
  // Frames are nothing that routers answer.
  if (items[row + ITEM_LINK] !== 0) return undefined;
  if (gsoType === 0) return packet;
  const [first] =
    segment(packet, {
      flags: items[row + ITEM_FLAGS]!,
      gsoType,
      gsoSize: items[row + ITEM_GSO_SIZE]!,
      csumStart: items[row + ITEM_CSUM_START]!,
      csumOffset: items[row + ITEM_CSUM_OFFSET]!,
    }) ?? [];
  return first;
}
