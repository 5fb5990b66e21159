import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, COUNTER_NAMES } from './counters.ts';
import { pumpSocket } from './inbound.ts';
import { KIND_TRANSPORT, RUN_INDEX, RUN_KEY, RUN_KIND, RUN_LENGTH, RUN_SEGMENT } from './layout.ts';
import { PeerTable } from './peer-table.ts';
import type { PlaneState } from './plane-state.ts';
import { newTables } from './tables.ts';

const INDEX = 0xa0000001;

/** Receives one transport packet for INDEX; returns the slot of its key. `waiting` are the commands that were not executed yet. */
function receive(peers: PeerTable, waiting: (() => void)[]) {
  const tables = newTables(new Float64Array(COUNTER_NAMES.length));
  const bytes = {
    classify: () => {
      tables.runs[RUN_KIND] = KIND_TRANSPORT;
      tables.runs[RUN_INDEX] = INDEX | 0;
      tables.runs[RUN_LENGTH] = tables.runs[RUN_SEGMENT] = 32;
      return 1;
    },
    openRuns: () => 0,
  };
  const catchUp = (): void => {
    for (const command of waiting.splice(0)) command();
  };
  const state = { addon: { receive: () => 1 }, bytes, tables, peers, catchUp };
  pumpSocket(state as unknown as PlaneState, 0, 0, { messages: 0, units: 0 });
  return { slot: tables.runs[RUN_KEY], unknown: tables.counters[COUNTER['in-unknown-index']] };
}

test('a packet for keys whose command still waits is opened', () => {
  const peers = new PeerTable();
  assert.deepEqual(receive(peers, [() => void peers.addKey(3, INDEX)]), { slot: 0, unknown: 0 });
});

test('commands wait for their turn while all packets have their keys', () => {
  const peers = new PeerTable();
  peers.addKey(3, INDEX);
  const waiting = [() => void peers.removeKey(INDEX)];
  assert.deepEqual(receive(peers, waiting), { slot: 0, unknown: 0 });
  assert.equal(waiting.length, 1);
});

test('a packet for keys that nobody has is counted', () => {
  assert.deepEqual(receive(new PeerTable(), []), { slot: -1, unknown: 1 });
});
