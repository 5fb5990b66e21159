import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrefix } from '#engine/prefix-table.ts';
import {
  DESTINATION_EVERYBODY,
  DESTINATION_LOCAL,
  DESTINATION_MEMBERS,
  DESTINATION_UNICAST,
  destinationKind,
  isGroupManagement,
} from './groups.ts';

function kindOf(address: string) {
  const { family, words } = parsePrefix(address)!;
  return destinationKind(family, Int32Array.of(99, ...words), 1);
}

const table: readonly [number, readonly string[]][] = [
  [
    DESTINATION_EVERYBODY,
    [
      '255.255.255.255',
      '224.0.0.1',
      '224.0.0.251',
      '224.0.0.255',
      '239.255.255.250',
      'ff02::1',
      'ff02::fb',
      'ff12::1234',
      'ff02::1:ff00:1',
      'ff05::c',
      'ff08::c',
      'ff0e::c',
    ],
  ],
  [
    DESTINATION_MEMBERS,
    [
      '224.0.1.1',
      '232.1.2.3',
      '239.255.255.251',
      '239.255.255.255',
      'ff05::2',
      'ff05::1:c',
      'ff05:0:1::c',
      'ff15::c',
      'ff04::c',
      'ff0e::101',
      'ff35:40:2001:db8::1',
    ],
  ],
  [DESTINATION_LOCAL, ['ff01::1', 'ff11::fb', 'ff00::', 'ff00::1']],
  [
    DESTINATION_UNICAST,
    [
      '255.255.255.254',
      '223.255.255.255',
      '240.0.0.1',
      '0.0.0.0',
      '100.127.255.255',
      'fe80::1',
      'fd62:7572:6900::6440:1',
      '::',
      'fe02::1',
    ],
  ],
];

test('broadcast and the groups of the link are for everybody, other groups for members', () => {
  for (const [kind, addresses] of table) {
    for (const address of addresses) assert.equal(kindOf(address), kind, address);
  }
});

test('frames and messages have no such destination', () => {
  assert.equal(destinationKind(1, Int32Array.of(-1, -1, -1, -1), 0), DESTINATION_UNICAST);
});

/** An IPv6 packet with these next headers, each extension of `8 * (1 + more)` bytes, then an ICMPv6 type. */
function ipv6(next: number, after: number, more: number, type: number): Uint8Array {
  const bytes = new Uint8Array(3 + 40 + 8 * (1 + more) + 4);
  bytes[3 + 6] = next;
  bytes.set([after, more], 3 + 40);
  bytes[3 + 40 + 8 * (1 + more)] = type;
  return bytes;
}

test('IGMP and MLD are known, whatever stands before them', () => {
  const is = (bytes: Uint8Array, family: number) =>
    isGroupManagement(bytes, 3, bytes.length - 3, family);
  const igmp = new Uint8Array(3 + 24 + 8);
  igmp[3 + 9] = 2;
  assert.equal(is(igmp, 4), true);
  igmp[3 + 9] = 17;
  assert.equal(is(igmp, 4), false);
  for (const type of [130, 131, 132, 143]) {
    assert.equal(is(ipv6(0, 58, 0, type), 6), true);
    assert.equal(is(ipv6(0, 58, 2, type), 6), true);
  }
  assert.equal(is(ipv6(0, 58, 0, 136), 6), false, 'a neighbour advertisement');
  assert.equal(is(ipv6(0, 17, 0, 143), 6), false);
  assert.equal(is(ipv6(58, 58, 0, 143), 6), false, 'no router alert');
  const cut = ipv6(0, 58, 200, 143).slice(0, 3 + 50);
  assert.equal(is(cut, 6), false, 'an extension longer than the packet');
});
