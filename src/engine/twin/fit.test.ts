import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ACK,
  hasGoodChecksums,
  icmpPacket,
  ipPacket,
  SYN,
  tcpPacket,
  udpPacket,
  withPartialChecksum,
} from '../../../test/support/packets.ts';
import { get16, onesSum, put16, setIpv4Checksum } from './checksum.ts';
import { clampMss, fitOf, fragments } from './fit.ts';
import { GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, segment } from './segment.ts';

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i * 7);
const MORE = 0x2000;

/** What the receiver makes of the pieces, in any order (RFC 791 section 3.2). */
function reassembled(pieces: readonly Uint8Array[]): Uint8Array {
  const parts = pieces.toSorted((a, b) => (get16(a, 6) & 0x1fff) - (get16(b, 6) & 0x1fff));
  const headerLength = (parts[0]![0]! & 15) * 4;
  let at = 0;
  for (const [i, part] of parts.entries()) {
    assert.equal(onesSum(part.subarray(0, headerLength)), 0xffff, 'header checksum');
    assert.equal(get16(part, 2), part.length);
    assert.equal((get16(part, 6) & 0x1fff) * 8, at);
    assert.equal((get16(part, 6) & MORE) !== 0, i < parts.length - 1);
    at += part.length - headerLength;
  }
  const whole = new Uint8Array(headerLength + at);
  whole.set(parts[0]!.subarray(0, headerLength));
  for (const part of parts) {
    whole.set(part.subarray(headerLength), headerLength + (get16(part, 6) & 0x1fff) * 8);
  }
  put16(whole, 2, whole.length);
  put16(whole, 6, get16(whole, 6) & ~MORE);
  setIpv4Checksum(whole, headerLength);
  return whole;
}

describe('what fits', () => {
  const v4 = (length: number, fragmentBits: number) =>
    udpPacket({ family: 4, payload: bytes(length - 28), fragmentBits });
  const v6 = (length: number) => udpPacket({ family: 6, payload: bytes(length - 48) });
  for (const [what, packet, mtu, expected] of [
    ['of any size where nothing is known', v4(1400, 0x4000), 0, 'whole'],
    ['of exactly the MTU', v4(1240, 0x4000), 1240, 'whole'],
    ['with DF and a byte more', v4(1241, 0x4000), 1240, 'too-big'],
    ['without DF and a byte more', v4(1241, 0), 1240, 'fragments'],
    ['of IPv6 that is too big', v6(1281), 1240, 'too-big'],
    ['of IPv6 up to its least MTU', v6(1280), 940, 'whole'],
    ['that is not IP', Uint8Array.of(0x10, 0, 5, 0, ...bytes(1280)), 1240, 'whole'],
  ] as const) {
    test(`a packet ${what}: ${expected}`, () => assert.equal(fitOf(packet, mtu), expected));
  }
});

