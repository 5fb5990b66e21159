/** One packet engine facing a peer that sends what no engine would, and the events that its owner gets. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { AeadSuite } from '#core/crypto.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { TransportKey } from '#engine/twin/transport.ts';
import {
  type End,
  type EndOptions,
  EngineLab,
  type Host,
  INNER,
  INNER6,
  indexOf,
  keysOf,
  OUTER,
  ping,
  sealerTo,
} from '../support/engine-lab.ts';
import { needsRoot } from '../support/needs-root.ts';
import { icmpPacket, seededRandom, udpPacket } from '../support/packets.ts';

const PORT = 41_641;
const MAC1_KEY_LABEL = new TextEncoder().encode('mac1----');
const localPublicKey = nodeCrypto.x25519PublicKey(new Uint8Array(32).fill(5));

interface Scene {
  readonly engine: Host;
  readonly end: End;
  readonly peer: Host;
  readonly peerPort: number;
  readonly seal: TransportKey;
  /** Sends datagrams to the engine, each in a call of its own. */
  send(...datagrams: readonly Uint8Array[]): Promise<void>;
  /** Sends them in one call, so that the engine receives them merged. */
  sendMerged(segment: number, ...datagrams: readonly Uint8Array[]): Promise<void>;
}

async function withScene(
  play: (scene: Scene) => Promise<void>,
  options: EndOptions & { counter?: bigint } = {},
): Promise<void> {
  await using lab = new EngineLab();
  const suite: AeadSuite = options.suite ?? 'aes256gcm';
  const end = await lab.liveEnd('a', options);
  const engine = end.host;
  await engine.engine('setLocalPublicKey', localPublicKey);
  const peer = lab.host('b');
  const peerPort = await peer.call<number>('rawOpen');
  const seal = sealerTo('a', suite, options.counter);
  const sendMerged = (segment: number, ...datagrams: readonly Uint8Array[]) =>
    peer.call<void>('rawSend', OUTER.a, PORT, new Uint8Array(Buffer.concat(datagrams)), segment);
  const send = async (...datagrams: readonly Uint8Array[]) => {
    for (const bytes of datagrams) await sendMerged(bytes.length, bytes);
  };
  await play({ engine, end, peer, peerPort, seal, send, sendMerged });
}

const good = (text = 'hello'): Uint8Array =>
  udpPacket({
    family: 4,
    from: INNER.b,
    to: INNER.a,
    payload: new TextEncoder().encode(text),
    toPort: 9,
  });

function handshake(length: 148 | 92, publicKey = localPublicKey): Uint8Array {
  const bytes = nodeCrypto.random(length);
  bytes.set([length === 148 ? 1 : 2, 0, 0, 0]);
  const key = nodeCrypto.blake2s(MAC1_KEY_LABEL, publicKey);
  bytes.set(nodeCrypto.blake2sMac(key, 16, bytes.subarray(0, length - 32)), length - 32);
  return bytes;
}

const stun = (): Uint8Array =>
  Uint8Array.of(0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, ...nodeCrypto.random(12));
const buriMagic = (): Uint8Array => Uint8Array.of(0x42, 0x55, 0x52, 1, 9, 9);

