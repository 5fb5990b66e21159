import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ANN,
  BEN,
  FREE,
  MAC,
  segment,
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
import {
  FRAME_DESTINATION,
  FRAME_GOOD,
  FRAME_MALFORMED,
  FRAME_ROUTER,
  FRAME_SOURCE,
  judgeFrame,
} from './ethernet-judge.ts';

/** What becomes of a frame that Ann sent; it lies at an odd place between other bytes. */
function judged(bytes: Uint8Array): number {
  const around = Uint8Array.from([0x45, 1, 2, ...bytes, 0x81, 0x00]);
  return judgeFrame(around, 3, bytes.length, segment, ANN.peer, stationOf(ANN.ipv4));
}
const fromAnn = (type: number | string, payload: Uint8Array, to = BROADCAST): Uint8Array =>
  frame(to, MAC.ann, type, payload);
const tagged = (type: string, payload: Uint8Array): Uint8Array =>
  fromAnn(`8100 0000 ${type}`, payload);
const snap = (type: string, payload: Uint8Array): Uint8Array =>
  fromAnn(8 + payload.length, Uint8Array.from([...hex(`aaaa03 000000 ${type}`), ...payload]));

describe('a frame of a member', () => {
  test('is good to us, to groups, and to a MAC that no member has', () => {
    const nothing = new Uint8Array(46);
    for (const to of [
      MAC.us,
      BROADCAST,
      '33:33:00:00:00:fb',
      '01:00:5e:00:00:fb',
      '02:00:00:00:00:01',
    ])
      assert.equal(judged(fromAnn(0x88b5, nothing, to)), FRAME_GOOD, to);
  });

  test('is refused for another member, for a member that is not there, and for the cable alone', () => {
    const nothing = new Uint8Array(46);
    for (const to of [
      MAC.ben,
      MAC.ann,
      '7a:79:64:40:00:63',
      '7a:79:00:00:00:00',
      '01:80:c2:00:00:00',
    ])
      assert.equal(judged(fromAnn(0x88b5, nothing, to)), FRAME_DESTINATION, to);
  });

  test("is refused with a source MAC that is not the sender's", () => {
    for (const from of [MAC.ben, MAC.us, BROADCAST, '02:00:00:00:00:01', '7a:78:64:40:00:02'])
      assert.equal(judged(frame(MAC.us, from, 0x88b5, new Uint8Array(46))), FRAME_SOURCE, from);
    const nobody = frame(MAC.us, '7a:79:00:00:00:00', 0x88b5, new Uint8Array(46));
    assert.equal(
      judgeFrame(nobody, 0, nobody.length, segment, 5, 0),
      FRAME_SOURCE,
      'a peer without IPv4',
    );
  });

  test('is good as IPX in each of its four framings', () => {
    for (const [name, bytes] of Object.entries(ipxFrames(BROADCAST, MAC.ann, new Uint8Array(30))))
      assert.equal(judged(bytes), FRAME_GOOD, name);
  });

  test('is refused when it is shorter than its header, ends in a tag, or is longer than the device takes', () => {
    const whole = fromAnn(0x88b5, new Uint8Array(1408));
    assert.equal(judged(whole), FRAME_GOOD, 'with room for two tags');
    assert.equal(judged(fromAnn(0x88b5, new Uint8Array(1409))), FRAME_MALFORMED);
    for (let length = 0; length < 14; length++) {
      assert.equal(judged(whole.subarray(0, length)), FRAME_MALFORMED, `${length} bytes`);
    }
    assert.equal(judged(fromAnn(0x8100, hex('0005'))), FRAME_MALFORMED);
    assert.equal(
      judged(fromAnn('8100 0000 8100 0000 8100 0000 0800', ipBetween(BEN.ipv4, US.ipv4))),
      FRAME_MALFORMED,
    );
  });
});