describe('fragments', () => {
  test('come together to what was cut, whatever the sizes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 400, max: 9000 }),
        fc.integer({ min: 320, max: 1500 }),
        (n, mtu) => {
          const packet = udpPacket({ family: 4, payload: bytes(n), fragmentBits: 0, id: 77 });
          const pieces = fragments(packet, mtu);
          for (const piece of pieces) assert.ok(piece.length <= mtu);
          assert.deepEqual(reassembled(pieces.toReversed()), packet);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('of a fragment continue its offset, and only the last of the last ends the packet', () => {
    const packet = icmpPacket({ family: 4, payload: bytes(4096), fragmentBits: 0 });
    const pieces = fragments(packet, 1396).flatMap((piece) => fragments(piece, 1000));
    assert.ok(pieces.length > 4);
    assert.deepEqual(reassembled(pieces), packet);
  });

  test('carry the options that are to be copied, and the first one all', () => {
    const plain = udpPacket({ family: 4, payload: bytes(1000), fragmentBits: 0 });
    // Router alert is copied (RFC 2113), record route is not (RFC 791).
    const options = [0x94, 4, 0, 0, 7, 3, 4, 0];
    const packet = Uint8Array.of(...plain.subarray(0, 20), ...options, ...plain.subarray(20));
    packet[0] = 0x47;
    put16(packet, 2, packet.length);
    setIpv4Checksum(packet, 28);
    const [first, second] = fragments(packet, 600);
    assert.deepEqual([...first!.subarray(20, 28)], options);
    assert.deepEqual([...second!.subarray(20, 28)], [0x94, 4, 0, 0, 1, 1, 1, 0]);
    assert.deepEqual(reassembled(fragments(packet, 600)), packet);
  });
});

describe('the MSS of a SYN', () => {
  const mssOf = (packet: Uint8Array, at: number) =>
    get16(packet, (packet[0]! >> 4 === 4 ? 40 : 60) + at);
  const syn = (family: 4 | 6, options: readonly number[], flags = SYN) =>
    tcpPacket({ family, flags, payload: bytes(0), options: Uint8Array.from(options) });
  const mss = (value: number) => [2, 4, value >> 8, value & 255];

  test('is lowered to what fits, at any place, and the checksum stays right', () => {
    for (const [family, most] of [
      [4, 1200],
      [6, 1180],
    ] as const) {
      for (const flags of [SYN, SYN | ACK]) {
        for (const nops of [0, 1, 2, 3]) {
          const front = Array.from({ length: nops }, () => 1);
          const back = Array.from({ length: (4 - nops) % 4 }, () => 0);
          const packet = syn(family, [...front, ...mss(1460), ...back], flags);
          clampMss(packet, 1240);
          assert.equal(mssOf(packet, nops + 2), most);
          assert.ok(hasGoodChecksums(packet), `IPv${family} with ${nops} bytes before`);
        }
      }
    }
  });

  test('is left alone when it fits, is nonsense, or where there is no SYN or no MTU', () => {
    const cases: readonly (readonly [Uint8Array, number])[] = [
      [syn(4, mss(1200)), 1240],
      [syn(4, mss(1460)), 0],
      [syn(4, mss(1460), ACK), 1240],
      [syn(4, [2, 3, 5, 180]), 1240],
      [syn(4, [3, 0, 0, 0, ...mss(1460)]), 1240],
      [syn(4, [3, 40, 0, 0, ...mss(1460)]), 1240],
      [syn(4, [0, 0, 0, 0, ...mss(1460)]), 1240],
      [
        tcpPacket({
          family: 4,
          flags: SYN,
          payload: bytes(8),
          fragmentBits: MORE,
          options: Uint8Array.from(mss(1460)),
        }),
        1240,
      ],
      [ipPacket({ family: 4, payload: bytes(0) }, 17, syn(4, mss(1460)).subarray(20)), 1240],
    ];
    for (const [packet, mtu] of cases) {
      const before = packet.slice();
      clampMss(packet, mtu);
      assert.deepEqual(packet, before);
    }
  });
});

test('a super-packet of TCP is cut as small as it fits', () => {
  for (const family of [4, 6] as const) {
    const payload = bytes(5000);
    const big = withPartialChecksum(tcpPacket({ family, payload, sequence: 1000 }));
    const l4 = family === 4 ? 20 : 40;
    const gsoType = family === 4 ? GSO_TCPV4 : GSO_TCPV6;
    const header = { flags: NEEDS_CSUM, gsoType, gsoSize: 1348, csumStart: l4, csumOffset: 16 };
    const segments = segment(big, header, 0, 940)!;
    assert.deepEqual(new Set(segments.slice(0, -1).map(({ length }) => length)), new Set([940]));
    for (const one of segments) assert.ok(hasGoodChecksums(one));
    assert.deepEqual(
      Buffer.concat(segments.map((one) => one.subarray(l4 + 20))),
      Buffer.from(payload),
    );
  }
});
