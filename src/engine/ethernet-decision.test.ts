import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ANN,
  BEN,
  FREE,
  MAC,
  segment,
  segmentOf,
  stationOf,
  US,
} from '../../test/support/ethernet-segment.ts';
import {
  arp,
  BROADCAST,
  discovery,
  frame,
  hex,
  ipBetween,
  ipxFrames,
} from '../../test/support/frames.ts';
import { ipPacket } from '../../test/support/packets.ts';
import {
  decideFrame,
  OUT_ASK_ARP,
  OUT_ASK_ND,
  OUT_FLOOD,
  OUT_MALFORMED,
  OUT_NOBODY,
  OUT_PACKET,
  OUT_QUIET,
  OUT_STRANGER,
} from './ethernet-decision.ts';
import { FRAME_GOOD, judgeFrame } from './ethernet-judge.ts';

/** What becomes of a frame of the device, which lies at an odd place. */
function decided(bytes: Uint8Array): number {
  const type = (bytes[12]! << 8) | bytes[13]!;
  const family = type === 0x0800 ? 4 : type === 0x86dd ? 6 : 0;
  return decideFrame(Uint8Array.from([9, ...bytes]), 1, bytes.length, family, segment);
}
const fromUs = (type: number | string, payload: Uint8Array, to = BROADCAST): Uint8Array =>
  frame(to, MAC.us, type, payload);
const ip = (from: string, to: string, mac = MAC.ann): number =>
  decided(fromUs(from.includes(':') ? '86dd' : '0800', ipBetween(from, to), mac));

describe('IP of a TAP device', () => {
  test('from us to members, to the pools and to groups goes as from a TUN device', () => {
    for (const to of [ANN.ipv4, BEN.ipv4, FREE.ipv4, '224.0.0.251', '239.1.2.3', '255.255.255.255'])
      assert.equal(ip(US.ipv4, to), OUT_PACKET, to);
    for (const to of [ANN.ipv6, BEN.ipv6, FREE.ipv6, 'ff02::fb', 'ff05::2'])
      assert.equal(ip(US.ipv6, to), OUT_PACKET, to);
  });

  test('of other subnets goes as a frame to the member that has the MAC', () => {
    assert.equal(ip('10.9.9.1', '10.9.9.2'), ANN.peer);
    assert.equal(ip('fd99::1', 'fd99::2'), ANN.peer);
    assert.equal(ip('10.9.9.1', BEN.ipv4, MAC.ben), BEN.peer, 'from another subnet to a member');
    assert.equal(ip(US.ipv4, '10.9.9.2'), ANN.peer, 'by way of a member');
    assert.equal(ip('fe80::7879:64ff:fe40:1', 'fe80::7879:64ff:fe40:2'), ANN.peer);
  });

  test('of other subnets to groups is flooded', () => {
    assert.equal(ip('10.9.9.1', '10.9.9.255', BROADCAST), OUT_FLOOD);
    assert.equal(ip('10.9.9.1', '224.0.0.251', '01:00:5e:00:00:fb'), OUT_FLOOD);
    assert.equal(ip('0.0.0.0', '255.255.255.255', BROADCAST), OUT_FLOOD);
    assert.equal(ip('fe80::7879:64ff:fe40:1', 'ff02::fb', '33:33:00:00:00:fb'), OUT_FLOOD);
  });

  test('from an address of another member is not sent', () => {
    for (const from of [ANN.ipv4, FREE.ipv4])
      assert.equal(ip(from, '10.9.9.2'), OUT_STRANGER, from);
    assert.equal(ip(BEN.ipv6, ANN.ipv6), OUT_STRANGER);
  });

  test('that manages groups is told to the engine, whatever its source', () => {
    const igmp = ipPacket(
      { family: 4, from: '10.9.9.1', to: '224.0.0.22', payload: new Uint8Array(8) },
      2,
      new Uint8Array(8),
    );
    assert.equal(decided(fromUs('0800', igmp, '01:00:5e:00:00:16')), OUT_PACKET);
    const mld = hex('3a 00 0502 00000100 8f000000 00000000');
    const from = 'fe80::7879:64ff:fe40:1';
    const report = ipPacket({ family: 6, from, to: 'ff02::16', payload: mld }, 0, mld);
    assert.equal(decided(fromUs('86dd', report, '33:33:00:00:00:16')), OUT_PACKET);
  });
});

