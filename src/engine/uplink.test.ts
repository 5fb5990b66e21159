import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER, COUNTER_NAMES } from './counters.ts';
import type { EngineEvent, Report } from './messages.ts';
import { QUEUE_LIMIT, QUEUES, Uplink } from './uplink.ts';

const datagram = (kind: 'stun' | 'handshake-initiation'): EngineEvent => ({
  type: 'datagram',
  kind,
  bytes: new Uint8Array(20),
  socket: 0,
  remote: { address: '192.0.2.1', port: 1 },
});

const posted = () => new Int32Array(new SharedArrayBuffer(QUEUES.length * 4));

test('each queue has its own bound, and what is dropped is counted', () => {
  const counters = new Float64Array(COUNTER_NAMES.length);
  const consumed = new Int32Array(new SharedArrayBuffer(QUEUES.length * 4));
  const reports: Report[] = [];
  const uplink = new Uplink((report) => reports.push(report), posted(), consumed, counters);
  for (let i = 0; i < QUEUE_LIMIT; i++) assert.ok(uplink.push(datagram('stun')));
  assert.equal(uplink.push(datagram('stun')), false);
  assert.equal(counters[COUNTER['up-dropped-stun']], 1);
  assert.ok(
    uplink.push(datagram('handshake-initiation')),
    'a flood of STUN leaves handshakes alone',
  );
  uplink.flush();
  uplink.flush();
  assert.equal(reports.length, 1, 'one message for everything of a turn');
  assert.equal(uplink.push(datagram('stun')), false, 'sent is not yet consumed');
  Atomics.add(consumed, QUEUES.indexOf('stun'), 5);
  assert.ok(uplink.push(datagram('stun')));
});

test('an owner that keeps up may receive any number', () => {
  const consumed = new Int32Array(new SharedArrayBuffer(QUEUES.length * 4));
  const counters = new Float64Array(COUNTER_NAMES.length);
  const uplink = new Uplink(() => {}, posted(), consumed, counters);
  const stun = QUEUES.indexOf('stun');
  for (let i = 0; i < QUEUE_LIMIT * 3; i++) {
    assert.ok(uplink.push(datagram('stun')));
    Atomics.add(consumed, stun, 1);
    uplink.flush();
  }
});

test('the bound is for all threads together', () => {
  const [sent, consumed] = [posted(), posted()];
  const counters = new Float64Array(COUNTER_NAMES.length);
  const [one, other] = [1, 2].map(() => new Uplink(() => {}, sent, consumed, counters));
  for (let i = 0; i < QUEUE_LIMIT; i++) {
    assert.ok((i % 2 === 0 ? one : other)!.push(datagram('stun')));
  }
  assert.equal(one!.push(datagram('stun')), false);
  assert.equal(other!.push(datagram('stun')), false);
  assert.equal(counters[COUNTER['up-dropped-stun']], 2);
});
