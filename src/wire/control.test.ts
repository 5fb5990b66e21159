import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeCbor } from './cbor.ts';
import { decodeClientMessage, decodeServerMessage, encodeMessage } from './control.ts';
import { displayName, ipv4Pool, ipv6Pool } from './fields.ts';

interface Recorded {
  readonly from: 'client' | 'server';
  readonly name: string;
  readonly hex: string;
}

const directory = join(import.meta.dirname, 'vectors');

for (const file of readdirSync(directory).filter((name) => name.startsWith('control-'))) {
  const recorded = JSON.parse(readFileSync(join(directory, file), 'utf8')) as Recorded[];
  test(`messages recorded in ${file} are still understood, and still encoded so`, () => {
    assert.ok(recorded.length > 20);
    for (const { from, name, hex } of recorded) {
      const bytes = Uint8Array.from(Buffer.from(hex, 'hex'));
      const message = from === 'client' ? decodeClientMessage(bytes) : decodeServerMessage(bytes);
      if (typeof message === 'string') assert.fail(`${name}: ${message}`);
      assert.equal(Buffer.from(encodeMessage(message)).toString('hex'), hex, name);
    }
  });
}

test('a message that does not fit its schema is refused with the name of the field', () => {
  const table: [unknown, RegExp][] = [
    [{ t: 'unheard-of' }, /^t: /],
    [{ t: 'pong', id: 0 }, /^id: /],
    [{ t: 'pong', id: 1.5 }, /^id: /],
    [{ t: 'resync', network: '12-345-678' }, /NNN-NNN-NNN/],
    [
      { t: 'signal', to: '123-456-789', sealed: new Uint8Array(2049), punch: true },
      /at most 2048 bytes/,
    ],
    [{ t: 'request', id: 1, operation: { op: 'leave' } }, /^operation.network/],
    [[], /./],
    [7, /./],
  ];
  for (const [value, expected] of table) {
    const result = decodeClientMessage(encodeCbor(value));
    assert.equal(typeof result, 'string');
    assert.match(result as string, expected);
  }
  assert.equal(typeof decodeClientMessage(new Uint8Array(70_000)), 'string');
});

test('a welcome with pools that are none is refused', () => {
  const welcome = {
    t: 'welcome',
    clientId: '123-456-789',
    ipv4: '100.64.0.1',
    ipv6: 'fd62:7572:6900::6440:1',
    pool4: '100.64.0.0/10',
    pool6: 'fd62:7572:6900::/96',
    serverTime: 1,
    nodeList: new Uint8Array(1),
    graceMs: 1,
    software: 'test',
  };
  const decoded = (change: object) => decodeServerMessage(encodeCbor({ ...welcome, ...change }));
  assert.equal(typeof decoded({}), 'object');
  for (const pool4 of ['', 'everything', '1.2.3.4', '1.2.3.4/33', '1.2.3.4/8 dev lo', '::/8'])
    assert.match(String(decoded({ pool4 })), /^pool4: /, pool4);
  for (const pool6 of ['', '::', '::/129', '1.2.3.0/24', 'fd00::/64\nlink'])
    assert.match(String(decoded({ pool6 })), /^pool6: /, pool6);
});

test('names: printable, bounded, normal form, no tricks with direction', () => {
  const good = ['a', 'Ada Lovelace', 'ぶり', 'x'.repeat(64), 'a-b_c.d!', 'é'];
  const bad = ['', ' a', 'a ', 'a\nb', 'a\u0000', '\u001b[31m', 'x'.repeat(65), 'x'.repeat(10_240)];
  bad.push('a\u202eb', 'a\u200bb', 'e\u0301', '\ud800', 'a\u2028b', '\ue000');
  for (const name of good) assert.ok(displayName.safeParse(name).success, JSON.stringify(name));
  for (const name of bad) assert.ok(!displayName.safeParse(name).success, JSON.stringify(name));
});

test('a server may claim a part of the address space, and no more', () => {
  const good4 = ['100.64.0.0/10', '10.0.0.0/8', '192.168.7.0/30', '25.0.0.0/8'];
  const bad4 = ['', 'everything', '0.0.0.0/0', '0.0.0.0/8', '128.0.0.0/1', '127.0.0.0/8'];
  bad4.push('224.0.0.0/8', '255.0.0.0/8', '10.0.0.1/8', '10.0.0.0', '10.0.0.0/31', '10.0.0.0/08');
  bad4.push('10.0.0.0/8 dev lo', '10.0.0.0/8/8', 'fd62:7572:6900::/96', '::ffff:10.0.0.0/104');
  for (const pool of good4) assert.ok(ipv4Pool.safeParse(pool).success, pool);
  for (const pool of bad4) assert.ok(!ipv4Pool.safeParse(pool).success, pool);
  const good6 = ['fd62:7572:6900::/96', '2001:db8::/32'];
  const bad6 = ['::/0', '::/96', '2000::/3', 'fe80::/64', 'ff00::/32', 'fd00::1/64', '10.0.0.0/32'];
  for (const pool of good6) assert.ok(ipv6Pool.safeParse(pool).success, pool);
  for (const pool of bad6) assert.ok(!ipv6Pool.safeParse(pool).success, pool);
});

test("a relay's offer is bounded, and its addresses are addresses", () => {
  const offer = {
    relayKey: new Uint8Array(32),
    udp: ['192.0.2.1:3480'],
    ws: ['wss://relay.example.org/v1/relay'],
    capacity: { allocations: 1, bytesPerSecond: 1 },
  };
  const decoded = (change: object) =>
    decodeClientMessage(encodeCbor({ t: 'relay-offer', offer: { ...offer, ...change } }));
  assert.equal(typeof decoded({}), 'object');
  assert.equal(typeof decoded({ ws: ['ws://[2001:db8::1]:8443/v1/relay', 'ws://h'] }), 'object');
  assert.match(String(decoded({ udp: new Array(9).fill('192.0.2.1:1') })), /^offer.udp: /);
  assert.match(String(decoded({ udp: ['relay.example.org:1'] })), /^offer.udp.0: /);
  assert.match(String(decoded({ udp: ['192.0.2.1:0'] })), /^offer.udp.0: /);
  for (const url of [
    'http://h/',
    'ws://',
    'ws://a@b/',
    'ws://h/?q',
    'ws://h/#f',
    'ws://h:0/',
    'ws://h /',
  ])
    assert.match(String(decoded({ ws: [url] })), /^offer.ws.0: /, url);
  assert.match(String(decoded({ ws: [`ws://h/${'x'.repeat(300)}`] })), /^offer.ws.0: /);
  assert.match(String(decoded({ relayKey: new Uint8Array(31) })), /^offer.relayKey: /);
  assert.match(String(decoded({ capacity: { allocations: 0, bytesPerSecond: 1 } })), /allocations/);
});