describe('ARP of a TAP device', () => {
  const ask = (targetIp: string, senderIp: string = US.ipv4, operation = 1): number =>
    decided(fromUs('0806', arp({ operation, senderMac: MAC.us, senderIp, targetIp })));

  test('for members is answered here', () => {
    assert.equal(ask(ANN.ipv4), OUT_ASK_ARP);
    assert.equal(ask(BEN.ipv4, '10.9.9.1'), OUT_ASK_ARP);
    assert.equal(ask(BEN.ipv4, '0.0.0.0'), OUT_ASK_ARP, 'a probe');
  });

  test('for our own address and for free ones is met with silence', () => {
    assert.equal(ask(US.ipv4, '0.0.0.0'), OUT_QUIET, 'is our address free?');
    assert.equal(ask(US.ipv4, US.ipv4), OUT_QUIET, 'here we are');
    assert.equal(ask(US.ipv4, US.ipv4, 2), OUT_QUIET, 'here we are, as a reply');
    assert.equal(ask(FREE.ipv4), OUT_QUIET);
  });

  test('of other subnets is flooded, or goes to who is asked', () => {
    assert.equal(ask('10.9.9.2', '10.9.9.1'), OUT_FLOOD);
    assert.equal(ask('10.9.9.2'), OUT_FLOOD, 'from our own address');
    assert.equal(ask('10.9.9.1', '10.9.9.1'), OUT_FLOOD, 'gratuitous');
    const reply = arp({
      operation: 2,
      senderMac: MAC.us,
      senderIp: '10.9.9.1',
      targetIp: '10.9.9.2',
    });
    assert.equal(decided(fromUs('0806', reply, MAC.ann)), ANN.peer);
  });

  test("in another member's name, or malformed, is not sent", () => {
    assert.equal(ask('10.9.9.2', ANN.ipv4), OUT_STRANGER);
    assert.equal(ask('10.9.9.2', ANN.ipv4, 2), OUT_STRANGER);
    assert.equal(decided(fromUs('0806', new Uint8Array(28))), OUT_MALFORMED);
    assert.equal(decided(fromUs('0806', new Uint8Array(4))), OUT_MALFORMED);
  });
});

describe('neighbour discovery of a TAP device', () => {
  const nd = (
    type: number,
    target: string,
    from: string = US.ipv6,
    to = '33:33:ff:40:00:02',
  ): number => decided(fromUs('86dd', discovery({ type, from, to: 'ff02::1:ff40:2', target }), to));

  test('for members is answered here', () => {
    assert.equal(nd(135, ANN.ipv6), OUT_ASK_ND);
    assert.equal(nd(135, BEN.ipv6, 'fe80::7879:64ff:fe40:1'), OUT_ASK_ND);
    assert.equal(nd(135, BEN.ipv6, '::'), OUT_ASK_ND, 'is it free?');
    assert.equal(nd(135, ANN.ipv6, US.ipv6, MAC.ann), OUT_ASK_ND, 'is it still there?');
  });

  test('for our own address, for free ones and for routers is met with silence', () => {
    assert.equal(nd(135, US.ipv6, '::'), OUT_QUIET);
    assert.equal(nd(136, US.ipv6), OUT_QUIET);
    assert.equal(nd(135, FREE.ipv6), OUT_QUIET);
    for (const type of [133, 134, 137]) assert.equal(nd(type, 'fd99::1'), OUT_QUIET);
  });

  test('of other subnets is flooded, or goes to who is asked, and never as bare IP', () => {
    assert.equal(nd(135, 'fd99::2', 'fd99::1'), OUT_FLOOD);
    assert.equal(nd(135, 'fd99::2'), OUT_FLOOD, 'from our own address');
    assert.equal(
      nd(135, 'fe80::7879:64ff:fe40:1', '::'),
      OUT_FLOOD,
      'is our link-local address free?',
    );
    assert.equal(nd(136, 'fd99::1', 'fd99::1', MAC.ann), ANN.peer);
  });

  test('that is cut is not sent', () => {
    const packet = discovery({ type: 135, from: US.ipv6, to: 'ff02::1', target: 'fd99::1' });
    assert.equal(decided(fromUs('86dd', packet.subarray(0, 60))), OUT_MALFORMED);
  });
});

