import { RECEIVED_DATA, RECEIVED_KEEPALIVE } from './activity.ts';
import { COUNTER } from './counters.ts';
import type { DatagramKind } from './engine.ts';
import { addressUnit, takesFrame } from './ethernet-plane.ts';
import { takesGroupUnit } from './group-packets.ts';
import {
  FAMILY_FRAME,
  FAMILY_MESSAGE,
  KIND_BURI,
  KIND_COOKIE,
  KIND_INITIATION,
  KIND_RESPONSE,
  KIND_STUN,
  KIND_TRANSPORT,
  MESSAGE_FAMILY,
  MESSAGE_PORT,
  MESSAGE_WORDS,
  RUN_AUTHENTIC,
  RUN_BYTES,
  RUN_INDEX,
  RUN_KEEPALIVES,
  RUN_KEY,
  RUN_KIND,
  RUN_LENGTH,
  RUN_MESSAGE,
  RUN_OFFSET,
  RUN_SEGMENT,
  RUN_WORDS,
  UNIT_ACCEPT,
  UNIT_DESTINATION,
  UNIT_FAMILY,
  UNIT_KEY,
  UNIT_PIECES,
  UNIT_SOURCE,
  UNIT_WORDS,
} from './layout.ts';
import { takeMessage } from './peer-messages.ts';
import { endpointOf } from './peer-table.ts';
import type { PlaneState } from './plane-state.ts';
import { PEER_NUMBERS, PEER_RECEIVED_BYTES, PEER_RECEIVED_PACKETS } from './tables.ts';
import type { QueueName } from './uplink.ts';

const IN_PACKETS = COUNTER['in-packets'];
const IN_BYTES = COUNTER['in-bytes'];
const IN_UNKNOWN_KIND = COUNTER['in-unknown-kind'];
const IN_UNKNOWN_INDEX = COUNTER['in-unknown-index'];
const IN_SOURCE_REFUSED = COUNTER['in-source-refused'];
const IN_MAC1_REFUSED = COUNTER['in-mac1-refused'];
const IN_RECEIVE_ERROR = COUNTER['in-receive-error'];

/** A roaming peer is reported at most this often. */
const ROAM_INTERVAL_MS = 100;

const KIND_NAMES: Readonly<Record<number, DatagramKind>> = {
  [KIND_INITIATION]: 'handshake-initiation',
  [KIND_RESPONSE]: 'handshake-response',
  [KIND_COOKIE]: 'cookie-reply',
  [KIND_STUN]: 'stun',
  [KIND_BURI]: 'buri',
};

export interface Received {
  /** Buffers that the socket had; 0 when it was empty. */
  messages: number;
  /** Units of which the accepted ones are to be written to the device. */
  units: number;
}

/**
 * Receives a batch: what is not transport goes up, transport packets are opened and joined, and every unit is accepted
 * or refused by its addresses.
 */
export function pumpSocket(
  state: PlaneState,
  socket: number,
  nowMs: number,
  received: Received,
): void {
  const { addon, bytes } = state;
  const messages = addon.receive(socket);
  received.messages = Math.max(messages, 0);
  received.units = 0;
  if (messages < 0) state.tables.counters[IN_RECEIVE_ERROR]!++;
  if (messages <= 0) return;
  const runs = bytes.classify(messages);
  if (state.catchUp !== undefined && hasUnknownIndex(state, runs)) state.catchUp();
  if (assignKeys(state, runs, socket)) {
    received.units = bytes.openRuns(runs);
    for (let i = 0; i < runs; i++) noteRun(state, i * RUN_WORDS, socket, nowMs);
    judgeUnits(state, received.units, nowMs);
  }
}

/**
 * Whether a packet came for keys that are not here. They may be on their way: the answer to a handshake leaves by another thread,
 * and the peer may be quicker than the commands that wait for this one.
 */
function hasUnknownIndex(state: PlaneState, runs: number): boolean {
  const table = state.tables.runs;
  for (let i = 0; i < runs; i++) {
    const row = i * RUN_WORDS;
    if (table[row + RUN_KIND] !== KIND_TRANSPORT) continue;
    if (state.peers.slotOf(table[row + RUN_INDEX]!) < 0) return true;
  }
  return false;
}

/** Finds the keys of transport runs and hands the others up. True when there is something to open. */
function assignKeys(state: PlaneState, runs: number, socket: number): boolean {
  const table = state.tables.runs;
  let opens = false;
  for (let i = 0; i < runs; i++) {
    const row = i * RUN_WORDS;
    if (table[row + RUN_KIND] !== KIND_TRANSPORT) {
      sendUp(state, row, socket);
      continue;
    }
    const slot = state.peers.slotOf(table[row + RUN_INDEX]!);
    table[row + RUN_KEY] = slot;
    if (slot >= 0) opens = true;
    else {
      const datagrams = Math.ceil(table[row + RUN_LENGTH]! / table[row + RUN_SEGMENT]!);
      state.tables.counters[IN_UNKNOWN_INDEX]! += datagrams;
    }
  }
  return opens;
}

