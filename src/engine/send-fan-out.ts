import { COUNTER } from './counters.ts';
import { ITEM_KEY, ITEM_PATH, ITEM_STATUS, ITEM_WORDS, MAX_ITEMS } from './layout.ts';
import type { PlaneState } from './plane-state.ts';
import { sealItems, stage } from './sealing.ts';

const OUT_GROUP = COUNTER['out-group'];
const OUT_GROUP_COPIES = COUNTER['out-group-copies'];
const OUT_MALFORMED = COUNTER['out-malformed'];

/**
 * Seals what was kept, once for each of its peers; staged where a peer has no session. To be called when the batch that the
 * packets came with has been sealed, and before the buffer is filled again.
 */
export function sendFanOut(state: PlaneState, nowMs: number): void {
  const { fanOut, tables } = state;
  const kept = fanOut.count;
  if (kept === 0) return;
  completeChecksums(state, kept);
  for (let from = 0; from < kept; ) {
    let to = from + 1;
    while (to < kept && fanOut.isAlike(from, to)) to++;
    sendToAll(state, from, to, nowMs);
    from = to;
  }
  tables.counters[OUT_GROUP]! += kept;
  fanOut.clear();
}

/** Once, before the first copy is sealed: a completed checksum is completed wrongly by doing it again. */
function completeChecksums(state: PlaneState, kept: number): void {
  const { tables, fanOut } = state;
  const words = kept * ITEM_WORDS;
  for (let i = 0; i < words; i++) tables.items[i] = fanOut.rows[i]!;
  state.bytes.complete(kept);
  for (let i = 0; i < words; i++) fanOut.rows[i] = tables.items[i]!;
}

/** Packets `from` to `to` have the same peers: those of one peer follow each other, so that they can travel in one send. */
function sendToAll(state: PlaneState, from: number, to: number, nowMs: number): void {
  const { fanOut, tables, peers } = state;
  let count = 0;
  let copies = 0;
  for (let i = 0; i < fanOut.peersOf(from); i++) {
    const peer = fanOut.peer(from, i);
    const key = peers.activeKey(peer);
    const isReady = key >= 0 && peers.hasPath(peer);
    for (let index = from; index < to; index++) {
      const row = index * ITEM_WORDS;
      if (fanOut.rows[row + ITEM_STATUS] !== 0) {
        if (i === 0) tables.counters[OUT_MALFORMED]!++;
        continue;
      }
      copies++;
      if (!isReady) {
        stage(state, peer, fanOut.rows, row, nowMs);
        continue;
      }
      if (count === MAX_ITEMS) {
        sealItems(state, count, nowMs);
        count = 0;
      }
      const copy = count++ * ITEM_WORDS;
      for (let word = 0; word < ITEM_WORDS; word++) {
        tables.items[copy + word] = fanOut.rows[row + word]!;
      }
      tables.items[copy + ITEM_KEY] = key;
      tables.items[copy + ITEM_PATH] = peer;
    }
  }
  if (count > 0) sealItems(state, count, nowMs);
  tables.counters[OUT_GROUP_COPIES]! += copies;
}
