import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { encodeCbor } from '#wire/cbor.ts';
import { Peers } from '../coordinator/cluster/peers.ts';
import {
  decodeParcel,
  directFrom,
  type FabricItem,
  maxParcelItems,
  type Parcel,
} from './messages.ts';
import { parseNatsUrl } from './nats-url.ts';
import { Outbox } from './outbox.ts';
import { FabricSeal } from './seal.ts';

const boot = '0123456789abcdef';
const wall = wallMs(1_800_000_000_000);
const now = (ms = 0) => ({ monotonic: monotonicMs(1000 + ms), wall: wallMs(wall + ms) });

test('a parcel opens for nodes of the same cluster only, under its own subject, unaltered', () => {
  const seal = new FabricSeal(crypto, new Uint8Array(32).fill(1));
  const parcel = new Uint8Array([1, 2, 3]);
  const sealed = seal.seal('buri.x.all', parcel);
  assert.deepEqual(new Uint8Array(seal.open('buri.x.all', sealed)!), parcel);
  assert.equal(seal.open('buri.x.node.a', sealed), undefined);
  const stranger = new FabricSeal(crypto, new Uint8Array(32).fill(2));
  assert.equal(stranger.open('buri.x.all', sealed), undefined, 'another cluster key');
  for (let i = 0; i < sealed.length; i++) {
    const altered = sealed.slice();
    altered[i]! ^= 1;
    assert.equal(seal.open('buri.x.all', altered), undefined);
  }
  for (const length of [0, 3, 28, 43])
    assert.equal(seal.open('a', sealed.slice(0, length)), undefined);
  assert.equal(seal.open('buri.x.all', new Uint8Array(300_000)), undefined, 'over size');
});

test('what waits is cut into parcels with numbers of their own; a dropped one leaves a gap', () => {
  const outbox = new Outbox('node-1', boot);
  const signal: FabricItem = {
    t: 'signal',
    from: '100-000-001',
    to: '100-000-002',
    punch: false,
    probes: false,
    proven: [],
    sealed: new Uint8Array(2_048),
  };
  for (let i = 0; i < maxParcelItems; i++) outbox.add('node-2', signal);
  outbox.add(undefined, { t: 'relays' });
  const parcels = outbox.take(wall).map(({ to, parcel }) => ({ to, ...decodeParcel(parcel)! }));
  assert.ok(parcels.length > 4);
  const direct = parcels.filter(({ to }) => to === 'node-2');
  assert.deepEqual(
    direct.map(({ seq }) => seq),
    direct.map((_, i) => directFrom + i),
  );
  assert.equal(
    direct.reduce((sum, { items }) => sum + items.length, 0),
    maxParcelItems,
  );
  assert.equal(parcels.find(({ to }) => to === undefined)?.seq, 1);
  outbox.add(undefined, { t: 'relays' });
  outbox.drop();
  outbox.add(undefined, { t: 'relays' });
  assert.equal(decodeParcel(outbox.take(wall)[0]!.parcel)?.seq, 3);
});

test('malformed parcels are none', () => {
  const good = { from: 'node-1', boot, seq: 1, time: wall, items: [{ t: 'relays' }] };
  assert.ok(decodeParcel(encodeCbor(good)));
  for (const change of [
    { seq: 0 },
    { from: 'a b' },
    { boot: 'x' },
    { items: [{ t: 'nonsense' }] },
    { items: Array(maxParcelItems + 1).fill({ t: 'relays' }) },
    { items: [{ t: 'expel', clientId: 'x' }] },
  ])
    assert.equal(decodeParcel(encodeCbor({ ...good, ...change })), undefined);
  assert.equal(decodeParcel(new Uint8Array(10)), undefined);
});

test('repeated, old, future and unknown parcels are dropped, gaps are seen', () => {
  const peers = new Peers('node-0');
  const row = {
    node_id: 'node-1',
    boot,
    beat: 1,
    state: 'serving',
    facts: '',
    started_at: 0,
  } as const;
  const parcel = (seq: number, change: Partial<Parcel> = {}): Parcel => ({
    ...{ from: 'node-1', boot, seq, time: wall, items: [] },
    ...change,
  });
  const verdict = (given: Parcel) => {
    const result = peers.receive(given, now());
    return result.kind === 'drop' ? result.reason : result.gap ? 'gap' : 'next';
  };
  assert.equal(verdict(parcel(1)), 'unknown-boot');
  assert.equal(peers.know([row], now()).length, 1);
  assert.equal(verdict(parcel(1)), 'next');
  assert.equal(verdict(parcel(1)), 'repeated');
  assert.equal(verdict(parcel(2)), 'next');
  assert.equal(verdict(parcel(5)), 'gap');
  assert.equal(verdict(parcel(4)), 'next', 'late, and taken once');
  assert.equal(verdict(parcel(4)), 'repeated');
  assert.equal(verdict(parcel(directFrom)), 'next');
  assert.equal(verdict(parcel(directFrom)), 'repeated');
  assert.equal(verdict(parcel(6, { from: 'node-0' })), 'own');
  assert.equal(verdict(parcel(6, { time: wallMs(wall - 200_000) })), 'stale');
  assert.equal(verdict(parcel(6, { time: wallMs(wall + 200_000) })), 'stale');
  assert.equal(verdict(parcel(6, { boot: 'fedcba9876543210' })), 'unknown-boot');
  for (let seq = 6; seq < 3_000; seq++) verdict(parcel(seq));
  assert.equal(verdict(parcel(6)), 'repeated', 'older than what is remembered');
});

test('a URL of NATS is taken apart, and refused without its password', () => {
  const url = parseNatsUrl('nats://u:p%40@a:1,[fd00::1],c:3');
  assert.deepEqual(
    [url.servers, url.user, url.password, url.tls],
    [['a:1', '[fd00::1]:4222', 'c:3'], 'u', 'p@', false],
  );
  assert.equal(parseNatsUrl('tls://h').tls, true);
  for (const text of [
    'http://h',
    'nats://u:secret@',
    'nats://u:secret@h:99999',
    'nats://u:secret@a b',
  ])
    assert.throws(
      () => parseNatsUrl(text),
      (error: { code: string; message: string }) =>
        error.code === 'fabric-invalid' && !error.message.includes('secret'),
    );
});
