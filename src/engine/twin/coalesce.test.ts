import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ACK,
  CWR,
  FIN,
  hasGoodChecksums,
  headerLengthOf,
  icmpPacket,
  PSH,
  SYN,
  type TcpShape,
  tcpPacket,
  udpPacket,
} from '../../../test/support/packets.ts';
import { OFFLOAD_TSO4, OFFLOAD_TSO6, OFFLOAD_USO4, OFFLOAD_USO6 } from '../layout.ts';
import { coalesce, type Unit } from './coalesce.ts';
import { parseInner } from './inner.ts';
import { segment } from './segment.ts';

const ALL = OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_USO4 | OFFLOAD_USO6;
const SIZE = 100;

const join = (
  packets: readonly Uint8Array[],
  offloads = ALL,
  keys: readonly number[] = [],
): Unit[] =>
  coalesce(
    packets.map((packet, i) => {
      const bytes = packet.slice();
      return { bytes, inner: parseInner(bytes)!, key: keys[i] ?? 1 };
    }),
    offloads,
  );
const sizes = (units: readonly Unit[]): number[] => units.map((unit) => unit.pieces.length);
const whole = (unit: Unit): Uint8Array => Buffer.concat(unit.pieces);

/** Packet `index` of a TCP flow with equal segments. */
function part(index: number, changes: Partial<TcpShape> = {}): Uint8Array {
  const payload = new Uint8Array(SIZE).fill(index + 1);
  return tcpPacket({ family: 4, payload, sequence: 1_000 + index * SIZE, id: index, ...changes });
}

function corrupted(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy[copy.length - 1]! ^= 1;
  return copy;
}

