import { SENT_DATA } from './activity.ts';
import { COUNTER } from './counters.ts';
import {
  ITEM_BYTES,
  ITEM_KEY,
  ITEM_LENGTH,
  ITEM_OFFSET,
  ITEM_PATH,
  ITEM_SEALED,
  ITEM_STATUS,
  ITEM_WORDS,
  STATUS_MALFORMED,
  STATUS_REFUSED,
  STATUS_REKEY,
  STATUS_TOO_BIG,
} from './layout.ts';
import { type PlaneState, wantSession } from './plane-state.ts';
import { PEER_NUMBERS, PEER_SENT_BYTES, PEER_SENT_PACKETS } from './tables.ts';
import { answerTooBig } from './too-big.ts';

const OUT_PACKETS = COUNTER['out-packets'];
const OUT_BYTES = COUNTER['out-bytes'];
const OUT_MALFORMED = COUNTER['out-malformed'];
const OUT_KEY_SPENT = COUNTER['out-key-spent'];
const OUT_STAGED = COUNTER['out-staged'];
const OUT_STAGED_DROPPED = COUNTER['out-staged-dropped'];

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