for (const portable of [false, true]) {
  describe(`the ${portable ? 'portable ' : ''}packet engine`, needsRoot, () => {
    test('drops and counts inner packets from addresses that are not the sender’s', () =>
      withScene(
        async ({ engine, seal, send }) => {
          const spoofed = [
            udpPacket({ family: 4, from: '10.9.0.3', to: INNER.a, payload: new Uint8Array(9) }),
            udpPacket({ family: 4, from: INNER.a, to: INNER.a, payload: new Uint8Array(9) }),
            icmpPacket({ family: 6, from: 'fd00:9::3', to: INNER6.a, payload: new Uint8Array(9) }),
          ];
          for (const packet of spoofed) await send(seal.seal(packet)!);
          await engine.counter('in-source-refused', 3);
          const elsewhere = udpPacket({
            family: 4,
            from: INNER.b,
            to: '10.9.0.7',
            payload: new Uint8Array(9),
          });
          await send(seal.seal(elsewhere)!);
          await engine.counter('in-destination-refused', 1);
          assert.equal((await engine.counters())['in-units'], 0, 'nothing reached the device');
          await send(seal.seal(good())!);
          await engine.counter('in-units', 1);
        },
        { portable },
      ));

    test('drops and counts the spoofed part of a merged buffer and takes the rest', () =>
      withScene(
        async ({ engine, seal, sendMerged }) => {
          const part = (from: string) =>
            seal.seal(udpPacket({ family: 4, from, to: INNER.a, payload: new Uint8Array(36) }))!;
          const parts = [INNER.b, '10.9.0.3', INNER.b, '10.9.0.3', '10.9.0.3', INNER.b].map(part);
          await sendMerged(parts[0]!.length, ...parts);
          await engine.counter('in-source-refused', 3);
          const counters = await engine.counters();
          assert.equal(counters['in-messages'], 1, 'it came as one buffer');
          assert.equal(counters['in-packets'], 6);
          assert.ok(counters['in-units']! >= 1);
        },
        { portable },
      ));

    test('drops and counts forged, replayed, truncated and foreign packets', () =>
      withScene(
        async ({ engine, seal, send }) => {
          const packet = seal.seal(good())!;
          await send(packet, packet);
          await engine.counter('in-replayed', 1);
          const forged = seal.seal(good())!;
          forged[forged.length - 1]! ^= 1;
          await send(forged, forged.subarray(0, 40), sealerTo('b', 'aes256gcm', 99n).seal(good())!);
          await engine.counter('in-forged', 2);
          await engine.counter('in-unknown-index', 1);
          await send(packet.subarray(0, 31), Uint8Array.of(1, 2, 3), new Uint8Array(500));
          await engine.counter('in-unknown-kind', 3);
          await send(seal.seal(Uint8Array.of(0x45, 0, 0, 99, ...new Uint8Array(40)))!);
          await send(seal.seal(new Uint8Array(32))!);
          await engine.counter('in-malformed', 2);
          assert.equal((await engine.counters())['in-units'], 1);
        },
        { portable },
      ));

    test('tells kinds apart within one merged buffer', () =>
      withScene(
        async ({ engine, peerPort, seal, sendMerged }) => {
          const data = (): Uint8Array =>
            seal.seal(
              udpPacket({
                family: 4,
                from: INNER.b,
                to: INNER.a,
                payload: new Uint8Array(148 - 32 - 28),
              }),
            )!;
          const padded = (bytes: Uint8Array): Uint8Array => {
            const whole = new Uint8Array(148);
            whole.set(bytes);
            return whole;
          };
          const parts = [
            data(),
            data(),
            handshake(148),
            padded(stun()),
            data(),
            padded(buriMagic()),
            padded(Uint8Array.of(9)),
            data(),
            seal.seal(new Uint8Array(0))!,
          ];
          await sendMerged(148, ...parts);
          const [, bytes, socket, remote] = await engine.event(
            'datagram',
            ([kind]) => kind === 'handshake-initiation',
          );
          assert.deepEqual(new Uint8Array(bytes as Uint8Array), parts[2]);
          assert.equal(socket, 0);
          assert.deepEqual(remote, { address: OUTER.b, port: peerPort });
          await engine.event('datagram', ([kind]) => kind === 'stun');
          await engine.event('datagram', ([kind]) => kind === 'buri');
          const counters = await engine.counters();
          assert.equal(counters['in-messages'], 1, 'it came as one buffer');
          assert.equal(counters['in-unknown-kind'], 1);
          assert.equal(counters['in-packets'], 4);
          assert.equal(counters['in-keepalives'], 1);
        },
        { portable },
      ));
  });
}

