import { COUNTER } from './counters.ts';
import { IS_DONE, IS_PACKET, takeFrame } from './ethernet-plane.ts';
import { takeGroupPacket } from './group-packets.ts';
import {
  ITEM_DESTINATION,
  ITEM_FAMILY,
  ITEM_KEY,
  ITEM_LENGTH,
  ITEM_OFFSET,
  ITEM_PATH,
  ITEM_WORDS,
  MAX_ITEMS,
  PACKET_GAP_BYTES,
  SUPER_PACKET_BYTES,
} from './layout.ts';
import type { PlaneState } from './plane-state.ts';
import { sealItems, stage } from './sealing.ts';
import { sendFanOut } from './send-fan-out.ts';

const OUT_NO_PEER = COUNTER['out-no-peer'];
const OUT_MALFORMED = COUNTER['out-malformed'];

/**
 * Reads a batch from the device, decides for every super-packet whose it is, and has it sealed and sent. Returns the number of
 * super-packets, or a negative errno when the device is gone.
 */
export function pumpDevice(state: PlaneState, nowMs: number): number {
  const { addon, tables, ethernet } = state;
  const items = addon.deviceRead(MAX_ITEMS);
  if (items <= 0) return items;
  const table = tables.items;
  for (let i = 0; i < items; i++) {
    const row = i * ITEM_WORDS;
    const family = table[row + ITEM_FAMILY]!;
    if (family === 0) {
      tables.counters[OUT_MALFORMED]!++;
      continue;
    }
    const frame = ethernet === undefined ? IS_PACKET : takeFrame(state, ethernet, row, nowMs);
    if (frame === IS_DONE) continue;
    const peer =
      frame >= 0 ? frame : state.peers.routes.lookup(family, table, row + ITEM_DESTINATION);
    if (peer < 0) {
      if (takeGroupPacket(state, row, nowMs)) continue;
      tables.counters[OUT_NO_PEER]!++;
      continue;
    }
    const key = state.peers.activeKey(peer);
    if (key < 0 || !state.peers.hasPath(peer)) {
      stage(state, peer, table, row, nowMs);
      continue;
    }
    table[row + ITEM_KEY] = key;
    table[row + ITEM_PATH] = peer;
  }
  sealItems(state, items, nowMs);
  sendFanOut(state, nowMs);
  return items;
}

/** Sends what waits for a peer, if it can be sent now. */
export function sendStaged(state: PlaneState, peer: number, nowMs: number): void {
  const key = state.peers.activeKey(peer);
  if (key < 0 || !state.peers.hasPath(peer)) return;
  const { out, items } = state.tables;
  let count = 0;
  let at = 0;
  for (;;) {
    const full = count === MAX_ITEMS || at + SUPER_PACKET_BYTES + PACKET_GAP_BYTES > out.length;
    const row = items.subarray(count * ITEM_WORDS, (count + 1) * ITEM_WORDS);
    const length = full ? -1 : state.staging.take(peer, row, out.subarray(at), ITEM_LENGTH);
    if (length < 0) {
      if (count === 0) return;
      sealItems(state, count, nowMs);
      count = at = 0;
      continue;
    }
    row[ITEM_OFFSET] = at;
    row[ITEM_KEY] = key;
    row[ITEM_PATH] = peer;
    at += (length + 2 * PACKET_GAP_BYTES - 1) & ~(PACKET_GAP_BYTES - 1);
    count++;
  }
}
