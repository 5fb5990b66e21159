import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Endpoint } from '#wire/endpoint.ts';
import { natKind, natKinds, portBlock } from '../lab/nat-kinds.ts';
import { Nat, type NatOptions } from './nat.ts';
import { Random } from './random.ts';

const inside = { address: '192.168.1.2', port: 41_641 };
const publicAddress = '198.51.100.1';
const first = { address: '203.0.113.1', port: 3478 };
const otherPort = { address: '203.0.113.1', port: 3479 };
const otherAddress = { address: '203.0.113.2', port: 3478 };
const bytes = new Uint8Array(1);

const make = (options: Partial<NatOptions> = {}) =>
  new Nat({
    kind: natKind('port-restricted'),
    publicAddress,
    timeoutMs: 30_000,
    hairpin: false,
    random: new Random(1),
    ...options,
  });
const out = (nat: Nat, destination: Endpoint, now = 0, source: Endpoint = inside) =>
  nat.outbound({ source, destination, bytes, ttl: 64 }, now)?.source;
const into = (nat: Nat, source: Endpoint, destination: Endpoint, now = 0) =>
  nat.inbound({ source, destination, bytes, ttl: 64 }, now)?.destination;

for (const row of natKinds) {
  test(`a simulated ${row.name} maps and filters as the table of NAT kinds says`, () => {
    const nat = make({ kind: row });
    const public1 = out(nat, first);
    if (row.mapping === 'blocked') {
      assert.equal(public1, undefined);
      assert.equal(into(nat, first, { ...inside, address: publicAddress }), undefined);
      return;
    }
    assert(public1 !== undefined);
    assert.equal(public1.address, row.mapping === 'none' ? inside.address : publicAddress);
    assert.deepEqual(into(nat, first, public1), inside, 'an answer gets in');
    const isStable = row.mapping === 'none' || row.mapping === 'endpoint-independent';
    const isStableForAddress = isStable || row.mapping === 'address-dependent';
    const fresh = make({ kind: row });
    const publicPort = out(fresh, first)!.port;
    assert.equal(out(fresh, otherPort)!.port === publicPort, isStableForAddress);
    assert.equal(out(fresh, otherAddress)!.port === publicPort, isStable);
    const letsOtherPort = row.filtering !== 'address-and-port-dependent';
    const letsAll = row.filtering === 'none' || row.filtering === 'endpoint-independent';
    assert.equal(into(nat, otherPort, public1) !== undefined, letsOtherPort);
    assert.equal(into(nat, otherAddress, public1) !== undefined, letsAll);
  });
}

test('a preserving NAT gives a second host another port', () => {
  const nat = make();
  assert.equal(out(nat, first)!.port, inside.port);
  const second = out(nat, first, 0, { ...inside, address: '192.168.1.3' })!;
  assert.notEqual(second.port, inside.port);
});

test('a mapping lives as long as it is used and no longer', () => {
  const nat = make({ kind: { ...natKind('port-restricted'), allocation: 'random' } });
  const port = out(nat, first, 0)!.port;
  assert.equal(out(nat, first, 29_000)!.port, port);
  assert.deepEqual(into(nat, first, { address: publicAddress, port }, 58_000), inside);
  assert.equal(into(nat, first, { address: publicAddress, port }, 88_001), undefined);
  assert.notEqual(out(nat, first, 88_001)!.port, port);
});

test('a carrier NAT stays in its block, and is silent when the block is used up', () => {
  const nat = make({ kind: natKind('symmetric-block') });
  for (let port = 1; port <= portBlock.size; port++) {
    const mapped = out(nat, { address: '203.0.113.9', port })?.port;
    if (mapped === undefined) continue;
    assert(mapped >= portBlock.first && mapped < portBlock.first + portBlock.size);
  }
  assert(nat.size > portBlock.size * 0.95);
});

test('a sequential NAT counts up', () => {
  const nat = make({ kind: natKind('symmetric-sequential') });
  const ports = [1, 2, 3].map((port) => out(nat, { address: '203.0.113.9', port })!.port);
  assert.deepEqual(ports, [ports[0]!, ports[0]! + 1, ports[0]! + 2]);
});

test('a forwarded port leads inside without being asked, and a rebooted NAT forgets the rest', () => {
  const nat = make({ forwards: new Map([[41_641, inside]]) });
  const target = { address: publicAddress, port: 41_641 };
  assert.deepEqual(into(nat, otherAddress, target), inside);
  const mapped = out(nat, first)!;
  assert.notEqual(mapped.port, 41_641, 'the forwarded port is taken');
  assert.equal(out(nat, otherAddress)!.port, 41_641, 'answers leave by the forwarded port');
  nat.reboot();
  assert.equal(into(nat, first, mapped), undefined);
  assert.deepEqual(into(nat, otherAddress, target), inside);
});

test('a sequential NAT counts in its steps, and starts again where ports end', () => {
  const nat = make({ kind: { ...natKind('symmetric-sequential'), step: 4 } });
  const ports = Array.from({ length: 20_000 }, (_, i) => {
    return out(nat, { address: `203.0.${i >> 8}.${i & 255}`, port: 9 }, i)!.port;
  });
  const steps = new Set(ports.slice(1).map((port, i) => port - ports[i]!));
  assert.deepEqual([...steps].sort((a, b) => b - a)[0], 4);
  assert.equal(steps.size, 2, 'and one step back');
  assert(ports.every((port) => port >= 1024 && port <= 65_535));
});

test('mappings of others come at their rate, and go', () => {
  const nat = make({ kind: natKind('symmetric-sequential'), foreignPerSecond: 5 });
  const before = out(nat, first, 0)!.port;
  const after = out(nat, otherPort, 100_000)!.port;
  assert(after - before > 400 && after - before < 600, `${after - before} in 100 s`);
  assert(nat.size > 100 && nat.size < 200, `${nat.size} of the last 30 s`);
});

test('a router that takes in what nobody asked for moves the port of who is sent to first', () => {
  const nat = make({ kind: natKind('port-restricted-accepting') });
  const target = { address: publicAddress, port: inside.port };
  assert.equal(out(nat, first)!.port, inside.port);
  assert.equal(into(nat, otherAddress, target), undefined);
  const moved = out(nat, otherAddress)!;
  assert.notEqual(moved.port, inside.port);
  assert.deepEqual(into(nat, otherAddress, moved), inside);
  assert.equal(into(nat, otherPort, moved), undefined);
  assert.equal(out(nat, first)!.port, inside.port, 'the others are not moved');
  assert.equal(out(nat, otherPort)!.port, inside.port);
  assert.equal(out(nat, { ...otherAddress, port: 9 })!.port, inside.port);
  assert.deepEqual(into(nat, otherPort, target), inside, 'who is sent to before it sends gets in');
  const later = 30_000 + 1;
  assert.equal(out(nat, otherAddress, later)!.port, inside.port, 'and it is forgotten');
});
