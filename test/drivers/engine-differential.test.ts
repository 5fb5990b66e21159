/** The C addon against its TypeScript twin: the same input has to give the same bytes, rows and counters. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import {
  loadAddon,
  SUITE_AES_256_GCM,
  SUITE_AES_256_GCM_EVP,
  SUITE_CHACHA20_POLY1305,
} from '#engine/addon.ts';
import { COUNTER_NAMES } from '#engine/counters.ts';
import * as layout from '#engine/layout.ts';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM } from '#engine/twin/segment.ts';
import { TransportKey } from '#engine/twin/transport.ts';
import { INNER_HEADER_BYTES, writeInnerHeader } from '#wire/inner.ts';
import { NativeRig, type PlainItem, type Rig, TwinRig } from '../support/byte-rigs.ts';
import {
  ACK,
  CWR,
  ECE,
  FIN,
  headerLengthOf,
  icmpPacket,
  ipPacket,
  PSH,
  SYN,
  seededRandom,
  tcpPacket,
  URG,
  udpPacket,
  withPartialChecksum,
} from '../support/packets.ts';

const SEED = 20_260_101;
const SLOTS = [0, 1, 2] as const;
/** The last one by OpenSSL, as on processors without VAES. */
const SUITES = [SUITE_AES_256_GCM, SUITE_CHACHA20_POLY1305, SUITE_AES_256_GCM_EVP] as const;
const SUITE_NAMES = ['aes256gcm', 'chacha20poly1305', 'aes256gcm'] as const;
const key = (slot: number, side: number): Uint8Array => new Uint8Array(32).fill(16 * slot + side);

const native = new NativeRig();
const twin = new TwinRig();
const rigs: readonly Rig[] = [native, twin];
const random = seededRandom(SEED);
/** What the comparisons met, so that they cannot become empty unnoticed. */
const seen = { tooBig: 0, longRuns: 0, joinedUnits: 0 };

for (const rig of rigs) {
  for (const slot of SLOTS) {
    const index = 0xf0000000 + slot;
    assert.ok(rig.work.setKey(slot, SUITES[slot], index | 0, key(slot, 1), key(slot, 2), 0, 0));
    const prefix = new Uint8Array(slot === 0 ? 0 : 12 * slot).fill(0xaa);
    assert.ok(rig.work.setPath(slot, 0, Uint8Array.of(192, 0, 2, 1), 1, prefix, 0));
  }
}
/** The other ends of the keys, which make what the rigs open. */
const senders = SLOTS.map(
  (slot) => new TransportKey(nodeCrypto, SUITE_NAMES[slot], slot, key(slot, 2), key(slot, 1)),
);

// ---- inner packets

const flagsArbitrary = fc.oneof(
  { weight: 20, arbitrary: fc.constant(ACK) },
  { weight: 2, arbitrary: fc.constant(ACK | PSH) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(SYN, ACK | FIN, ACK | CWR, ACK | ECE, ACK | URG, 0, 255),
  },
);

const rarely = (usual: number, other: number) =>
  fc.oneof(
    { weight: 15, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constant(other) },
  );

const seldom = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });

const shapeArbitrary = fc.record({
  protocol: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom('tcp', 'udp') },
    { weight: 1, arbitrary: fc.constantFrom('udp-zero', 'icmp', 'extension', 'frame', 'message') },
  ),
  family: fc.constantFrom<4 | 6>(4, 6),
  port: rarely(1, 2),
  /** Mostly the next packet of its flow; sometimes one before or after it. */
  jump: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 0, 1, -1),
  length: fc.oneof({ weight: 12, arbitrary: fc.constant(100) }, fc.nat(1_300)),
  flags: flagsArbitrary,
  options: rarely(0, 12),
  tos: rarely(0, 3),
  ttl: rarely(64, 63),
  window: rarely(501, 502),
  acknowledgement: rarely(1, 2),
  id: rarely(0, 3),
  fragmentBits: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(0x4000, 0) },
    { weight: 1, arbitrary: fc.constantFrom(0x2000, 0x00ff, 0x8000, 0xc000) },
  ),
});
type Shape = typeof shapeArbitrary extends fc.Arbitrary<infer T> ? T : never;

