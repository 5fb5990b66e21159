import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RelayReport, RelayWay } from '#core/relay/io.ts';
import { relayViews } from './relay-view.ts';

const way: RelayWay = {
  transport: 'tcp',
  ...{ relay: 'near', socket: 3, token: 77n, draining: false },
  ...{ remote: { address: '127.0.0.1', port: 9 }, label: 'wss://203.0.113.9/v1/relay' },
  rttMs: 40.06,
};
const reports: RelayReport[] = [
  { relay: 'near', rttMs: 12.34, way, isHome: true },
  { relay: 'old', rttMs: 20, way: { ...way, draining: true, rttMs: undefined }, isHome: false },
  { relay: 'far', rttMs: 140, way: undefined, isHome: false },
  { relay: 'silent', rttMs: undefined, way: undefined, isHome: false },
];

test('relays are shown with the way that is used; the token is not', () => {
  const held = { transport: 'tcp', address: 'wss://203.0.113.9/v1/relay' };
  assert.deepEqual(relayViews({ report: () => reports }), [
    { id: 'near', held: true, home: true, draining: false, ...held, rttMs: 40.1 },
    { id: 'old', held: true, home: false, draining: true, ...held, rttMs: 20 },
    { id: 'far', held: false, home: false, draining: false, rttMs: 140 },
    { id: 'silent', held: false, home: false, draining: false },
  ]);
});

test('while logged out there are none', () => assert.deepEqual(relayViews(undefined), []));
