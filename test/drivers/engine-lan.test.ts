/** Broadcast, multicast and messages of one packet engine: to whom they go, and what it takes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { LanOptions } from '#engine/engine.ts';
import { TransportKey } from '#engine/twin/transport.ts';
import { INNER_HEADER_BYTES, readInnerHeader, writeInnerHeader } from '#wire/inner.ts';
import {
  EngineLab,
  type Host,
  INNER,
  INNER6,
  indexOf,
  keysOf,
  OUTER,
  sealerTo,
  until,
} from '../support/engine-lab.ts';
import { needsRoot } from '../support/needs-root.ts';
import { hasGoodChecksums, icmpPacket, ipPacket, udpPacket } from '../support/packets.ts';

const POOL_BROADCAST = '10.9.0.255';
const text = (value: string) => new TextEncoder().encode(value);
const key = (peer: number) => new Uint8Array(32).fill(0x40 + peer);

/** What the far ends of the tunnels see of one engine: the inner packets by peer. */
interface Scene {
  readonly engine: Host;
  /** Installs keys for a peer, and sends under them. */
  activate(peer: number): Promise<void>;
  /** Inner packets that came since the last call, as soon as there are so many. */
  arrived(count: number): Promise<{ peer: number; packet: Uint8Array }[]>;
  /** From the device's own address, or IPv6's. */
  send(address: string, payload: string, count?: number): Promise<void>;
}

const peers = [0, 1, 2];

/** An engine with three peers, two of which have sessions, all at one plain socket. */
async function withScene(portable: boolean, play: (scene: Scene) => Promise<void>): Promise<void> {
  await using lab = new EngineLab();
  const { host: engine, socket } = await lab.end('a', { portable });
  const far = lab.host('b');
  const port = await far.call<number>('udpListen', 0);
  for (const peer of peers) {
    const inner = [`10.9.0.${10 + peer}`, `fd00:9::${10 + peer}`];
    await engine.engine('setPeer', peer, { innerPrefixes: inner });
    const remote = { address: OUTER.b, port };
    await engine.engine('setPath', peer, { socket: socket.socket, remote });
  }
  const openers = peers.map(
    (peer) => new TransportKey(nodeCrypto, 'aes256gcm', 0, key(peer), key(peer), 0n),
  );
  const activate = async (peer: number) => {
    const [localIndex, remoteIndex] = [peer, peer];
    const keys = { peer, suite: 'aes256gcm' as const, localIndex, remoteIndex };
    await engine.engine('installKeys', { ...keys, sendKey: key(peer), receiveKey: key(peer) });
    await engine.engine('activateKeys', localIndex);
  };
  const arrived = async (count: number) => {
    const packets: { peer: number; packet: Uint8Array }[] = [];
    await until(`${count} packets`, async () => {
      for (const datagram of await far.call<Uint8Array[]>('udpReceived')) {
        const peer = datagram[4]!;
        const opened = openers[peer]!.open(datagram);
        assert.ok(opened.type === 'opened', `a packet of peer ${peer} opens`);
        const { plaintext } = opened;
        if (plaintext.length > 0) packets.push({ peer, packet: plaintext.slice() });
      }
      return packets.length >= count;
    });
    return packets;
  };
  const send = (address: string, payload: string, count = 1) => {
    const through = address.includes(':') ? 'buri-a' : INNER.a;
    return engine.call<void>('groupSend', { address, port: 7, through }, text(payload), count);
  };
  await activate(0);
  await activate(1);
  await play({ engine, activate, arrived, send });
}

const receivers = (packets: readonly { peer: number }[]) => packets.map(({ peer }) => peer).sort();
const lan = (...groups: string[]): LanOptions => ({ ethernet: false, groups });
/** IPv4 and IPv6 without padding. */
const whole = (packet: Uint8Array): Uint8Array =>
  packet.subarray(
    0,
    packet[0]! >> 4 === 4 ? packet[2]! * 256 + packet[3]! : 40 + packet[4]! * 256 + packet[5]!,
  );