/** Where each flow stands: sequence number and identification. */
type Flows = Map<string, { sequence: number; id: number }>;

function build(shape: Shape, flows: Flows = new Map()): Uint8Array {
  const { protocol, family, port, length, jump } = shape;
  const name = `${protocol} ${family} ${port}`;
  const at = flows.get(name) ?? { sequence: 0xffffff00, id: 0xfffe };
  const payload = new Uint8Array(length).map((_, i) => i + at.id);
  const sequence = (at.sequence + jump * 100) >>> 0;
  const base = { ...shape, fromPort: port, payload, id: (at.id + shape.id) & 0xffff };
  flows.set(name, { sequence: (sequence + length) >>> 0, id: (at.id + 1) & 0xffff });
  switch (protocol) {
    case 'tcp':
      return tcpPacket({ ...base, sequence, options: new Uint8Array(shape.options).fill(1) });
    case 'udp':
      return udpPacket(base);
    case 'udp-zero':
      return udpPacket(base, { zeroChecksum: true });
    case 'icmp':
      return icmpPacket(base);
    case 'frame':
    case 'message': {
      const inner = new Uint8Array(INNER_HEADER_BYTES + Math.max(14, length));
      inner.set(payload, INNER_HEADER_BYTES);
      writeInnerHeader(inner, 0, { kind: protocol, length: inner.length - INNER_HEADER_BYTES });
      return inner;
    }
    default:
      // Hop-by-hop options (IPv6), or some protocol that nobody knows (IPv4).
      return ipPacket(
        base,
        family === 6 ? 0 : 200,
        Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0, ...payload),
      );
  }
}

/** Changes that keep a packet nearly right, which is where parsers fail. */
const spoilArbitrary = seldom(
  fc.record({ at: fc.nat(80), bit: fc.nat(7), cut: fc.nat(60), grow: fc.nat(40) }),
);
function spoil(
  packet: Uint8Array,
  change: { at: number; bit: number; cut: number; grow: number } | null,
) {
  if (change === null) return packet;
  const copy = new Uint8Array(Math.max(1, packet.length - change.cut) + change.grow);
  copy.set(packet.subarray(0, Math.max(1, packet.length - change.cut)));
  if (change.at < copy.length) copy[change.at]! ^= 1 << change.bit;
  return copy;
}

// ---- outbound

const superArbitrary = fc.record({
  shape: shapeArbitrary,
  length: fc.oneof(fc.nat(4_000), fc.constant(61_200)),
  gsoSize: fc.oneof({ weight: 5, arbitrary: fc.integer({ min: 1, max: 1_400 }) }, fc.nat(65_535)),
  plain: fc.boolean(),
  spoil: spoilArbitrary,
  lie: seldom(
    fc.record({ flags: fc.nat(255), type: fc.nat(255), start: fc.nat(200), offset: fc.nat(40) }),
  ),
  slot: fc.constantFrom(0, 0, 1, 2, -1, 99),
});

function itemOf(spec: typeof superArbitrary extends fc.Arbitrary<infer T> ? T : never): PlainItem {
  const gso = !spec.plain && (spec.shape.protocol === 'tcp' || spec.shape.protocol === 'udp');
  // Few bytes a segment make thousands of them; keep the number sane.
  const gsoSize = Math.max(spec.gsoSize, spec.length > 8_000 ? 500 : 1);
  const fragmentBits = spec.shape.fragmentBits === 0 ? 0 : 0x4000;
  const shape: Shape = gso ? { ...spec.shape, length: spec.length, fragmentBits } : spec.shape;
  const whole = build(shape);
  const tcp = shape.protocol === 'tcp';
  const packet = spoil(gso ? withPartialChecksum(whole) : whole, spec.spoil);
  const item = {
    packet,
    flags: gso ? NEEDS_CSUM : 0,
    gsoType: gso ? (tcp ? (shape.family === 4 ? GSO_TCPV4 : GSO_TCPV6) : GSO_UDP_L4) : 0,
    gsoSize: gso ? gsoSize : 0,
    csumStart: headerLengthOf(whole),
    csumOffset: tcp ? 16 : 6,
    key: spec.slot,
    path: spec.slot,
  };
  if (spec.lie === null) return item;
  const { flags, type, start, offset } = spec.lie;
  return { ...item, flags, gsoType: type, csumStart: start, csumOffset: offset };
}