describe('coalescing', () => {
  for (const family of [4, 6] as const) {
    test(`TCP over IPv${family}: what was joined segments into the same packets again`, () => {
      const packets = [0, 1, 2, 3].map((i) =>
        part(i, i === 3 ? { family, flags: ACK | PSH } : { family }),
      );
      const units = join(packets);
      assert.deepEqual(sizes(units), [4]);
      assert.deepEqual(segment(whole(units[0]!), header(units[0]!)), packets);
    });

    test(`UDP over IPv${family}: datagrams of one size and a shorter last join`, () => {
      const packets = [90, 90, 90, 17].map((length, i) =>
        udpPacket({ family, payload: new Uint8Array(length).fill(i), id: i }),
      );
      const units = join([...packets, packets[0]!]);
      assert.deepEqual(sizes(units), [4, 1]);
      assert.deepEqual(segment(whole(units[0]!), header(units[0]!)), packets);
    });
  }

  function header(unit: Unit) {
    const { flags, gsoType, gsoSize, csumStart, csumOffset } = unit;
    return { flags, gsoType, gsoSize, csumStart, csumOffset };
  }

  const apart: readonly [string, Uint8Array[]][] = [
    ['a gap in the sequence', [part(0), part(2)]],
    ['a repeated packet', [part(0), part(0)]],
    ['another acknowledgement', [part(0), part(1, { acknowledgement: 9 })]],
    ['another window', [part(0), part(1, { window: 9 })]],
    [
      'other options',
      [part(0, { options: new Uint8Array(4).fill(1) }), part(1, { options: new Uint8Array(4) })],
    ],
    ['another TOS (a congestion mark)', [part(0, { tos: 2 }), part(1, { tos: 3 })]],
    ['another TTL', [part(0), part(1, { ttl: 63 })]],
    ['another DF bit', [part(0), part(1, { fragmentBits: 0 })]],
    [
      'an identification that does not count up, without DF',
      [part(0, { fragmentBits: 0 }), part(1, { fragmentBits: 0, id: 7 })],
    ],
    ['a larger segment', [part(0), part(1, { payload: new Uint8Array(SIZE + 1) })]],
    ['SYN', [part(0, { flags: SYN }), part(1)]],
    ['FIN', [part(0), part(1, { flags: ACK | FIN })]],
    ['CWR', [part(0), part(1, { flags: ACK | CWR })]],
    ['a push before', [part(0, { flags: ACK | PSH }), part(1)]],
    ['a wrong checksum in the first', [corrupted(part(0)), part(1)]],
    ['a wrong checksum in the second', [part(0), corrupted(part(1))]],
    ['another port', [part(0), part(1, { toPort: 80 })]],
    ['another address', [part(0), part(1, { to: '10.9.0.3' })]],
    ['fragments', [part(0, { fragmentBits: 0x2000 }), part(1, { fragmentBits: 0x2000 })]],
    ['no payload', [part(0, { payload: new Uint8Array(0) }), part(0)]],
  ];
  for (const [name, packets] of apart) {
    test(`TCP packets with ${name} stay apart and unchanged`, () => {
      const units = join(packets);
      assert.deepEqual(sizes(units), [1, 1]);
      assert.deepEqual(
        units.map(whole).map((u) => new Uint8Array(u)),
        packets,
      );
      assert.ok(units.every((unit) => unit.gsoType === 0 && unit.flags === 0));
    });
  }

  test('UDP without checksum stays apart', () => {
    const packet = udpPacket({ family: 4, payload: new Uint8Array(50) }, { zeroChecksum: true });
    assert.deepEqual(sizes(join([packet, packet])), [1, 1]);
  });

  test('packets opened with keys of different peers stay apart', () => {
    assert.deepEqual(sizes(join([part(0), part(1)], ALL, [1, 2])), [1, 1]);
  });

  test('interleaved flows join each within itself', () => {
    const other = (i: number) => part(i, { fromPort: 40_001 });
    assert.deepEqual(sizes(join([part(0), other(0), part(1), other(1), part(2)])), [3, 2]);
  });

  test('a packet of the flow that cannot join ends the unit: nothing overtakes it', () => {
    const pure = part(1, { payload: new Uint8Array(0) });
    assert.deepEqual(sizes(join([part(0), pure, part(1)])), [1, 1, 1]);
  });

  test('a fragment ends every open unit', () => {
    const fragment = part(9, { fragmentBits: 0x2000 });
    assert.deepEqual(sizes(join([part(0), fragment, part(1)])), [1, 1, 1]);
  });

  test('other protocols pass as they are', () => {
    const packet = icmpPacket({ family: 6, payload: new Uint8Array(56) });
    const [unit] = join([packet]);
    assert.deepEqual(new Uint8Array(whole(unit!)), packet);
  });

  test('a unit holds 64 packets and 65,535 bytes at most', () => {
    const many = Array.from({ length: 65 }, (_, i) => part(i));
    assert.deepEqual(sizes(join(many)), [64, 1]);
    const large = Array.from({ length: 48 }, (_, i) =>
      part(0, { payload: new Uint8Array(1_400), sequence: 1_000 + i * 1_400 }),
    );
    const units = join(large);
    assert.deepEqual(sizes(units), [46, 2]);
    assert.ok(whole(units[0]!).length <= 65_535);
  });

  test('nothing joins where the device lacks the offload', () => {
    assert.deepEqual(sizes(join([part(0), part(1)], ALL & ~OFFLOAD_TSO4)), [1, 1]);
    const v6 = [part(0, { family: 6 }), part(1, { family: 6 })];
    assert.deepEqual(sizes(join(v6, ALL & ~OFFLOAD_TSO6)), [1, 1]);
    assert.deepEqual(sizes(join(v6, ALL & ~OFFLOAD_TSO4)), [2]);
    const udp = udpPacket({ family: 4, payload: new Uint8Array(50) });
    assert.deepEqual(sizes(join([udp, udp], ALL & ~OFFLOAD_USO4)), [1, 1]);
  });

  test('a unit of one is told to the device without any offload, its checksum untouched', () => {
    const [unit] = join([part(0)]);
    assert.ok(hasGoodChecksums(whole(unit!)));
    assert.equal(headerLengthOf(whole(unit!)), 20);
    assert.deepEqual([unit!.flags, unit!.gsoType, unit!.gsoSize], [0, 0, 0]);
  });
});
