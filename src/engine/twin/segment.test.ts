import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ACK,
  CWR,
  FIN,
  hasGoodChecksums,
  headerLengthOf,
  PSH,
  sequenceOf,
  tcpPacket,
  udpPacket,
  withPartialChecksum,
} from '../../../test/support/packets.ts';
import { get16 } from './checksum.ts';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  NEEDS_CSUM,
  segment,
  type VnetHeader,
} from './segment.ts';

const payloadOf = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i * 7);

function vnet(packet: Uint8Array, gsoType: number, gsoSize: number): VnetHeader {
  const tcp = gsoType !== GSO_UDP_L4;
  const csumStart = headerLengthOf(packet);
  return { flags: NEEDS_CSUM, gsoType, gsoSize, csumStart, csumOffset: tcp ? 16 : 6 };
}

describe('segmenting a super-packet', () => {
  for (const family of [4, 6] as const) {
    const type = family === 4 ? GSO_TCPV4 : GSO_TCPV6;
    const big = tcpPacket({
      family,
      payload: payloadOf(2_500),
      sequence: 0xfffffc00,
      flags: ACK | PSH | FIN | CWR,
      id: 0xffff,
      options: new Uint8Array(12).fill(1),
    });

    test(`TCP over IPv${family} yields whole packets with their own headers and checksums`, () => {
      const segments = segment(withPartialChecksum(big), vnet(big, type, 1_000))!;
      const headers = headerLengthOf(big) + 32;
      assert.deepEqual(
        segments.map((s) => s.length - headers),
        [1_000, 1_000, 500],
      );
      assert.ok(segments.every(hasGoodChecksums));
      const payload = Buffer.concat(segments.map((s) => s.subarray(headers)));
      assert.deepEqual(new Uint8Array(payload), payloadOf(2_500));
      // The sequence number wraps.
      assert.deepEqual(segments.map(sequenceOf), [0xfffffc00, 0xffffffe8, 0x3d0]);
    });

    test(`TCP over IPv${family}: FIN and PSH stay on the last, CWR on the first`, () => {
      const segments = segment(withPartialChecksum(big), vnet(big, type, 1_000))!;
      const flags = segments.map((s) => s[headerLengthOf(s) + 13]);
      assert.deepEqual(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
    });

    test(`UDP over IPv${family} yields datagrams with their own lengths`, () => {
      const packet = udpPacket({ family, payload: payloadOf(250) });
      const segments = segment(withPartialChecksum(packet), vnet(packet, GSO_UDP_L4, 100))!;
      const l4 = headerLengthOf(packet);
      assert.deepEqual(
        segments.map((s) => get16(s, l4 + 4)),
        [108, 108, 58],
      );
      assert.ok(segments.every(hasGoodChecksums));
    });
  }

  test('the identification of IPv4 counts up and wraps', () => {
    const packet = tcpPacket({ family: 4, payload: payloadOf(300), id: 0xfffe });
    const segments = segment(withPartialChecksum(packet), vnet(packet, GSO_TCPV4, 100))!;
    assert.deepEqual(
      segments.map((s) => get16(s, 4)),
      [0xfffe, 0xffff, 0],
    );
  });

  test('a single packet gets the checksum that was left to the device', () => {
    const packet = udpPacket({ family: 6, payload: payloadOf(33) });
    const header = { ...vnet(packet, GSO_UDP_L4, 0), gsoType: GSO_NONE };
    assert.deepEqual(segment(withPartialChecksum(packet), header), [packet]);
  });

  test('a UDP checksum that comes out as zero is sent as all ones', () => {
    // Find a payload whose checksum is 0xffff on the wire, then check that completing yields the same.
    const payload = new Uint8Array(2);
    let packet = udpPacket({ family: 4, payload });
    for (let i = 0; i < 65_536 && get16(packet, 26) !== 0xffff; i++) {
      payload[0] = i >> 8;
      payload[1] = i;
      packet = udpPacket({ family: 4, payload });
    }
    assert.equal(get16(packet, 26), 0xffff);
    const header = { ...vnet(packet, GSO_UDP_L4, 0), gsoType: GSO_NONE };
    assert.deepEqual(segment(withPartialChecksum(packet), header), [packet]);
  });

  const good = tcpPacket({ family: 4, payload: payloadOf(300) });
  const header = vnet(good, GSO_TCPV4, 100);
  const lies: readonly [string, Uint8Array, VnetHeader][] = [
    ['no segment size', good, { ...header, gsoSize: 0 }],
    ['no checksum offset', good, { ...header, flags: 0 }],
    ['the wrong family', good, { ...header, gsoType: GSO_TCPV6 }],
    ['an unknown kind', good, { ...header, gsoType: 3 }],
    ['a checksum start beyond the packet', good, { ...header, csumStart: 60_000 }],
    ['a checksum start inside the IP header', good, { ...header, csumStart: 8 }],
    ['a checksum field elsewhere', good, { ...header, csumOffset: 6 }],
    ['less bytes than its length says', good.subarray(0, 200), header],
    ['more bytes than its length says', Buffer.concat([good, Buffer.alloc(9)]), header],
    ['no payload', tcpPacket({ family: 4, payload: new Uint8Array(0) }), header],
    ['a fragment', tcpPacket({ family: 4, payload: payloadOf(300), fragmentBits: 0x2000 }), header],
  ];
  for (const [name, packet, lie] of lies) {
    test(`a super-packet with ${name} is refused`, () => {
      assert.equal(segment(packet, lie), undefined);
    });
  }
});