describe('the owner of a packet engine', needsRoot, () => {
  test('gets handshakes whose mac1 is right, and no others', () =>
    withScene(async ({ engine, send }) => {
      const stranger = nodeCrypto.x25519PublicKey(new Uint8Array(32).fill(6));
      await send(handshake(148, stranger), handshake(92, stranger));
      await engine.counter('in-mac1-refused', 2);
      const cookie = Uint8Array.of(3, 0, 0, 0, ...nodeCrypto.random(60));
      await send(handshake(148), handshake(92), cookie);
      for (const kind of ['handshake-initiation', 'handshake-response', 'cookie-reply']) {
        await engine.event('datagram', (args) => args[0] === kind);
      }
      assert.equal(engine.events.filter((e) => e.name === 'datagram').length, 0);
    }));

  test('is spared a flood: queues are bounded and what is dropped is counted', () =>
    withScene(async ({ engine, seal, sendMerged, send }) => {
      for (let i = 0; i < 400; i++) await sendMerged(20, ...Array.from({ length: 60 }, stun));
      const counters = await engine.counters();
      await send(seal.seal(good())!);
      await engine.counter('in-units', 1);
      const came = engine.events.filter((e) => e.name === 'datagram').length;
      assert.ok(came > 0 && came <= 24_000);
      assert.ok((counters['up-dropped-stun'] ?? 0) + came <= 24_000);
    }));

  test('hears that a session is wanted, and staged packets leave when it comes', async () => {
    await using lab = new EngineLab();
    const a = await lab.end('a');
    const b = await lab.liveEnd('b');
    const port = await b.host.call<number>('udpListen', 0);
    const datagrams = [1, 2, 3].map((i) => new Uint8Array(50).fill(i));
    await a.host.call('udpSend', INNER.b, port, datagrams);
    assert.deepEqual(await a.host.event('want-session'), [0]);
    assert.equal((await a.host.counters())['out-packets'], 0);
    await a.host.engine('installKeys', keysOf('a', 'aes256gcm'));
    await a.host.engine('activateKeys', indexOf('a'));
    const received = await b.host.datagrams(3);
    assert.deepEqual(
      received.map((bytes) => bytes[0]),
      [1, 2, 3],
    );
    assert.ok((await a.host.counters())['out-staged']! >= 3);
  });

  test('hears of a want at most every 250 ms, and staging stays within its bound', async () => {
    await using lab = new EngineLab();
    const { host } = await lab.end('a');
    const datagrams = Array.from({ length: 2_000 }, () => new Uint8Array(1_000));
    const started = performance.now();
    await host.call('udpSend', INNER.b, 9, datagrams);
    await host.counter('out-staged-dropped', 500);
    await host.event('want-session');
    const took = performance.now() - started;
    const wants = 1 + host.events.filter((e) => e.name === 'want-session').length;
    assert.ok(wants <= 2 + took / 250, `${wants} in ${took} ms`);
  });

  test('hears of traffic at once, then at most every 50 ms, data apart from keepalives', () =>
    withScene(async ({ engine, seal, send }) => {
      await send(seal.seal(new Uint8Array(0))!);
      const [first] = await engine.event('activity');
      assert.deepEqual(first, {
        peer: 0,
        localIndex: indexOf('a'),
        sentData: false,
        sentKeepalive: false,
        receivedData: false,
        receivedKeepalive: true,
      });
      const started = performance.now();
      for (let i = 0; i < 100; i++) await send(seal.seal(good())!);
      await engine.counter('in-packets', 100);
      await engine.event('activity', ([a]) => (a as { receivedData: boolean }).receivedData);
      const reports = engine.events.filter((e) => e.name === 'activity').length;
      assert.ok(reports <= 2 + (performance.now() - started) / 50, `${reports} reports`);
      await engine.engine('sendKeepalive', 0);
      await engine.event('activity', ([a]) => (a as { sentKeepalive: boolean }).sentKeepalive);
    }));

  test('hears that keys are confirmed, once', () =>
    withScene(async ({ engine, seal, send }) => {
      await send(seal.seal(good())!, seal.seal(good())!);
      assert.deepEqual(await engine.event('confirmed'), [0, indexOf('a')]);
      await engine.counter('in-packets', 2);
      assert.equal(engine.events.filter((e) => e.name === 'confirmed').length, 0);
    }));

  test('hears that a peer roamed, only from authentic packets', () =>
    withScene(async ({ engine, peerPort, seal, send }) => {
      const forged = seal.seal(good())!;
      forged[20]! ^= 1;
      await send(forged);
      await engine.counter('in-forged', 1);
      assert.equal(engine.events.filter((e) => e.name === 'roam').length, 0);
      await send(seal.seal(good())!);
      assert.deepEqual(await engine.event('roam'), [0, 0, { address: OUTER.b, port: peerPort }]);
      await engine.engine('setPath', 0, {
        socket: 0,
        remote: { address: OUTER.b, port: peerPort },
      });
      await engine.engine('counters');
      await send(seal.seal(good())!);
      await engine.counter('in-packets', 2);
      assert.equal(engine.events.filter((e) => e.name === 'roam').length, 0);
    }));

  test('hears of the message limit, and sealing ends at the second one', async () => {
    await using lab = new EngineLab();
    const a = await lab.end('a');
    const b = await lab.liveEnd('b');
    await a.host.call('installKeysFrom', keysOf('a', 'aes256gcm'), (1n << 28n) - 2n);
    await a.host.engine('activateKeys', indexOf('a'));
    ping(a.host, INNER.b);
    assert.deepEqual(await a.host.event('rekey-limit'), [0, indexOf('a')]);
    await a.host.call('installKeysFrom', keysOf('a', 'aes256gcm'), (1n << 29n) - 1n);
    await a.host.engine('activateKeys', indexOf('a'));
    await a.host.call('udpSend', INNER.b, 9, [
      new Uint8Array(9),
      new Uint8Array(9),
      new Uint8Array(9),
    ]);
    await a.host.counter('out-key-spent', 2);
    await a.host.event('want-session');
    await b.host.counter('in-packets', 3);
    assert.equal((await b.host.counters())['in-replayed'], 0);
  });

  test('may put a prefix before every datagram, also within a run', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a');
    const relay = lab.host('b');
    const port = await relay.call<number>('udpListen', 0);
    const prefix = Uint8Array.from({ length: 24 }, (_, i) => 0xc0 + i);
    await a.host.engine('setPath', 0, { socket: 0, remote: { address: OUTER.b, port }, prefix });
    const datagrams = Array.from({ length: 30 }, () => new Uint8Array(200));
    await a.host.call('udpSend', INNER.b, 9, datagrams);
    await a.host.counter('out-packets', 30);
    const received = await relay.datagrams(30);
    const opener = sealerTo('b', 'aes256gcm');
    assert.ok(opener !== undefined);
    const counters = received.map((bytes) => {
      assert.deepEqual(bytes.subarray(0, 24), prefix);
      assert.equal(Buffer.from(bytes).readUInt32LE(24), 4, 'a transport packet follows');
      return Number(Buffer.from(bytes).readBigUInt64LE(32));
    });
    assert.deepEqual(
      counters,
      [...counters].sort((x, y) => x - y),
    );
    const sends = (await a.host.counters())['out-sends']!;
    assert.ok(sends <= 30);
  });

  test('may move a peer to another socket, and closing a socket takes its paths', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a');
    const b = await lab.liveEnd('b');
    const second = await a.host.engine('openSocket', { family: 4, port: 0 });
    await a.host.engine('setPath', 0, {
      socket: second.socket,
      remote: { address: OUTER.b, port: PORT },
    });
    await a.host.engine('closeSocket', a.socket.socket);
    await a.host.call('udpSend', INNER.b, 9, [new Uint8Array(9)]);
    const [, , remote] = await b.host.event('roam');
    assert.deepEqual(remote, { address: OUTER.a, port: second.port });
    await a.host.engine('closeSocket', second.socket);
    await a.host.call('udpSend', INNER.b, 9, [new Uint8Array(9)]);
    await a.host.event('want-session');
  });

  test('may send datagrams of its own with a TTL', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a');
    const other = lab.host('b');
    const port = await other.call<number>('udpListen', 0);
    const bytes = stun();
    other.run('nft', 'add table ip t; add chain ip t in { type filter hook input priority 0; }');
    for (const ttl of [3, 64])
      other.run('nft', `add rule ip t in udp dport ${port} ip ttl ${ttl} counter`);
    const remote = { address: OUTER.b, port };
    await a.host.engine('sendDatagram', 0, remote, bytes, { ttl: 3 });
    await a.host.engine('sendDatagram', 0, remote, bytes);
    assert.deepEqual(await other.datagrams(2), [bytes, bytes]);
    const rules = other.run('nft', 'list', 'table', 'ip', 't');
    assert.equal(rules.match(/packets 1 /g)?.length, 2, rules);
    assert.equal((await a.host.counters())['datagrams-sent'], 2);
  });

  test('sees nothing fail and memory stay flat under 100,000 random datagrams', () =>
    withScene(async ({ engine, seal, send, sendMerged }) => {
      const random = seededRandom(7);
      const rss = () => engine.call<number>('rssKib');
      const header = [4, 0, 0, 0, 1, 0, 0, 0xa0, 7, 0, 0, 0, 0, 0, 0, 0];
      const flood = async (calls: number): Promise<void> => {
        for (let i = 0; i < calls; i++) {
          const size = 1 + random.below(1_000);
          const count = Math.min(60, Math.floor(65_000 / size));
          const bytes = random.bytes(size * count);
          for (let j = 0; j < count; j += 2) bytes.set(header.slice(0, size), j * size);
          await sendMerged(size, bytes);
        }
      };
      await flood(300);
      const before = await rss();
      await flood(2_000);
      const grown = (await rss()) - before;
      assert.ok(grown < 20_000, `${grown} KiB grown`);
      await send(seal.seal(good())!);
      await engine.counter('in-units', 1);
      const counters = await engine.counters();
      assert.ok(counters['in-forged']! > 10_000 && counters['in-unknown-kind']! > 10_000);
    }));
});
