/** Level 3: clients with relays over simulated NATs, from a seed, under virtual time. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { sameEndpoint } from '#wire/endpoint.ts';
import { type NatKind, natKinds } from '../lab/nat-kinds.ts';
import { type PathClient, PathWorld } from './path-world.ts';
import type { Meddle } from './relay-host.ts';
import { count, joined, recovery, stream } from './streams.ts';

const isRelayed = (a: PathClient, b: PathClient) => a.pathTo(b)?.prefix !== undefined;
const isDirect = (a: PathClient, b: PathClient) =>
  a.pathTo(b) !== undefined && a.pathTo(b)?.prefix === undefined;
const bothDirect = (a: PathClient, b: PathClient) => () => isDirect(a, b) && isDirect(b, a);

function pair(seed: number, a: NatKind, b: NatKind, relays: readonly number[] = [0, 5]) {
  const world = new PathWorld(seed);
  const hosts = world.addRelays(...relays);
  const clients = [world.clientBehind(a), world.clientBehind(b)] as const;
  world.introduceAll();
  return { world, a: clients[0], b: clients[1], hosts };
}

describe('every pair of NAT kinds', () => {
  for (const { name: a } of natKinds) {
    for (const { name: b } of natKinds) {
      test(`${a} and ${b} talk within a second`, () => {
        for (const seed of [1, 2]) {
          const { world, a: left, b: right } = pair(seed, a, b);
          const tookMs = world.runUntil(joined(left, right), 10_000);
          assert(tookMs !== undefined && tookMs <= 1000, `seed ${seed}: ${tookMs} ms`);
          world.run(20_000);
          assert(joined(left, right)());
          const view = left.viewOf(right);
          if (view.kind === 'relayed') assert.match(view.reason!, /^no direct path: /);
          const isBlocked = a === 'udp-blocked';
          if (isBlocked) assert.equal(view.transport, 'tcp');
        }
      });
    }
  }
});

const hard = ['symmetric', 'symmetric'] as const;
const easy = ['port-restricted', 'port-restricted'] as const;

/** Long enough for everything to be settled. */
function settled(seed: number, kinds: readonly [NatKind, NatKind], relays?: readonly number[]) {
  const made = pair(seed, ...kinds, relays);
  const { world, a, b } = made;
  assert(world.runUntil(joined(a, b), 2000) !== undefined, 'they talk');
  world.run(5000);
  return made;
}

