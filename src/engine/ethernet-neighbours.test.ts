import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { arp, BROADCAST, discovery, frame, hex, memberMac } from '../../test/support/frames.ts';
import {
  arpOperation,
  arpReply,
  icmpv6Offset,
  ndMacOffset,
  neighbourAdvertisement,
} from './ethernet-neighbours.ts';
import { parsePrefix } from './prefix-table.ts';

const station = (ipv4: string): number => parsePrefix(ipv4)!.words[0]!;
const us = memberMac('100.64.0.1');
const member = station('100.64.0.2');

test('an ARP request is answered byte for byte as the member would', () => {
  const asked = arp({ senderMac: us, senderIp: '100.64.0.1', targetIp: '100.64.0.2' });
  const request = Uint8Array.from([0xaa, 0xaa, ...frame(BROADCAST, us, 0x0806, asked)]);
  assert.deepEqual(
    arpReply(request, 2, member),
    hex(`
      7a7964400001 7a7964400002 0806
      0001 0800 06 04 0002
      7a7964400002 64400002
      7a7964400001 64400001
    `),
  );
});

test('an address probe (sender 0.0.0.0) is answered to who asked', () => {
  const asked = arp({ senderMac: us, senderIp: '0.0.0.0', targetIp: '100.64.0.2' });
  assert.deepEqual(
    arpReply(frame(BROADCAST, us, 0x0806, asked), 0, member),
    hex(`
      7a7964400001 7a7964400002 0806
      0001 0800 06 04 0002
      7a7964400002 64400002
      7a7964400001 00000000
    `),
  );
});

test('only requests and replies of IPv4 over Ethernet are ARP', () => {
  const good = arp({ senderMac: us, senderIp: '100.64.0.1', targetIp: '100.64.0.2' });
  assert.equal(arpOperation(good, 0, good.length), 1);
  assert.equal(arpOperation(Uint8Array.of(0, ...good), 1, good.length), 1);
  assert.equal(arpOperation(good, 0, 27), -1, 'cut');
  for (const at of [0, 1, 2, 3, 4, 5, 6]) {
    const bad = good.slice();
    bad[at]! ^= 0x40;
    assert.equal(arpOperation(bad, 0, bad.length), -1, `byte ${at}`);
  }
  good[7] = 3;
  assert.equal(arpOperation(good, 0, good.length), -1, 'RARP');
});

test('a neighbour solicitation is answered byte for byte as the member would', () => {
  const packet = discovery({
    type: 135,
    from: 'fd62:7572:6900::6440:1',
    to: 'ff02::1:ff40:2',
    target: 'fd62:7572:6900::6440:2',
    mac: us,
  });
  const solicitation = Uint8Array.of(0xaa, ...frame('33:33:ff:40:00:02', us, 0x86dd, packet));
  assert.deepEqual(
    neighbourAdvertisement(solicitation, 1, member),
    hex(`
      7a7964400001 7a7964400002 86dd
      60000000 0020 3a ff
      fd627572690000000000000064400002
      fd627572690000000000000064400001
      88 00 76a0 60000000
      fd627572690000000000000064400002
      02 01 7a7964400002
    `),
  );
});

test('who asks whether an address is free hears of its owner as everybody does', () => {
  const packet = discovery({
    type: 135,
    from: '::',
    to: 'ff02::1:ff40:2',
    target: 'fd62:7572:6900::6440:2',
  });
  const answer = neighbourAdvertisement(frame('33:33:ff:40:00:02', us, 0x86dd, packet), 0, member);
  assert.deepEqual(answer.subarray(0, 14), hex('333300000001 7a7964400002 86dd'));
  assert.deepEqual(answer.subarray(38, 54), hex('ff020000000000000000000000000001'));
  assert.equal(answer[58], 0x20, 'override, not solicited');
});

const ipv6 = (next: number, l4: string): Uint8Array =>
  hex(`60000000 0000 ${next.toString(16).padStart(2, '0')} ff ${'00'.repeat(32)} ${l4}`);
const offsetIn = (bytes: Uint8Array): number => icmpv6Offset(bytes, 0, bytes.length);

test('ICMPv6 is found behind every extension header that a kernel walks through', () => {
  const message = '88000000 00000000';
  assert.equal(offsetIn(ipv6(58, message)), 40);
  assert.equal(offsetIn(ipv6(0, `3a 00 0104 00000000 ${message}`)), 48, 'hop-by-hop');
  assert.equal(offsetIn(ipv6(60, `3a 01 0104 ${'00'.repeat(12)} ${message}`)), 56, 'options');
  assert.equal(offsetIn(ipv6(43, `3a 00 0000 00000000 ${message}`)), 48, 'routing');
  assert.equal(offsetIn(ipv6(51, `3a 01 0000 ${'00'.repeat(8)} ${message}`)), 52, 'authentication');
  assert.equal(offsetIn(ipv6(44, `3a 00 0001 00000000 ${message}`)), 48, 'first fragment');
  assert.equal(offsetIn(ipv6(44, `3a 00 0008 00000000 ${message}`)), -1, 'a later fragment');
  assert.equal(offsetIn(ipv6(0, `2c 00 0104 00000000 3a 00 0000 00000000 ${message}`)), 56);
  assert.equal(offsetIn(ipv6(17, message)), -1, 'UDP');
});

test('extension headers that lie about their length, or never end, are told', () => {
  assert.equal(offsetIn(ipv6(58, '')), -2);
  assert.equal(offsetIn(ipv6(0, '')), -2);
  assert.equal(offsetIn(ipv6(0, '3a 01 0104 00000000')), -2);
  assert.equal(offsetIn(ipv6(44, '3a 00')), -2);
  assert.equal(offsetIn(ipv6(0, '00 00 0000 00000000'.repeat(12))), -2);
  assert.equal(icmpv6Offset(new Uint8Array(40), 0, 39), -2);
});

test('the MAC in the options is found; options without end and second MACs are told', () => {
  const nd = (options: string) => hex(`87 00 0000 00000000 ${'00'.repeat(16)} ${options}`);
  const found = (bytes: Uint8Array): number => ndMacOffset(bytes, 0, bytes.length);
  assert.equal(found(nd('')), -1);
  assert.equal(found(nd('01 01 7a7964400001')), 26);
  assert.equal(found(nd('0e 01 000000000000 01 01 7a7964400001')), 34);
  assert.equal(found(nd('02 01 7a7964400001')), -1, "the target's, in a solicitation");
  assert.equal(found(nd('01 01 7a7964400001 01 01 7a7964400002')), -2);
  assert.equal(found(nd('01 00 7a7964400001')), -2);
  assert.equal(found(nd('01 02 7a7964400001')), -2);
  assert.equal(found(nd('01')), -2);
});

test('no bytes make the readers read or loop without end', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom(0, 43, 44, 51, 58, 60),
      (rest, next) => {
        const bytes = Uint8Array.from([...ipv6(next, ''), ...rest]);
        const at = icmpv6Offset(bytes, 0, bytes.length);
        assert.ok(at === -1 || at === -2 || (at >= 40 && at < bytes.length));
        const mac = ndMacOffset(rest, 0, rest.length);
        assert.ok(mac === -1 || mac === -2 || (mac >= 26 && mac + 6 <= rest.length));
      },
    ),
    { seed: 20_260_101, numRuns: 3_000 },
  );
});