const linkArbitrary = fc.record({
  tags: fc.nat(2),
  /** Says another length than it has. */
  lie: seldom(fc.constantFrom(-1, 1, 4, 17, 30, 9_999)),
});

/** The item as an Ethernet frame behind its inner header, as a TAP device's IP of a foreign subnet travels. */
function framed(
  item: PlainItem,
  { tags, lie }: typeof linkArbitrary extends fc.Arbitrary<infer T> ? T : never,
): PlainItem {
  const tag = [0x81, 0, 0, 5];
  const header = [0x10, 0, 0, 0, ...Array(12).fill(7), ...tag, ...tag, 8, 0];
  const front = Uint8Array.from([...header.slice(0, 16 + 4 * tags), 8, 0]);
  return {
    ...item,
    packet: Uint8Array.from([...front, ...item.packet]),
    csumStart: item.csumStart + front.length,
    link: front.length + (lie ?? 0),
  };
}

/** What may be for several peers lies there unharmed when it was sealed once. */
const isSealedAgain = ({ gsoType, link = 0 }: PlainItem): boolean =>
  gsoType === 0 || link > 0 || (gsoType & 0x7f) === GSO_UDP_L4;

/** MTUs of the paths: 0 is not known, and as good as 0 is what no path has. */
const pathMtus = [0, 0, 319, 320, 576, 1_280, 1_340, 1_400];

function setPaths(pathMtu: number): void {
  for (const rig of rigs) {
    for (const slot of SLOTS) {
      const prefix = new Uint8Array(slot === 0 ? 0 : 12 * slot).fill(0xaa);
      assert.ok(rig.work.setPath(slot, 0, Uint8Array.of(192, 0, 2, 1), 1, prefix, pathMtu));
    }
  }
}

function compareSeal(items: readonly PlainItem[], mtuBytes: number, pathMtu = 0): void {
  setPaths(pathMtu);
  for (const rig of rigs) rig.work.setOffloads(0xff, mtuBytes);
  const expected = twin.seal(items);
  const actual = native.seal(items);
  assert.deepEqual(actual.rows, expected.rows);
  assert.deepEqual(actual.runs, expected.runs);
  for (const [i, item] of items.entries()) {
    if (isSealedAgain(item)) assert.deepEqual(native.placed(i), twin.placed(i));
  }
  for (const run of actual.runs) if (run.count > 1) seen.longRuns++;
  for (const [, , status] of actual.rows)
    if ((status! & layout.STATUS_TOO_BIG) !== 0) seen.tooBig++;
}

/** TCP options: mostly whole ones with an MSS among them, sometimes nonsense. */
function optionsOf(length: number): Uint8Array {
  const options = random.bytes(length);
  if (random.below(5) === 0) return options;
  options.fill(1);
  const at = random.below(Math.max(1, length - 3));
  if (length >= 4) options.set([2, 4, 5, 180], at);
  if (random.below(5) === 0 && length > 0) options[random.below(length)] = random.below(256);
  return options;
}

/** The same IPv4 packet with 8 bytes of options, one of which is copied to all fragments. */
function withIpOptions(packet: Uint8Array): Uint8Array {
  if (packet[0]! >> 4 !== 4 || packet.length < 20) return packet;
  const longer = Uint8Array.of(
    ...packet.subarray(0, 20),
    0x94,
    4,
    0,
    0,
    7,
    3,
    4,
    0,
    ...packet.subarray(20),
  );
  longer[0] = 0x47;
  longer[2] = longer.length >> 8;
  longer[3] = longer.length;
  return longer;
}

// ---- inbound