function sendUp(state: PlaneState, row: number, socket: number): void {
  const { runs, incoming, messages, counters } = state.tables;
  const kind = KIND_NAMES[runs[row + RUN_KIND]!];
  if (kind === undefined) return;
  // Nobody can be answered at port 0, and all that goes up may have to be.
  if (messages[runs[row + RUN_MESSAGE]! * MESSAGE_WORDS + MESSAGE_PORT] === 0) {
    counters[IN_UNKNOWN_KIND]!++;
    return;
  }
  const queue: QueueName = kind === 'stun' || kind === 'buri' ? kind : 'handshake';
  // Before mac1: when the core cannot keep up, hashing for it would only help the flood.
  if (!state.uplink.hasRoom(queue)) {
    state.uplink.countDrop(queue);
    return;
  }
  const offset = runs[row + RUN_OFFSET]!;
  const bytes = incoming.slice(offset, offset + runs[row + RUN_LENGTH]!);
  const hasMac1 = kind === 'handshake-initiation' || kind === 'handshake-response';
  if (hasMac1 && state.mac1?.accepts(bytes) !== true) {
    counters[IN_MAC1_REFUSED]!++;
    return;
  }
  const remote = endpointOf(messages, runs[row + RUN_MESSAGE]! * MESSAGE_WORDS + MESSAGE_FAMILY);
  state.uplink.push({ type: 'datagram', kind, bytes, socket, remote });
}

/** Accounts for what a run opened to. */
function noteRun(state: PlaneState, row: number, socket: number, nowMs: number): void {
  const { runs, messages, counters } = state.tables;
  const authentic = runs[row + RUN_AUTHENTIC]!;
  if (authentic === 0) return;
  const slot = runs[row + RUN_KEY]!;
  const key = state.peers.key(slot);
  const { peer, localIndex } = key;
  const keepalives = runs[row + RUN_KEEPALIVES]!;
  const packets = authentic - keepalives;
  const bytes = runs[row + RUN_BYTES]!;
  counters[IN_PACKETS]! += packets;
  counters[IN_BYTES]! += bytes;
  state.peerNumbers[peer * PEER_NUMBERS + PEER_RECEIVED_PACKETS]! += packets;
  state.peerNumbers[peer * PEER_NUMBERS + PEER_RECEIVED_BYTES]! += bytes;
  if (packets > 0) state.activity.mark(slot, RECEIVED_DATA);
  if (keepalives > 0) state.activity.mark(slot, RECEIVED_KEEPALIVE);
  if (!key.confirmed) key.confirmed = state.uplink.push({ type: 'confirmed', peer, localIndex });
  const family = runs[row + RUN_MESSAGE]! * MESSAGE_WORDS + MESSAGE_FAMILY;
  if (
    !state.peers.isOnPath(peer, socket, messages, family) &&
    state.peers.mayRoam(peer, nowMs, ROAM_INTERVAL_MS)
  ) {
    state.uplink.push({ type: 'roam', peer, socket, remote: endpointOf(messages, family) });
  }
}

/** The source check: a peer may send only from its own inner addresses, and only to ours or to everybody. */
function judgeUnits(state: PlaneState, units: number, nowMs: number): void {
  const table = state.tables.units;
  const { counters } = state.tables;
  for (let i = 0; i < units; i++) {
    const row = i * UNIT_WORDS;
    const family = table[row + UNIT_FAMILY]!;
    const { peer } = state.peers.key(table[row + UNIT_KEY]!);
    if (family === FAMILY_MESSAGE) takeMessage(state, row, peer, nowMs);
    else if (family === FAMILY_FRAME) {
      if (takesFrame(state, row, peer, nowMs)) table[row + UNIT_ACCEPT] = 1;
    } else if (state.peers.routes.lookup(family, table, row + UNIT_SOURCE) !== peer) {
      counters[IN_SOURCE_REFUSED]! += table[row + UNIT_PIECES]!;
    } else if (
      state.ours.lookup(family, table, row + UNIT_DESTINATION) >= 0 ||
      takesGroupUnit(state, row, peer, nowMs)
    ) {
      table[row + UNIT_ACCEPT] = 1;
      if (state.ethernet !== undefined) addressUnit(state, row, peer);
    }
  }
}