for (const portable of [false, true]) {
  const name = portable ? 'the portable engine' : 'the engine';
  describe(`${name} sends what is for many`, needsRoot, () => {
    test('once to each peer, with good checksums; later to who has no session yet', async () => {
      await withScene(portable, async ({ engine, activate, arrived, send }) => {
        // Neighbour discovery of the fresh interface is for everybody, too.
        const before = (await engine.counters())['out-group']!;
        for (const address of ['255.255.255.255', POOL_BROADCAST, '224.0.0.251', 'ff02::fb']) {
          await send(address, `to ${address}`);
          const packets = await arrived(2);
          assert.deepEqual(receivers(packets), [0, 1]);
          for (const { packet } of packets) {
            assert.ok(hasGoodChecksums(whole(packet)), 'checksums');
            assert.ok(Buffer.from(packet).includes(`to ${address}`));
          }
        }
        assert.equal((await engine.counters())['out-group'], before + 4);
        await engine.event('want-session', ([peer]) => peer === 2);
        await activate(2);
        const late = await arrived(4);
        assert.deepEqual(receivers(late), [2, 2, 2, 2]);
        for (const { packet } of late) assert.ok(hasGoodChecksums(whole(packet)));
        await engine.engine('removePeer', 1);
        await send('255.255.255.255', 'who is left');
        assert.deepEqual(receivers(await arrived(2)), [0, 2]);
      });
    });

    test('groups only to who joined them, all to who has not said', async () => {
      await withScene(portable, async ({ engine, activate, arrived, send }) => {
        await activate(2);
        await engine.engine('setLan', 0, lan('239.1.2.3', 'ff15::1'));
        await engine.engine('setLan', 1, lan());
        const to = async (address: string) => {
          await send(address, address);
          // What everybody gets tells that nothing else is to come.
          await send('255.255.255.255', 'end');
          const packets = await arrived(4);
          const isEnd = ({ packet }: { packet: Uint8Array }) => Buffer.from(packet).includes('end');
          while (packets.filter(isEnd).length < 3) packets.push(...(await arrived(1)));
          return receivers(packets.filter((packet) => !isEnd(packet)));
        };
        assert.deepEqual(await to('239.1.2.3'), [0, 2]);
        assert.deepEqual(await to('ff15::1'), [0, 2]);
        assert.deepEqual(await to('239.1.2.4'), [2]);
        assert.deepEqual(await to('239.255.255.250'), [0, 1, 2]);
        await engine.engine('setLan', 1, { ethernet: false, groups: 'all' });
        assert.deepEqual(await to('239.1.2.4'), [1, 2]);
        await engine.engine('setLan', 0, lan());
        assert.deepEqual(await to('239.1.2.3'), [1, 2]);
      });
    });

    test('not IGMP and MLD, but says that groups were joined or left', async () => {
      await withScene(portable, async ({ engine }) => {
        for (const [group, through] of [
          ['239.1.2.3', INNER.a],
          ['ff15::7', `::%buri-a`],
        ] as const) {
          engine.events.length = 0;
          await engine.call('groupListen', 7, group, through);
          await engine.event('groups-changed');
          const { 'out-group-local': joined } = await engine.counters();
          await engine.call('groupLeave', group, through);
          await engine.counter('out-group-local', joined! + 1);
        }
      });
    });

    // The caps are no work on bytes: one engine shows them for both.
    const skip = portable ? 'the portable engine seals too slowly to reach the caps' : false;
    test('so much and no more of it, while packets for one peer go on', { skip }, async () => {
      await withScene(portable, async ({ engine, send }) => {
        await send('255.255.255.255', 'storm', 4_000);
        const counters = await engine.counters();
        assert.ok(counters['out-group-limited']! > 500, JSON.stringify(counters));
        // A burst of 1,000 and 1,000 a second.
        assert.ok(counters['out-group']! >= 1_000 && counters['out-group']! < 3_500);
        const packets = counters['out-packets']!;
        await engine.call(
          'groupSend',
          { address: '10.9.0.10', port: 7, through: INNER.a },
          text('one'),
          1,
        );
        await engine.counter('out-packets', packets + 1);
      });
    });
  });

  describe(`${name} takes what is for many`, needsRoot, () => {
    /** An engine facing one peer that seals whatever it likes. */
    async function withPeer(
      play: (engine: Host, send: (...packets: Uint8Array[]) => Promise<void>) => Promise<void>,
    ): Promise<void> {
      await using lab = new EngineLab();
      const { host } = await lab.liveEnd('a', { portable });
      const far = lab.host('b');
      await far.call('rawOpen');
      const seal = sealerTo('a', 'aes256gcm');
      await play(host, async (...packets) => {
        for (const packet of packets) {
          const bytes = seal.seal(packet)!;
          await far.call('rawSend', OUTER.a, 41_641, new Uint8Array(bytes), bytes.length);
        }
      });
    }

    const from = { 4: INNER.b, 6: INNER6.b } as const;
    const packet = (to: string, payload = to, source?: string) => {
      const family = to.includes(':') ? 6 : 4;
      const shape = { family, from: source ?? from[family], to, toPort: 7 } as const;
      return udpPacket({ ...shape, payload: text(payload) });
    };

    test('broadcast, and groups that programs here have joined', async () => {
      await withPeer(async (engine, send) => {
        await engine.call('groupListen', 7, '239.1.2.3', INNER.a);
        const addresses = ['255.255.255.255', POOL_BROADCAST, '239.1.2.3'];
        await send(...addresses.map((to) => packet(to)), packet('239.9.9.9'));
        await engine.counter('in-group', 4);
        const got = (await engine.datagrams(3)).map((bytes) => new TextDecoder().decode(bytes));
        assert.deepEqual(got.sort(), addresses.sort());
        await engine.call('groupListen', 7, 'ff15::7', '::%buri-a');
        await send(packet('ff15::7'));
        assert.equal((await engine.datagrams(1)).length, 1);
      });
    });

    test('not of another source, not group management, nothing of another host alone', async () => {
      await withPeer(async (engine, send) => {
        await send(
          packet('255.255.255.255', 'x', '10.9.0.77'),
          packet('255.255.255.255', 'x', INNER.a),
        );
        await engine.counter('in-source-refused', 2);
        const igmp = { family: 4, from: INNER.b, to: '224.0.0.1', payload: text('') } as const;
        const mld = { family: 6, from: INNER6.b, to: 'ff02::1', payload: text('') } as const;
        await send(
          ipPacket(igmp, 2, Uint8Array.of(0x11, 0, 0, 0, 0, 0, 0, 0)),
          ipPacket(
            mld,
            0,
            Uint8Array.of(58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, ...new Uint8Array(20)),
          ),
          packet('ff01::1'),
          packet('ff11::1'),
          packet('10.9.0.254'),
          packet('240.0.0.1'),
        );
        await engine.counter('in-destination-refused', 6);
        assert.equal((await engine.counters())['in-group'], 0);
      });
    });

    test('messages, but none that is longer than a message can be', async () => {
      await withPeer(async (engine, send) => {
        const message = (length: number) => {
          const bytes = new Uint8Array(INNER_HEADER_BYTES + length).fill(7);
          writeInnerHeader(bytes, 0, { kind: 'message', length });
          return bytes;
        };
        await send(message(1_201), message(1_200));
        const [, bytes] = await engine.event('message');
        assert.equal((bytes as Uint8Array).length, 1_200);
        assert.equal((await engine.counters())['in-malformed'], 1);
      });
    });

    test('so much and no more of it from one peer, while the rest of its packets come through', async () => {
      await withPeer(async (engine, send) => {
        const storm = Array.from({ length: 2_500 }, () => packet('255.255.255.255'));
        await send(...storm);
        await engine.counter('in-group-limited', 100);
        const counters = await engine.counters();
        assert.ok(counters['in-group']! >= 1_000, JSON.stringify(counters));
        const before = counters['in-units']!;
        await send(icmpPacket({ family: 4, from: INNER.b, to: INNER.a, payload: text('ping') }));
        await engine.counter('in-units', before + 1);
      });
    });
  });

  describe(`${name} carries messages`, needsRoot, () => {
    test('both ways; without a session they are dropped, and too many of a peer as well', async () => {
      await using lab = new EngineLab();
      const a = await lab.end('a', { portable });
      const b = await lab.liveEnd('b');
      await a.host.engine('sendMessage', 0, text('nobody'));
      assert.equal(await a.host.counter('messages-dropped', 1), 1);
      await a.host.engine('installKeys', keysOf('a', 'aes256gcm'));
      await a.host.engine('activateKeys', indexOf('a'));
      const longest = nodeCrypto.random(1_200);
      await a.host.engine('sendMessage', 0, text('hello'));
      await a.host.engine('sendMessage', 0, longest);
      await b.host.engine('sendMessage', 0, text('hello, too'));
      assert.deepEqual(await b.host.event('message'), [0, text('hello')]);
      assert.deepEqual((await b.host.event('message'))[1], longest);
      assert.deepEqual((await a.host.event('message'))[1], text('hello, too'));
      assert.equal((await a.host.counters())['messages-sent'], 2);
      await assert.rejects(a.host.engine('sendMessage', 0, nodeCrypto.random(1_201)), /1,200/);
      for (let i = 0; i < 200; i++) await a.host.engine('sendMessage', 0, text(`${i}`));
      await b.host.counter('in-message-limited', 50);
      const taken = b.host.events.filter((event) => event.name === 'message').length;
      assert.ok(taken >= 30 && taken < 150, `${taken} of 200 came up`);
    });

    test('behind the header of their kind, which no stock peer would take for IP', async () => {
      await withScene(portable, async ({ engine, arrived }) => {
        await engine.engine('sendMessage', 1, text('sealed'));
        const [message] = await arrived(1);
        assert.equal(message!.peer, 1);
        assert.deepEqual(readInnerHeader(message!.packet), { kind: 'message', length: 6 });
        assert.deepEqual(message!.packet.subarray(4, 10), text('sealed'));
      });
    });
  });
}