const datagramArbitrary = fc.record({
  shape: shapeArbitrary,
  spoil: spoilArbitrary,
  sender: fc.constantFrom(0, 0, 0, 1, 2),
  fate: fc.constantFrom(
    'good',
    'good',
    'good',
    'good',
    'keepalive',
    'forged',
    'replayed',
    'cut',
    'junk',
    'handshake',
  ),
});

type Datagram = typeof datagramArbitrary extends fc.Arbitrary<infer T> ? T : never;

let lastSealed = new Uint8Array(64);
function datagramOf(spec: Datagram, flows: Flows): Uint8Array {
  const sender = senders[spec.sender]!;
  if (spec.fate === 'junk') return random.bytes(1 + random.below(200));
  if (spec.fate === 'handshake') return Uint8Array.of(1, 0, 0, 0, ...random.bytes(144));
  if (spec.fate === 'keepalive') return sender.seal(new Uint8Array(0))!;
  if (spec.fate === 'replayed') return lastSealed.slice();
  const sealed = sender.seal(spoil(build(spec.shape, flows), spec.spoil))!;
  lastSealed = sealed.slice();
  if (spec.fate === 'forged') sealed[8 + random.below(sealed.length - 8)]! ^= 1 << random.below(8);
  return spec.fate === 'cut' ? sealed.subarray(0, random.below(sealed.length)) : sealed;
}

/** Datagrams as UDP_GRO would merge them, and, with `anySize`, as it never should: of any sizes in one buffer. */
function messagesOf(datagrams: readonly Uint8Array[], anySize: boolean) {
  const messages: { bytes: Uint8Array; segment: number }[] = [];
  let open: { parts: Uint8Array[]; segment: number } | undefined;
  for (const bytes of datagrams) {
    const size = open?.parts.reduce((sum, part) => sum + part.length, 0) ?? 0;
    const fits =
      open !== undefined && bytes.length === open.segment && size + bytes.length < 65_507;
    if (fits || (anySize && open !== undefined && size + bytes.length < 4_000))
      open!.parts.push(bytes);
    else {
      if (open !== undefined)
        messages.push({ bytes: Buffer.concat(open.parts), segment: open.segment });
      open = { parts: [bytes], segment: bytes.length };
    }
  }
  if (open !== undefined)
    messages.push({ bytes: Buffer.concat(open.parts), segment: open.segment });
  return messages;
}

const keyOf = (index: number): number => (index >= 0 && index < SLOTS.length ? index : -1);

function compareOpen(datagrams: readonly Uint8Array[], offloads: number, anySize: boolean): void {
  for (const rig of rigs) rig.work.setOffloads(offloads, 1_400);
  const messages = messagesOf(datagrams, anySize);
  for (let i = 0; i < messages.length; i += layout.MAX_SLOTS) {
    const batch = messages.slice(i, i + layout.MAX_SLOTS);
    const actual = native.open(batch, keyOf);
    assert.deepEqual(actual, twin.open(batch, keyOf));
    for (const unit of actual.units) if (unit.row[layout.UNIT_PIECES - 1]! > 1) seen.joinedUnits++;
  }
}