describe('other frames of a TAP device', () => {
  const nothing = new Uint8Array(46);

  test('go to the member that has the MAC, else to everybody', () => {
    assert.equal(decided(fromUs(0x88b5, nothing, MAC.ben)), BEN.peer);
    assert.equal(decided(fromUs(0x88b5, nothing, '02:00:00:00:00:01')), OUT_FLOOD);
    assert.equal(decided(fromUs(0x88b5, nothing)), OUT_FLOOD);
    for (const [name, bytes] of Object.entries(ipxFrames(BROADCAST, MAC.us, nothing)))
      assert.equal(decided(bytes), OUT_FLOOD, name);
  });

  test('for a member that is not there, or for the cable alone, go nowhere', () => {
    assert.equal(decided(fromUs(0x88b5, nothing, '7a:79:64:40:00:63')), OUT_NOBODY);
    assert.equal(decided(fromUs(0x26, nothing, '01:80:c2:00:00:00')), OUT_NOBODY);
  });

  test('of other machines are not carried: nothing is bridged', () => {
    for (const from of [MAC.ann, '02:00:00:00:00:01'])
      assert.equal(decided(frame(BROADCAST, from, 0x88b5, nothing)), OUT_STRANGER, from);
  });

  test('with a tag are carried as they are, and not asked what is in them', () => {
    const asked = arp({ senderMac: MAC.us, senderIp: US.ipv4, targetIp: ANN.ipv4 });
    assert.equal(decided(fromUs('8100 0005 0806', asked)), OUT_FLOOD);
    assert.equal(
      decided(fromUs('8100 0005 0800', ipBetween('10.9.9.1', '10.9.9.2'), MAC.ann)),
      ANN.peer,
    );
    assert.equal(decided(fromUs('8100 0000 8100 0000 8100 0000 0800', nothing)), OUT_MALFORMED);
  });
});

test('what an honest device sends to a member as a frame, that member takes', () => {
  const addresses = ['10.9.9.1', 'fd99::1', 'fe80::7879:64ff:fe40:1', '0.0.0.0', US.ipv4, US.ipv6];
  const targets = ['10.9.9.2', 'fd99::2', 'fe80::7879:64ff:fe40:2', ANN.ipv4, ANN.ipv6, FREE.ipv4];
  const shape = fc.record({
    from: fc.constantFrom(...addresses),
    target: fc.constantFrom(...targets),
    kind: fc.constantFrom('ip', 'arp', 'arp-reply', 135, 136, 'other'),
    to: fc.constantFrom(BROADCAST, MAC.ann, '33:33:00:00:00:01'),
    tag: fc.boolean(),
  });
  const annsView = segmentOf(ANN, [US, BEN]);
  const seen = { frames: 0 };
  fc.assert(
    fc.property(shape, ({ from, target, kind, to, tag }) => {
      const v6 = from.includes(':');
      if (v6 !== target.includes(':')) return;
      const operation = kind === 'arp' ? 1 : 2;
      const [type, payload] =
        kind === 'ip'
          ? [v6 ? '86dd' : '0800', ipBetween(from, target)]
          : typeof kind === 'number' && v6
            ? [
                '86dd',
                discovery({
                  type: kind,
                  from,
                  to: 'ff02::1',
                  target: kind === 136 ? from : target,
                  mac: MAC.us,
                }),
              ]
            : kind !== 'other' && !v6
              ? ['0806', arp({ operation, senderMac: MAC.us, senderIp: from, targetIp: target })]
              : ['88b5', new Uint8Array(46)];
      const bytes = fromUs(tag ? `8100 0005 ${type}` : type, payload, to);
      const decision = decided(bytes);
      if (decision !== OUT_FLOOD && decision !== ANN.peer) return;
      seen.frames++;
      const station = stationOf(US.ipv4);
      assert.equal(judgeFrame(bytes, 0, bytes.length, annsView, US.peer, station), FRAME_GOOD);
    }),
    { seed: 20_260_101, numRuns: 3_000 },
  );
  assert.ok(seen.frames > 500);
});