describe('IP in a frame', () => {
  const cases: [string, string, number][] = [
    ["from the sender's own address", ANN.ipv4, FRAME_GOOD],
    ['from another subnet', '10.9.9.2', FRAME_GOOD],
    ['from no address yet (DHCP)', '0.0.0.0', FRAME_GOOD],
    ['from another member', BEN.ipv4, FRAME_SOURCE],
    ['from us', US.ipv4, FRAME_SOURCE],
    ['from a free address of the pool', FREE.ipv4, FRAME_SOURCE],
    ["from the sender's own IPv6 address", ANN.ipv6, FRAME_GOOD],
    ['from another IPv6 subnet', 'fd99::2', FRAME_GOOD],
    ["from the sender's link-local address", 'fe80::7879:64ff:fe40:2', FRAME_GOOD],
    ['from some other link-local address', 'fe80::1', FRAME_GOOD],
    ["from another member's IPv6 address", BEN.ipv6, FRAME_SOURCE],
    ['from our IPv6 address', US.ipv6, FRAME_SOURCE],
    ['from a free IPv6 address of the pool', FREE.ipv6, FRAME_SOURCE],
    ["from another member's link-local address", 'fe80::7879:64ff:fe40:3', FRAME_SOURCE],
    ['from our link-local address', 'fe80::7879:64ff:fe40:1', FRAME_SOURCE],
  ];
  for (const [name, from, verdict] of cases) {
    test(`${name} is ${verdict === FRAME_GOOD ? 'good' : 'refused'}, also behind tags and SNAP`, () => {
      const v6 = from.includes(':');
      const packet = ipBetween(from, v6 ? 'fd99::1' : '10.9.9.1');
      const type = v6 ? '86dd' : '0800';
      assert.equal(judged(fromAnn(type, packet)), verdict);
      assert.equal(judged(tagged(type, packet)), verdict);
      assert.equal(judged(fromAnn(`88a8 0001 8100 0002 ${type}`, packet)), verdict);
      assert.equal(judged(snap(type, packet)), verdict);
    });
  }

  test('is refused when it is cut, or of another version than the EtherType says', () => {
    assert.equal(
      judged(fromAnn('0800', ipBetween(ANN.ipv4, US.ipv4).subarray(0, 19))),
      FRAME_MALFORMED,
    );
    assert.equal(
      judged(fromAnn('86dd', ipBetween(ANN.ipv6, US.ipv6).subarray(0, 39))),
      FRAME_MALFORMED,
    );
    assert.equal(judged(fromAnn('0800', ipBetween(ANN.ipv6, US.ipv6))), FRAME_MALFORMED);
    assert.equal(judged(fromAnn('86dd', ipBetween(ANN.ipv4, US.ipv4))), FRAME_MALFORMED);
  });
});

describe('ARP in a frame', () => {
  const ask = (senderIp: string, senderMac = MAC.ann, operation = 1): Uint8Array =>
    arp({ operation, senderMac, senderIp, targetIp: '10.9.9.1' });

  test('is good for addresses of other subnets', () => {
    for (const operation of [1, 2])
      for (const senderIp of ['10.9.9.2', '0.0.0.0', ANN.ipv4])
        assert.equal(
          judged(fromAnn('0806', ask(senderIp, MAC.ann, operation))),
          FRAME_GOOD,
          senderIp,
        );
  });

  test('is refused when it tells where an address of another member is', () => {
    for (const operation of [1, 2]) {
      for (const senderIp of [BEN.ipv4, US.ipv4, FREE.ipv4]) {
        const packet = ask(senderIp, MAC.ann, operation);
        assert.equal(judged(fromAnn('0806', packet)), FRAME_SOURCE, senderIp);
        assert.equal(judged(tagged('0806', packet)), FRAME_SOURCE, 'tagged');
        assert.equal(judged(snap('0806', packet)), FRAME_SOURCE, 'SNAP');
      }
    }
  });

  test("is refused when it tells another MAC than the sender's", () => {
    for (const mac of [MAC.ben, MAC.us, '02:00:00:00:00:01'])
      assert.equal(judged(fromAnn('0806', ask('10.9.9.2', mac))), FRAME_SOURCE, mac);
  });

  test('is refused when it is cut, or not of IPv4 over Ethernet', () => {
    const good = ask('10.9.9.2');
    assert.equal(judged(fromAnn('0806', good.subarray(0, 27))), FRAME_MALFORMED);
    for (const at of [0, 2, 4, 5, 7]) {
      const bad = good.slice();
      bad[at]! ^= 0x10;
      assert.equal(judged(fromAnn('0806', bad)), FRAME_MALFORMED, `byte ${at}`);
    }
  });
});

