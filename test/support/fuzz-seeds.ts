/**
 * Writes the inputs that the fuzzers begin with: packets as programs and devices make them.
 *
 *   fuzz-seeds.ts TARGET DIRECTORY
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '#engine/twin/segment.ts';
import { INNER_HEADER_BYTES, writeInnerHeader } from '#wire/inner.ts';
import { arp, BROADCAST, frame, hex, ipBetween, ipxFrames, memberMac } from './frames.ts';
import {
  deviceScript,
  inboundScript,
  outboundScript,
  partialItem,
  plainItem,
} from './fuzz-scripts.ts';
import {
  ACK,
  CWR,
  FIN,
  headerLengthOf,
  icmpPacket,
  ipPacket,
  PSH,
  SYN,
  tcpPacket,
  udpPacket,
  withPartialChecksum,
} from './packets.ts';
import { relayScript } from './relay-rigs.ts';

const FAMILIES = [4, 6] as const;
const payload = (length: number): Uint8Array => new Uint8Array(length).map((_, i) => i);
const mss = (value: number) => Uint8Array.of(2, 4, value >> 8, value & 255, 1, 3, 3, 7, 4, 2, 0, 0);

const [target = '', directory = ''] = process.argv.slice(2);
const seeds: Readonly<Record<string, () => readonly Uint8Array[]>> = {
  outbound,
  inbound,
  relay,
  device,
  aesgcm: () => [payload(64), payload(600), payload(4_000)],
};
const make = seeds[target];
if (make === undefined) throw new Error(`no target '${target}'`);
mkdirSync(directory, { recursive: true });
for (const [i, seed] of make().entries()) writeFileSync(join(directory, `seed-${i}`), seed);

function relay(): Uint8Array[] {
  const bare = (length: number) => Uint8Array.of(4, 0, 0, 0, ...payload(length));
  const probe = (length: number) => Uint8Array.of(0x42, 0x55, 0x52, 1, ...payload(length));
  const control = (type: number, length: number) =>
    Uint8Array.of(0x42, 0x55, 0x52, 2, type, 0, 0, 0, ...payload(length));
  const message = 6;
  return [
    // One peer's burst, whose last datagram is shorter; then that of another, to the same.
    relayScript([
      { op: message, times: 44, destination: 1, content: bare(90) },
      { op: 4, destination: 1, content: bare(40) },
      { op: message | 16, times: 20, destination: 1, content: bare(90) },
      { op: message, times: 80, destination: 1, content: bare(90) },
    ]),
    // Several that take turns, among them what is delivered behind a header and what is dropped.
    relayScript(
      Array.from({ length: 24 }, (_, i) => ({
        op: message | ((i % 3) << 4),
        destination: i % 8,
        content: i % 4 === 0 ? payload(100) : bare(100),
      })),
    ),
    // In one message what the kernel would merge: handshakes, probes, control, nothing of ours.
    relayScript([
      { op: message, destination: 2, content: payload(148) },
      { op: 4, destination: 2, content: probe(144) },
      { op: 4, destination: 3, content: payload(148) },
      { op: 0, content: control(3, 160) },
      { op: 0, content: payload(168) },
      { op: 4, destination: 2, content: payload(60) },
      { op: 2, content: control(6, 60) },
      { op: 4, content: new Uint8Array(0) },
    ]),
    // More bytes than a send holds.
    relayScript([
      { op: message | 8, times: 2, destination: 0, content: bare(800) },
      { op: message | 8, times: 2, destination: 0, content: bare(800) },
      { op: message | 9, times: 3, destination: 0, content: bare(700) },
    ]),
  ];
}

function outbound(): Uint8Array[] {
  return FAMILIES.flatMap((family) => {
    const tcp = (length: number, flags: number) =>
      withPartialChecksum(tcpPacket({ family, payload: payload(length), flags }));
    const udp = withPartialChecksum(udpPacket({ family, payload: payload(900) }));
    const l4 = headerLengthOf(udp);
    const superTcp = partialItem(tcp(1_400, ACK | PSH | CWR | FIN), l4, {
      tcp: true,
      gsoType: family === 4 ? GSO_TCPV4 : GSO_TCPV6,
      gsoSize: 100,
    });
    const superUdp = partialItem(udp, l4, { tcp: false, gsoType: GSO_UDP_L4, gsoSize: 50 });
    const syn = plainItem(
      tcpPacket({ family, payload: payload(0), flags: SYN, options: mss(8_960) }),
    );
    const coarse = partialItem(tcp(2_600, ACK), l4, {
      tcp: true,
      gsoType: family === 4 ? GSO_TCPV4 : GSO_TCPV6,
      gsoSize: 1_000,
    });
    // The MSS lies across two words of the checksum.
    const oddSyn = plainItem(
      tcpPacket({
        family,
        payload: payload(0),
        flags: SYN,
        options: hex('01 02 04 23 00 00 00 00'),
      }),
    );
    const small = plainItem(udpPacket({ family, payload: payload(100) }));
    const cuttable = plainItem(udpPacket({ family, payload: payload(1_000), fragmentBits: 0 }));
    const ping = plainItem(icmpPacket({ family, payload: payload(1_300), fragmentBits: 0 }));
    const link = INNER_HEADER_BYTES + 14;
    const tagged = { ...superTcp, link, csumStart: l4 + link, packet: framed(superTcp.packet) };
    return [
      outboundScript({ mtu: 1_400 }, [superTcp, superUdp, small, small, small]),
      outboundScript({ mtu: 1_400, pathMtu: 576 }, [syn, cuttable, ping, superTcp, superUdp]),
      outboundScript({ mtu: 1_400, pathMtu: 1_280, prefixLength: 12 }, [
        { ...small, op: 4, path: 1 },
        { ...ping, op: 16 },
        { ...superTcp, op: 1 },
        { ...superTcp, op: 32 },
      ]),
      outboundScript({ mtu: 1_400 }, [tagged, { ...superUdp, op: 2 }, { ...small, op: 9 }]),
      outboundScript({ mtu: 1_400, pathMtu: 400 }, [coarse, oddSyn]),
      outboundScript({ mtu: 1_400, pathMtu: 400 }, [
        { ...partialItem(udp, l4, { tcp: false }), op: 2 },
        plainItem(wrapped('frame', payload(300))),
        plainItem(wrapped('message', payload(500))),
      ]),
    ];
  });
}

function inbound(): Uint8Array[] {
  const CHACHA = 8;
  const AES = 4;
  const stun = Uint8Array.from([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...payload(12)]);
  const kinds = [
    Uint8Array.from([1, 0, 0, 0, ...payload(144)]),
    Uint8Array.from([2, 0, 0, 0, ...payload(88)]),
    Uint8Array.from([3, 0, 0, 0, ...payload(60)]),
    stun,
    Uint8Array.from([0x42, 0x55, 0x52, 1, ...payload(30)]),
  ];
  const flows = FAMILIES.flatMap((family) => {
    const stream = [0, 1, 2, 3].map((i) =>
      tcpPacket({
        ...{ family, payload: payload(i === 3 ? 20 : 60), sequence: 100 + 60 * i, id: i },
        ...{ fragmentBits: 0x4000, flags: i === 3 ? ACK | PSH : ACK },
      }),
    );
    const datagrams = [0, 1, 2].map((i) => udpPacket({ family, payload: payload(60), id: i }));
    return [stream, datagrams, [icmpPacket({ family, payload: payload(20) }), ...stream]];
  });
  return [
    inboundScript(
      0xff,
      kinds.map((content) => ({ op: 2, content })),
    ),
    ...flows.flatMap((packets) =>
      [AES, CHACHA].map((kind) =>
        inboundScript(
          0xff,
          packets.map((content) => ({ op: kind, content })),
        ),
      ),
    ),
    inboundScript(0xff, [
      { op: AES | 2, content: new Uint8Array(0) },
      { op: AES, content: wrapped('frame', payload(60)) },
      { op: AES, content: wrapped('message', payload(7)) },
      { op: 12 },
      { op: 12, position: 20 },
      { op: AES | 32, content: udpPacket({ family: 4, payload: payload(9) }), skip: 9_000 },
      { op: AES | 1, content: ipPacket({ family: 4, payload: payload(0) }, 200, payload(30)) },
    ]),
  ];
}

function device(): Uint8Array[] {
  const packets = FAMILIES.flatMap((family) => [
    tcpPacket({ family, payload: payload(40) }),
    udpPacket({ family, payload: payload(40) }),
  ]);
  const [from, to] = [memberMac('100.64.0.1'), memberMac('100.64.0.2')];
  const frames = [
    ...packets.map((packet) => framed(packet).subarray(INNER_HEADER_BYTES)),
    frame(
      ...([BROADCAST, from, 0x0806] as const),
      arp({ senderMac: from, senderIp: '100.64.0.1', targetIp: '100.64.0.2' }),
    ),
    frame(to, from, 0x0800, ipBetween('100.64.0.1', '100.64.0.2')),
    ...Object.values(ipxFrames(to, from, hex('0102'))),
  ];
  const checksum = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0];
  return [
    deviceScript(
      false,
      0xff,
      packets.map((bytes) => ({ bytes })),
    ),
    deviceScript(
      true,
      0xff,
      frames.map((bytes) => ({ bytes, header: checksum })),
    ),
    deviceScript(
      true,
      0,
      frames.map((bytes) => ({ bytes, header: [] })),
    ),
  ];
}

function wrapped(kind: 'frame' | 'message', content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(INNER_HEADER_BYTES + content.length);
  writeInnerHeader(bytes, 0, { kind, length: content.length });
  bytes.set(content, INNER_HEADER_BYTES);
  return bytes;
}

/** An IP packet as an Ethernet frame behind its inner header. */
function framed(packet: Uint8Array): Uint8Array {
  const type = packet[0]! >> 4 === 4 ? [8, 0] : [0x86, 0xdd];
  return wrapped('frame', Uint8Array.from([...Array(12).fill(0x7a), ...type, ...packet]));
}
