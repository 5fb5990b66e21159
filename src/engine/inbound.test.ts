import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Activity } from './activity.ts';
import type { Addon, ByteWork } from './addon.ts';
import { COUNTER, COUNTER_NAMES } from './counters.ts';
import { FanOut } from './fan-out.ts';
import { GroupTraffic } from './group-traffic.ts';
import { pumpSocket } from './inbound.ts';
import { LanTable } from './lan-table.ts';
import {
  KIND_BURI,
  MESSAGE_ADDRESS,
  MESSAGE_FAMILY,
  MESSAGE_PORT,
  RUN_KIND,
  RUN_LENGTH,
  RUN_SEGMENT,
} from './layout.ts';
import type { EngineEvent } from './messages.ts';
import { MESSAGE_RATE } from './peer-messages.ts';
import { PeerTable } from './peer-table.ts';
import type { PlaneState } from './plane-state.ts';
import { PrefixTable } from './prefix-table.ts';
import { Staging } from './staging.ts';
import { newTables } from './tables.ts';
import { PeerBuckets } from './token-bucket.ts';
import { TOO_BIG_RATE } from './too-big.ts';
import { QUEUES, Uplink } from './uplink.ts';

/** What goes up when one datagram with Buri's magic comes from this port. */
function received(port: number) {
  const tables = newTables(new Float64Array(COUNTER_NAMES.length));
  const events: EngineEvent[] = [];
  const uplink = new Uplink(
    (report) => {
      if (report.type === 'events') events.push(...report.events);
    },
    new Int32Array(QUEUES.length),
    new Int32Array(QUEUES.length),
    tables.counters,
  );
  const addon = {
    receive: () => {
      tables.messages[MESSAGE_FAMILY] = 4;
      tables.messages[MESSAGE_PORT] = port;
      tables.messages[MESSAGE_ADDRESS] = 0xc0000201 | 0;
      return 1;
    },
  } as unknown as Addon;
  const bytes = {
    classify: () => {
      tables.runs[RUN_KIND] = KIND_BURI;
      tables.runs[RUN_LENGTH] = tables.runs[RUN_SEGMENT] = 96;
      return 1;
    },
  } as unknown as ByteWork;
  const state: PlaneState = {
    ...{ addon, bytes, tables, uplink },
    peerNumbers: new Float64Array(4),
    peers: new PeerTable(),
    ours: new PrefixTable(),
    ethernet: undefined,
    staging: new Staging(1),
    activity: new Activity(() => true),
    lan: new LanTable(),
    groups: new GroupTraffic(),
    fanOut: new FanOut(),
    messageRates: new PeerBuckets(MESSAGE_RATE),
    tooBigRates: new PeerBuckets(TOO_BIG_RATE),
    catchUp: undefined,
    mac1: undefined,
  };
  pumpSocket(state, 0, 0, { messages: 0, units: 0 });
  uplink.flush();
  return { events, unknown: tables.counters[COUNTER['in-unknown-kind']] };
}

test('a datagram goes up with where it came from', () => {
  const { events, unknown } = received(41641);
  assert.equal(unknown, 0);
  assert.deepEqual(
    events.map((event) => (event.type === 'datagram' ? event.remote : event.type)),
    [{ address: '192.0.2.1', port: 41641 }],
  );
});

test('a datagram from port 0, which nobody can answer, goes no further', () => {
  assert.deepEqual(received(0), { events: [], unknown: 1 });
});
