import { INNER_HEADER_BYTES, MAX_MESSAGE_BYTES, writeInnerHeader } from '#wire/inner.ts';
import { COUNTER } from './counters.ts';
import {
  ITEM_KEY,
  ITEM_LENGTH,
  ITEM_OFFSET,
  ITEM_PATH,
  ITEM_WORDS,
  PIECE_LENGTH,
  PIECE_OFFSET,
  PIECE_WORDS,
  UNIT_FIRST,
} from './layout.ts';
import type { PlaneState } from './plane-state.ts';
import { sealItems } from './sealing.ts';
import type { Rate } from './token-bucket.ts';

/** Messages that one peer may send us. */
export const MESSAGE_RATE: Rate = { perSecond: 10, burst: 40 };

const SENT = COUNTER['messages-sent'];
const DROPPED = COUNTER['messages-dropped'];
const LIMITED = COUNTER['in-message-limited'];
const MALFORMED = COUNTER['in-malformed'];

/** Seals a message to a peer's program. Dropped, and counted, without keys or path: no message is worth a handshake. */
export function sendMessage(
  state: PlaneState,
  peer: number,
  bytes: Uint8Array,
  nowMs: number,
): void {
  const { items, out, counters } = state.tables;
  const key = state.peers.activeKey(peer);
  if (key < 0 || !state.peers.hasPath(peer)) {
    counters[DROPPED]!++;
    return;
  }
  writeInnerHeader(out, 0, { kind: 'message', length: bytes.length });
  out.set(bytes, INNER_HEADER_BYTES);
  items.fill(0, 0, ITEM_WORDS);
  items[ITEM_OFFSET] = 0;
  items[ITEM_LENGTH] = INNER_HEADER_BYTES + bytes.length;
  items[ITEM_KEY] = key;
  items[ITEM_PATH] = peer;
  sealItems(state, 1, nowMs);
  counters[SENT]!++;
}

/** Hands a unit that is a message up. */
export function takeMessage(state: PlaneState, row: number, peer: number, nowMs: number): void {
  const { units, pieces, incoming, counters } = state.tables;
  if (!state.messageRates.take(peer, 1, nowMs)) {
    counters[LIMITED]!++;
    return;
  }
  const piece = units[row + UNIT_FIRST]! * PIECE_WORDS;
  const offset = pieces[piece + PIECE_OFFSET]!;
  const length = pieces[piece + PIECE_LENGTH]!;
  if (length > MAX_MESSAGE_BYTES) {
    counters[MALFORMED]!++;
    return;
  }
  if (!state.uplink.hasRoom('message')) {
    state.uplink.countDrop('message');
    return;
  }
  state.uplink.push({ type: 'message', peer, bytes: incoming.slice(offset, offset + length) });
}