describe('a relay carries the traffic', () => {
  test('and a direct path takes over without a packet lost', () => {
    for (const seed of [1, 2, 3]) {
      const { world, a, b } = pair(seed, ...easy);
      // Nothing passes directly at first.
      world.network.drop = world.dropDirect;
      assert(world.runUntil(joined(a, b), 2000) !== undefined);
      world.run(2000);
      assert(isRelayed(a, b) && isRelayed(b, a), 'relayed');
      const streams = [stream(world, a, b, 5), stream(world, b, a, 5)];
      world.run(3000);
      world.network.drop = undefined;
      const tookMs = world.runUntil(bothDirect(a, b), 120_000);
      assert(tookMs !== undefined, 'direct');
      world.run(5000);
      for (const { stop } of streams) stop();
      world.run(500);
      assert.equal(count(a, b), streams[0]!.sent, `seed ${seed}: a to b`);
      assert.equal(count(b, a), streams[1]!.sent, `seed ${seed}: b to a`);
    }
  });

  test('when the direct path turns into a black hole, and is left once that heals', () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const { world, a, b } = settled(seed, easy);
      assert(bothDirect(a, b)());
      const tookMs = recovery(world, a, b, () => {
        world.network.drop = world.dropDirect;
      });
      assert(tookMs < 2000, `seed ${seed}: ${tookMs} ms`);
      assert(isRelayed(a, b) && isRelayed(b, a));
      assert.equal(a.machine.counters().pathsLost, 0);
      // Over whatever time it heals, direct is back within one pace of the probes that wait for it.
      world.run(seed * 20_000);
      assert(isRelayed(a, b) && isRelayed(b, a));
      world.network.drop = undefined;
      const backMs = world.runUntil(bothDirect(a, b), 200_000);
      assert(backMs !== undefined && backMs < 5000, `direct again after ${backMs} ms`);
    }
  });

  test('although the NAT has forgotten it: data goes on within a round trip or two', () => {
    for (const seed of [1, 2, 3]) {
      const { world, a, b } = settled(seed, hard);
      assert(isRelayed(a, b) && isRelayed(b, a));
      const tookMs = recovery(world, a, b, () => a.home!.nat.reboot());
      assert(tookMs <= 500, `seed ${seed}: ${tookMs} ms`);
      assert.equal(a.machine.counters().pathsLost, 0);
      // Nothing is under way while both forget.
      world.run(60_000);
      for (const { home } of [a, b]) home!.nat.reboot();
      const bothMs = recovery(world, a, b, () => {
        for (const { home } of [a, b]) home!.nat.reboot();
      });
      assert(bothMs <= 500, `seed ${seed}: ${bothMs} ms`);
    }
  });

  test('of two that meet when their NATs have just forgotten everything', () => {
    for (const seed of [1, 2, 3]) {
      const world = new PathWorld(seed);
      world.addRelays(0, 5);
      const [a, b] = [world.clientBehind('symmetric'), world.clientBehind('symmetric')];
      world.run(10_000);
      for (const { home } of [a, b]) home!.nat.reboot();
      world.introduceAll();
      const tookMs = world.runUntil(joined(a, b), 10_000);
      assert(tookMs !== undefined && tookMs <= 1000, `seed ${seed}: ${tookMs} ms`);
    }
  });

  test('another one when it is killed, and none is lost when it drains', () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const { world, a, b, hosts } = settled(seed, hard);
      assert(isRelayed(a, b) && isRelayed(b, a));
      const tookMs = recovery(world, a, b, () => {
        hosts[0]!.up = false;
      });
      assert(tookMs < 2000, `seed ${seed}: ${tookMs} ms`);
    }
    const { world, a, b, hosts } = settled(1, hard);
    const streams = [stream(world, a, b, 5), stream(world, b, a, 5)];
    world.run(1000);
    hosts[0]!.drain();
    world.run(20_000);
    for (const { stop } of streams) stop();
    world.run(500);
    assert(!hosts[0]!.up && joined(a, b)());
    assert.equal(count(a, b), streams[0]!.sent);
    assert.equal(count(b, a), streams[1]!.sent);
  });

  test('again when the only one restarts', () => {
    for (const seed of [1, 2, 3]) {
      const { world, a, b, hosts } = settled(seed, hard, [0]);
      const tookMs = recovery(world, a, b, () => hosts[0]!.restart());
      assert(tookMs < 2000, `seed ${seed}: ${tookMs} ms`);
    }
  });
});

test('a laptop that slept for ten minutes talks within two seconds of waking', () => {
  for (const kinds of [easy, hard]) {
    for (const seed of [1, 2, 3]) {
      const { world, a, b } = settled(seed, kinds);
      stream(world, a, b, 100);
      stream(world, b, a, 100);
      world.run(1000);
      a.offline = true;
      world.run(600_000);
      const before = [count(a, b), count(b, a)] as const;
      a.wakeUp();
      const tookMs = world.runUntil(
        () => count(a, b) > before[0] + 2 && count(b, a) > before[1] + 2,
        20_000,
      );
      assert(tookMs !== undefined && tookMs < 2000, `${kinds.join()}, seed ${seed}: ${tookMs} ms`);
    }
  }
});

test('mappings that live ten seconds are kept open once that is known', () => {
  const world = new PathWorld(1);
  world.addRelays(0, 5);
  const [a, b] = [0, 1].map(() => world.clientBehind('port-restricted', { timeoutMs: 10_000 }));
  for (const client of [a!, b!]) {
    client.paths.input({ type: 'mapping-lifetime', lifetimeMs: 10_000 });
    client.relays.input({ type: 'mapping-lifetime', lifetimeMs: 10_000 });
  }
  world.introduceAll();
  assert(world.runUntil(bothDirect(a!, b!), 5000) !== undefined);
  world.run(600_000);
  assert(bothDirect(a!, b!)());
  assert.equal(a!.machine.counters().pathsChanged + a!.machine.counters().pathsLost, 0);
  assert.equal(a!.relayMachine.counters().losses, 0);
});

test('a path whose direct way comes and goes does not flap: each failure costs it a longer probation', () => {
  for (const seed of [1, 2, 3]) {
    const { world, a, b } = settled(seed, easy);
    stream(world, a, b, 50);
    stream(world, b, a, 50);
    let isBroken = false;
    world.network.drop = (packet, realm) => isBroken && world.dropDirect(packet, realm);
    for (let i = 0; i < 60; i++) {
      isBroken = !isBroken;
      world.run(5000);
    }
    const { pathsChanged, pathsLost } = a.machine.counters();
    assert(pathsChanged <= 20, `seed ${seed}: ${pathsChanged} changes in five minutes`);
    assert.equal(pathsLost, 0);
  }
});

