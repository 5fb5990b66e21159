import { SENT_DATA } from './activity.ts';
import { COUNTER } from './counters.ts';
import { IS_DONE, IS_PACKET, takeFrame } from './ethernet-plane.ts';
import { sendFanOut } from './fan-out.ts';
import { takeGroupPacket } from './group-traffic.ts';
import {
  ITEM_BYTES,
  ITEM_DESTINATION,
  ITEM_FAMILY,
  ITEM_KEY,
  ITEM_LENGTH,
  ITEM_OFFSET,
  ITEM_PATH,
  ITEM_SEALED,
  ITEM_STATUS,
  ITEM_WORDS,
  MAX_ITEMS,
  PACKET_GAP_BYTES,
  STATUS_MALFORMED,
  STATUS_REFUSED,
  STATUS_REKEY,
  STATUS_TOO_BIG,
  SUPER_PACKET_BYTES,
} from './layout.ts';
import { type PlaneState, wantSession } from './plane-state.ts';
import { PEER_NUMBERS, PEER_SENT_BYTES, PEER_SENT_PACKETS } from './tables.ts';
import { answerTooBig } from './too-big.ts';

const OUT_PACKETS = COUNTER['out-packets'];
const OUT_BYTES = COUNTER['out-bytes'];
const OUT_NO_PEER = COUNTER['out-no-peer'];
const OUT_MALFORMED = COUNTER['out-malformed'];
const OUT_KEY_SPENT = COUNTER['out-key-spent'];
const OUT_STAGED = COUNTER['out-staged'];
const OUT_STAGED_DROPPED = COUNTER['out-staged-dropped'];

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

/** Seals and sends the items that have a key and a path, and accounts for them. */
export function sealItems(state: PlaneState, items: number, nowMs: number): void {
  const { tables, peerNumbers } = state;
  const table = tables.items;
  state.bytes.seal(items);
  let packets = 0;
  let bytes = 0;
  for (let i = 0; i < items; i++) {
    const row = i * ITEM_WORDS;
    const key = table[row + ITEM_KEY]!;
    if (key < 0) continue;
    const peer = table[row + ITEM_PATH]!;
    const sealed = table[row + ITEM_SEALED]!;
    if (sealed > 0) {
      packets += sealed;
      bytes += table[row + ITEM_BYTES]!;
      peerNumbers[peer * PEER_NUMBERS + PEER_SENT_PACKETS]! += sealed;
      peerNumbers[peer * PEER_NUMBERS + PEER_SENT_BYTES]! += table[row + ITEM_BYTES]!;
      state.activity.mark(key, SENT_DATA);
    }
    const status = table[row + ITEM_STATUS]!;
    if (status !== 0) noteStatus(state, status, key, nowMs);
    if ((status & STATUS_TOO_BIG) !== 0) answerTooBig(state, row, peer, nowMs);
  }
  tables.counters[OUT_PACKETS]! += packets;
  tables.counters[OUT_BYTES]! += bytes;
}

/** What sealing had to say about an item beyond success. */
function noteStatus(state: PlaneState, status: number, slot: number, nowMs: number): void {
  const key = state.peers.key(slot);
  if ((status & STATUS_MALFORMED) !== 0) state.tables.counters[OUT_MALFORMED]!++;
  if ((status & STATUS_REFUSED) !== 0) {
    state.tables.counters[OUT_KEY_SPENT]!++;
    wantSession(state, key.peer, nowMs);
  }
  if ((status & STATUS_REKEY) !== 0 && !key.limitReported) {
    const { peer, localIndex } = key;
    key.limitReported = state.uplink.push({ type: 'rekey-limit', peer, localIndex });
  }
}

/** Keeps a packet, whose row stands in the table, until the peer has a session. */
export function stage(
  state: PlaneState,
  peer: number,
  table: Int32Array,
  row: number,
  nowMs: number,
): void {
  const { out, counters } = state.tables;
  const offset = table[row + ITEM_OFFSET]!;
  const packet = out.subarray(offset, offset + table[row + ITEM_LENGTH]!);
  state.staging.add(peer, table.subarray(row, row + ITEM_WORDS), packet);
  counters[OUT_STAGED]!++;
  counters[OUT_STAGED_DROPPED]! += state.staging.takeDropped();
  wantSession(state, peer, nowMs);
}