describe('neighbour discovery in a frame', () => {
  const nd = (type: number, target: string, mac?: string, hopByHop = false): Uint8Array => {
    const from = type === 134 || type === 137 ? 'fe80::7879:64ff:fe40:2' : 'fd99::2';
    const shape = { type, from, to: 'ff02::1', target, hopByHop };
    return fromAnn('86dd', discovery(mac === undefined ? shape : { ...shape, mac }));
  };

  test('is good about addresses of other subnets', () => {
    for (const type of [135, 136]) {
      assert.equal(judged(nd(type, 'fd99::1', MAC.ann)), FRAME_GOOD);
      assert.equal(judged(nd(type, 'fd99::1')), FRAME_GOOD, 'without MAC');
      assert.equal(judged(nd(type, 'fe80::7879:64ff:fe40:2', MAC.ann)), FRAME_GOOD);
    }
  });

  test('is refused when it tells where an address of another member is, also behind other headers', () => {
    for (const target of [BEN.ipv6, US.ipv6, FREE.ipv6, 'fe80::7879:64ff:fe40:3']) {
      assert.equal(judged(nd(136, target, MAC.ann)), FRAME_SOURCE, target);
      assert.equal(
        judged(nd(136, target, MAC.ann, true)),
        FRAME_SOURCE,
        `${target} behind options`,
      );
    }
  });

  test("is refused when it tells another MAC than the sender's", () => {
    for (const type of [135, 136])
      for (const mac of [MAC.ben, MAC.us])
        assert.equal(judged(nd(type, 'fd99::1', mac)), FRAME_SOURCE);
  });

  test('of routers is refused: nobody becomes the way to everywhere', () => {
    for (const type of [133, 134, 137]) {
      assert.equal(judged(nd(type, 'fd99::1')), FRAME_ROUTER);
      assert.equal(judged(nd(type, 'fd99::1', undefined, true)), FRAME_ROUTER, 'behind options');
    }
  });

  test('is refused with options that lie, and when it is cut', () => {
    const cut = discovery({ type: 136, from: 'fd99::2', to: 'ff02::1', target: 'fd99::1' });
    assert.equal(judged(fromAnn('86dd', cut.subarray(0, 63))), FRAME_MALFORMED);
    assert.equal(
      judged(fromAnn('86dd', Uint8Array.from([...cut, 2, 0, 0, 0, 0, 0, 0, 0]))),
      FRAME_MALFORMED,
    );
  });
});

test('whatever the bytes, a good frame has the MAC of its sender and none that is for another member', () => {
  const header = fc.tuple(
    fc.constantFrom(MAC.us, MAC.ben, BROADCAST, '02:00:00:00:00:01'),
    fc.constantFrom(MAC.ann, MAC.ben, MAC.us),
    fc.constantFrom('0800', '0806', '86dd', '8100', '0010', '8137'),
  );
  const seen = new Set<number>();
  fc.assert(
    fc.property(header, fc.uint8Array({ maxLength: 120 }), ([to, from, type], rest) => {
      const verdict = judged(frame(to, from, type, rest));
      seen.add(verdict);
      if (verdict === FRAME_GOOD) assert.ok(from === MAC.ann && to !== MAC.ben);
    }),
    { seed: 20_260_101, numRuns: 5_000 },
  );
  assert.ok(seen.has(FRAME_GOOD) && seen.has(FRAME_SOURCE) && seen.has(FRAME_MALFORMED));
});
