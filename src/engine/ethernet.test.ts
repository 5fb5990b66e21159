import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BROADCAST, frame, hex, ipxFrames, memberMac } from '../../test/support/frames.ts';
import {
  isCableMac,
  isGroupMac,
  linkLocalStation,
  macOf,
  payloadOf,
  readAddress,
  stationAt,
} from './ethernet.ts';
import { parsePrefix } from './prefix-table.ts';

const station = (ipv4: string): number => parsePrefix(ipv4)!.words[0]!;

test("a member's MAC is 7a:79 and its IPv4 address, there and back", () => {
  assert.deepEqual(macOf(station('100.64.1.200')), hex('7a:79:64:40:01:c8'));
  assert.equal(stationAt(hex('00 7a:79:64:40:01:c8'), 1), station('100.64.1.200'));
  assert.equal(stationAt(hex('7a:78:64:40:01:c8'), 0), 0);
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (word) =>
      assert.equal(stationAt(macOf(word), 0), word),
    ),
  );
});

test('group MACs are told from those of one machine, and those of a cable from those of a network', () => {
  assert.ok(isGroupMac(hex(BROADCAST), 0));
  assert.ok(isGroupMac(hex('33:33:00:00:00:01'), 0));
  assert.ok(!isGroupMac(hex(memberMac('100.64.0.1')), 0));
  assert.ok(isCableMac(hex('01:80:c2:00:00:00'), 0), 'spanning tree');
  assert.ok(isCableMac(hex('01:80:c2:00:00:0e'), 0), 'LLDP');
  assert.ok(!isCableMac(hex('01:80:c2:00:00:10'), 0));
  assert.ok(!isCableMac(hex(BROADCAST), 0));
});

const found = (bytes: Uint8Array): string => {
  const payload = payloadOf(bytes, 0, bytes.length);
  return payload < 0 ? 'none' : `${(payload & 0xffff).toString(16)} at ${payload >>> 16}`;
};
const of = (type: number | string, payload = '45'): Uint8Array =>
  frame(BROADCAST, memberMac('100.64.0.1'), type, hex(payload));

test('the EtherType is found behind tags and SNAP, and there is none in the other framings', () => {
  assert.equal(found(of(0x0800)), '800 at 14');
  assert.equal(found(of('8100 0005 0806')), '806 at 18');
  assert.equal(found(of('88a8 0005 8100 0006 86dd')), '86dd at 22');
  assert.equal(found(of('8100 0000 8100 0000 8100 0000 0800')), 'none', 'three tags');
  assert.equal(found(of('0009 aaaa03 000000 0800')), '800 at 22', 'SNAP');
  assert.equal(found(of('8100 0001 0009 aaaa03 000000 0806')), '806 at 26', 'SNAP behind a tag');
  assert.equal(found(of('0009 aaaa03 00000c 0800')), '0 at 14', "SNAP of somebody's own");
  assert.equal(found(of(1500)), '0 at 14');
  assert.equal(found(of(1536)), '600 at 14');
  const framings = ipxFrames(BROADCAST, memberMac('100.64.0.1'), new Uint8Array(4));
  assert.deepEqual(Object.values(framings).map(found), [
    '8137 at 14',
    '0 at 14',
    '0 at 14',
    '8137 at 22',
  ]);
});

test('a frame that ends within its header, tags or SNAP is not read beyond its end', () => {
  const tagged = of('88a8 0005 8100 0006', '');
  for (let length = 14; length <= tagged.length; length++) {
    assert.equal(payloadOf(tagged, 0, length), -1, `${length} bytes`);
  }
  const snap = of('0008 aaaa03 000000 08', '00');
  assert.equal(payloadOf(snap, 0, snap.length - 1), 14 << 16);
  assert.equal(payloadOf(snap, 0, snap.length), (22 << 16) | 0x0800);
});

test('a link-local address made of a MAC names its station, any other does not', () => {
  const words = new Int32Array(4);
  const of = (address: string): number => {
    const { family, words: parsed } = parsePrefix(address)!;
    const bytes = new Uint8Array(16);
    for (let i = 0; i < 16; i++) bytes[i] = parsed[i >> 2]! >>> (24 - 8 * (i & 3));
    readAddress(bytes, 0, family, words);
    return linkLocalStation(words);
  };
  assert.equal(of('fe80::7879:64ff:fe40:1c8'), station('100.64.1.200'));
  assert.equal(of('fe80::7879:c8ff:fe40:ffff'), station('200.64.255.255'));
  for (const other of ['fe80::7a79:64ff:fe40:1c8', 'fe80:0:0:1:7879:64ff:fe40:1c8', 'fe80::1'])
    assert.equal(of(other), 0, other);
  assert.equal(of('fd62::7879:64ff:fe40:1c8'), 0);
});
