/** Level 3: the choice between paths by what they lose and how they waver, with traffic, from seeds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type PathClient, PathWorld } from './path-world.ts';
import { changesSince } from './scenario/invariants.ts';
import { joined, stream } from './streams.ts';

const seeds = [1];

/** Loses this share of what goes directly, each way. */
function loseDirect(world: PathWorld, share: number): void {
  const random = world.random.fork('loss');
  world.network.drop = (packet, realm) => world.dropDirect(packet, realm) && random.chance(share);
}

function talking(seed: number, everyMs = 200) {
  const world = new PathWorld(seed);
  world.addRelays(0);
  const a = world.clientBehind('port-restricted');
  const b = world.clientBehind('port-restricted');
  world.introduceAll();
  assert(world.runUntil(joined(a, b), 5000) !== undefined);
  const streams = [stream(world, a, b, everyMs), stream(world, b, a, everyMs)];
  world.run(20_000);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    assert.equal(from.viewOf(to).kind, 'direct');
  }
  return { world, a, b, streams };
}

const kinds = (a: PathClient, b: PathClient) => [a.viewOf(b).kind, b.viewOf(a).kind];
const both = (kind: string, a: PathClient, b: PathClient) => () =>
  kinds(a, b).every((own) => own === kind);

function changes(a: PathClient, b: PathClient, since: number): number {
  return Math.max(
    changesSince(a, since).get(b.index) ?? 0,
    changesSince(b, since).get(a.index) ?? 0,
  );
}

describe('a direct path that loses a lot', () => {
  test('is left for a clean relay within half a minute, and is used again when it is well', () => {
    for (const seed of seeds) {
      const { world, a, b } = talking(seed);
      loseDirect(world, 0.15);
      const leftMs = world.runUntil(both('relayed', a, b), 60_000);
      assert(leftMs !== undefined, `seed ${seed}: ${kinds(a, b)} ${JSON.stringify(a.viewOf(b))}`);
      assert.match(a.viewOf(b).reason!, /the direct path loses \d+ % of the packets/);
      const since = world.clock.monotonic;
      world.run(120_000);
      assert.deepEqual(kinds(a, b), ['relayed', 'relayed'], `seed ${seed}`);
      assert(changes(a, b, since) <= 2, `seed ${seed}: ${changes(a, b, since)} changes`);
      world.network.drop = undefined;
      const backMs = world.runUntil(both('direct', a, b), 60_000);
      assert(backMs !== undefined, `seed ${seed}: not direct again`);
      const wellSince = world.clock.monotonic;
      world.run(60_000);
      assert(changes(a, b, wellSince) <= 4, `seed ${seed}: ${changes(a, b, wellSince)} changes`);
      const quietSince = world.clock.monotonic;
      world.run(60_000);
      assert.equal(changes(a, b, quietSince), 0);
      assert.deepEqual(kinds(a, b), ['direct', 'direct'], `seed ${seed}`);
    }
  });

  test('stays in use when the relay loses as much', () => {
    for (const seed of seeds) {
      const { world, a, b } = talking(seed);
      const since = world.clock.monotonic;
      world.network.internet.link = { ...world.network.internet.link, loss: 0.1 };
      let relayedMs = 0;
      for (let i = 0; i < 180; i++) {
        world.run(1000);
        if (a.viewOf(b).kind !== 'direct') relayedMs += 1000;
      }
      assert(relayedMs <= 20_000, `seed ${seed}: relayed for ${relayedMs} ms`);
      assert(changes(a, b, since) <= 8, `seed ${seed}: ${changes(a, b, since)} changes`);
    }
  });

  test('is not looked at closely while nobody says anything', () => {
    const { world, a, streams } = talking(1);
    for (const { stop } of streams) stop();
    world.run(3000);
    const before = a.machine.counters().measuringSent;
    loseDirect(world, 0.3);
    world.run(60_000);
    assert.equal(a.machine.counters().measuringSent, before);
  });
});

test('a little loss, and loss that passes, change nothing', () => {
  for (const seed of seeds) {
    const { world, a, b } = talking(seed);
    const since = world.clock.monotonic;
    loseDirect(world, 0.01);
    world.run(120_000);
    loseDirect(world, 0.3);
    world.run(1500);
    world.network.drop = undefined;
    world.run(60_000);
    assert.deepEqual(kinds(a, b), ['direct', 'direct']);
    assert(changes(a, b, since) <= 2, `seed ${seed}: ${changes(a, b, since)} changes`);
  }
});

test('loss at the bound does not swap paths for ever', () => {
  for (const seed of seeds) {
    const { world, a, b } = talking(seed, 500);
    const since = world.clock.monotonic;
    loseDirect(world, 0.07);
    world.run(1_200_000);
    const most = changes(a, b, since);
    assert(most <= 16, `seed ${seed}: ${most} changes in 20 minutes`);
  }
});

test('paths are measured once a second while there is traffic, by both sides, and shown', () => {
  const { world, a, b } = talking(1);
  const before = a.machine.counters().measuringSent;
  world.run(60_000);
  const sent = a.machine.counters().measuringSent - before;
  assert(sent >= 50 && sent <= 90, `${sent} in a minute`);
  const { lossPercent, jitterMs } = a.viewOf(b);
  assert.equal(lossPercent, 0);
  assert(jitterMs! < 5);
});