test('each time that a provider gives another address the path is direct again as soon as the first time', () => {
  for (const seed of [1, 2, 3]) {
    const { world, a, b } = settled(seed, easy);
    stream(world, a, b, 50);
    stream(world, b, a, 50);
    for (let i = 0; i < 6; i++) {
      a.home!.changePublicAddress(`198.51.100.${200 + i}`);
      // As long as it takes in practice until the server is reached from there.
      world.network.drop = world.dropDirect;
      world.run(2500);
      world.network.drop = undefined;
      assert(isRelayed(a, b), `seed ${seed}, change ${i + 1}: relayed meanwhile`);
      const tookMs = world.runUntil(bothDirect(a, b), 30_000);
      assert(tookMs !== undefined && tookMs < 4000, `seed ${seed}, change ${i + 1}: ${tookMs} ms`);
      world.run(3000);
    }
  }
});

describe('traffic is back within two seconds, and direct within five', () => {
  const faults: readonly [string, (world: PathWorld, a: PathClient) => void][] = [
    ['a NAT reboots', (_, a) => a.home!.reboot()],
    [
      'the client moves to another network',
      (world, a) => {
        const cafe = { name: 'cafe', publicAddress: '198.51.100.77' };
        a.moveTo(world.home('port-restricted', cafe), ['10.1.1.2']);
      },
    ],
  ];
  for (const [name, fault] of faults) {
    test(`after ${name}`, () => {
      for (const kinds of [easy, hard, ['port-restricted', 'symmetric'] as const]) {
        for (const seed of [1, 2, 3, 4, 5]) {
          const { world, a, b } = settled(seed, kinds);
          const wasDirect = isDirect(a, b);
          const tookMs = recovery(world, a, b, () => fault(world, a));
          assert(tookMs < 2000, `${kinds.join(' and ')}, seed ${seed}: ${tookMs} ms`);
          if (!wasDirect) continue;
          const directMs = world.runUntil(bothDirect(a, b), 10_000);
          assert(directMs !== undefined && directMs < 5000 - tookMs, `direct: ${directMs} ms`);
        }
      }
    });
  }
});

describe('a relay that answers probes and drops data', () => {
  /** What is delivered bare is data. */
  const swallow: Meddle = (bytes) => (bytes[0] === 4 ? [] : [bytes]);

  test('is left for another one, by both sides, and stays left', () => {
    for (const seed of [1, 2, 3]) {
      const { world, a, b, hosts } = settled(seed, hard);
      const used = hosts.find(({ endpoint }) => sameEndpoint(endpoint, a.pathTo(b)!.remote))!;
      used.meddle = swallow;
      const streams = [stream(world, a, b, 20), stream(world, b, a, 20)];
      world.run(20_000);
      const before = count(a, b) + count(b, a);
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        const path = from.pathTo(to)!;
        assert(!sameEndpoint(path.remote, used.endpoint), `seed ${seed}: still over ${used.id}`);
      }
      world.run(60_000);
      assert(count(a, b) + count(b, a) - before >= 2 * 60 * 45, `seed ${seed}: data flows`);
      for (const each of streams) each.stop();
    }
  });

  test('is left by both also when it drops what goes one way only', () => {
    for (const seed of [1, 2, 3]) {
      const { world, a, b, hosts } = settled(seed, hard);
      const used = hosts.find(({ endpoint }) => sameEndpoint(endpoint, a.pathTo(b)!.remote))!;
      const isFromA: Meddle = (bytes) => (bytes[0] === 4 && bytes[7] === a.index ? [] : [bytes]);
      used.meddle = isFromA;
      const streams = [stream(world, a, b, 20), stream(world, b, a, 20)];
      world.run(25_000);
      const before = count(a, b);
      world.run(10_000);
      assert(count(a, b) - before >= 400, `seed ${seed}: ${count(a, b) - before}`);
      for (const each of streams) each.stop();
    }
  });

  test('is kept where there is no other way', () => {
    const { world, a, b, hosts } = settled(1, hard, [0]);
    hosts[0]!.meddle = swallow;
    stream(world, a, b, 20);
    world.run(60_000);
    assert(isRelayed(a, b));
    hosts[0]!.meddle = undefined;
    const before = count(a, b);
    world.run(1000);
    assert(count(a, b) - before >= 40);
  });
});