describe('addon and twin', () => {
  test('share the layout of tables and the names of counters', () => {
    const addon = loadAddon();
    assert.deepEqual({ ...layout }, { ...addon.layout });
    assert.deepEqual([...COUNTER_NAMES], addon.counterNames);
  });

  test('seal the same: super-packets, small packets, lying headers', () => {
    const items = fc.array(superArbitrary, { minLength: 1, maxLength: 2 });
    const mtu = fc.constantFrom(0, 576, 1_280, 1_400, 1_500, 65_535);
    const pathMtu = fc.constantFrom(...pathMtus);
    fc.assert(
      fc.property(items, mtu, pathMtu, (specs, mtuBytes, path) =>
        compareSeal(specs.map(itemOf), mtuBytes, path),
      ),
      { seed: SEED, numRuns: 2_000 },
    );
  });

  test('seal the same: SYNs with all sorts of options, packets of a size that does not fit', () => {
    setPaths(0);
    for (let round = 0; round < 3_000; round++) {
      const family = random.below(2) === 0 ? 4 : 6;
      const options = optionsOf(4 * random.below(8));
      const payload = random.bytes(random.below(4) === 0 ? random.below(1_300) : 0);
      const shape = { family, payload, options, flags: random.below(4) === 0 ? ACK : SYN } as const;
      const whole =
        random.below(3) === 0
          ? ipPacket({ ...shape, fragmentBits: 0 }, 200, payload)
          : tcpPacket(shape);
      const packet = random.below(4) === 0 ? withIpOptions(whole) : whole;
      const none = { flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
      compareSeal([{ packet, ...none, key: 0, path: 0 }], 1_400, pathMtus[random.below(8)]!);
    }
    const fragmented = COUNTER_NAMES.indexOf('out-fragmented');
    assert.equal(native.tables.counters[fragmented], twin.tables.counters[fragmented]);
    assert.ok(native.tables.counters[fragmented]! > 20, 'packets were cut');
    assert.ok(seen.tooBig > 20, 'packets were too big');
  });

  test('seal one packet for several peers as if it had been there for each of them', () => {
    const partial = fc.boolean();
    fc.assert(
      fc.property(superArbitrary, partial, fc.boolean(), (spec, needsChecksum, swapped) => {
        let item = itemOf({ ...spec, shape: { ...spec.shape, protocol: 'udp' } });
        if (!isSealedAgain(item)) return;
        if (item.gsoType === 0 && needsChecksum) item = { ...item, flags: NEEDS_CSUM };
        const slots = [0, 2, 0];
        const [one, other] = swapped ? [twin, native] : [native, twin];
        for (const rig of rigs) rig.work.setOffloads(0xff, 1_400);
        const copies = slots.map((slot) => ({ ...item, key: slot, path: slot }));
        assert.deepEqual(one.sealShared(item, slots), other.seal(copies));
      }),
      { seed: SEED, numRuns: 600 },
    );
  });

  test('seal the same: super-packets in Ethernet frames, tagged and not, also for several peers', () => {
    fc.assert(
      fc.property(superArbitrary, linkArbitrary, fc.boolean(), (spec, link, shared) => {
        const item = framed(itemOf(spec), link);
        compareSeal([item], 1_400);
        if (!shared) return;
        const slots = [0, 1, 2];
        const copies = slots.map((slot) => ({ ...item, key: slot, path: slot }));
        assert.deepEqual(native.sealShared(item, slots), twin.seal(copies));
      }),
      { seed: SEED, numRuns: 1_500 },
    );
  });

  test('seal the same: batches of many small packets of several peers', () => {
    for (let round = 0; round < 60; round++) {
      const items = Array.from({ length: 1 + random.below(layout.MAX_ITEMS) }, () => {
        const payload = random.bytes(random.below(3) === 0 ? random.below(300) : 80);
        const packet = udpPacket({ family: random.below(2) === 0 ? 4 : 6, payload });
        const slot = random.below(6) === 0 ? random.below(3) : 0;
        const none = { flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };
        return { packet, ...none, key: slot, path: slot };
      });
      compareSeal(items, 1_400);
    }
  });

  test('seal the same: random bytes as super-packets', () => {
    for (let round = 0; round < 3_000; round++) {
      const packet = random.bytes(1 + random.below(400));
      if (random.below(2) === 0) packet[0] = random.below(2) === 0 ? 0x45 : 0x60;
      const item: PlainItem = {
        packet,
        flags: random.below(4),
        gsoType: [0, 1, 3, 4, 5, 0x81, 0x85, 255][random.below(8)]!,
        gsoSize: random.below(200),
        csumStart: random.below(60),
        csumOffset: [6, 16, random.below(65_536)][random.below(3)]!,
        key: 0,
        path: 0,
      };
      compareSeal([item], 1_400);
    }
  });

  test('open and coalesce the same: flows, forgeries, replays, cut and mixed buffers', () => {
    const offloads = fc.oneof(
      { weight: 8, arbitrary: fc.constant(0xff) },
      { weight: 1, arbitrary: fc.constantFrom(0, 4 | 16, 8 | 32, 3) },
    );
    const habit = fc.record({
      protocol: fc.constantFrom<'tcp' | 'udp'>('tcp', 'udp'),
      family: fc.constantFrom<4 | 6>(4, 6),
      keep: fc.constantFrom(true, true, true, false),
    });
    const datagrams = fc.array(datagramArbitrary, { minLength: 1, maxLength: 40, size: 'max' });
    fc.assert(
      fc.property(
        datagrams,
        habit,
        offloads,
        fc.constantFrom(false, false, false, true),
        (specs, usual, bits, anySize) => {
          const flows: Flows = new Map();
          const packets = specs.map((spec, i) => {
            const { protocol, family } = usual.keep && i % 16 !== 15 ? usual : spec.shape;
            return datagramOf({ ...spec, shape: { ...spec.shape, protocol, family } }, flows);
          });
          compareOpen(packets, bits, anySize);
        },
      ),
      { seed: SEED, numRuns: 1_500 },
    );
  });

  test('open the same: what one seals of a whole flow the other takes, in order and shuffled', () => {
    for (let round = 0; round < 40; round++) {
      const sender = senders[round % 3]!;
      const family = round % 2 === 0 ? 4 : 6;
      const length = 1_300 + random.below(100);
      const datagrams = Array.from({ length: 100 }, (_, i) => {
        const payload = new Uint8Array(length).fill(i);
        return sender.seal(tcpPacket({ family, payload, sequence: i * length }))!;
      });
      if (round % 4 === 3) datagrams.sort(() => random.next() - 0.5);
      compareOpen(datagrams, 0xff, false);
    }
  });

  test('accept the same counters at the edge of the replay window', () => {
    for (const slot of SLOTS) {
      const sealed = Array.from({ length: 9_000 }, () => senders[slot]!.seal(new Uint8Array(0))!);
      const last = sealed.length - 1;
      const order = [
        last,
        last,
        0,
        last - 8_129,
        last - 8_128,
        last - 8_127,
        last - 8_126,
        500,
        4_000,
        last - 1,
      ];
      for (const i of order) compareOpen([sealed[i]!.slice()], 0xff, false);
    }
  });

  test('open the same: random bytes', () => {
    for (let round = 0; round < 1_000; round++) {
      const datagrams = Array.from({ length: 1 + random.below(30) }, () => {
        const bytes = random.bytes(1 + random.below(200));
        if (bytes.length >= 8 && random.below(2) === 0)
          bytes.set([4, 0, 0, 0, random.below(4), 0, 0, 0]);
        return bytes;
      });
      compareOpen(datagrams, 0xff, true);
    }
  });

  test('agree on authentic packets whose inner bytes are hostile', () => {
    for (let round = 0; round < 2_000; round++) {
      const bytes = random.bytes(1 + random.below(100));
      bytes[0] = [0x45, 0x46, 0x4f, 0x40, 0x60, 0x00, 0xff, 0x10, 0x20, 0x11][random.below(10)]!;
      if (random.below(4) > 0) bytes.set([0, 0].slice(0, bytes.length - 1), 1);
      if (bytes.length > 9 && random.below(2) === 0) {
        bytes[2] = 0;
        bytes[3] = random.below(110);
        bytes[9] = random.below(2) === 0 ? 6 : 17;
        bytes[6] = random.below(2) === 0 ? 6 : 0;
      }
      compareOpen([senders[0]!.seal(bytes)!, senders[0]!.seal(bytes)!], 0xff, false);
    }
  });
});

test('the comparisons above saw runs, joined units, forgeries, replays and malformed packets', () => {
  assert.ok(seen.longRuns > 500, `${seen.longRuns} runs of several datagrams`);
  assert.ok(seen.joinedUnits > 500, `${seen.joinedUnits} units of several packets`);
  for (const name of [
    'in-forged',
    'in-replayed',
    'in-malformed',
    'in-keepalives',
    'in-unknown-kind',
  ] as const) {
    const index = COUNTER_NAMES.indexOf(name);
    assert.ok(native.tables.counters[index]! > 10, name);
  }
});
