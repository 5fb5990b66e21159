/** Level 2: allocation, hairpin, lifetime and the second address against simulated NATs, under virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { encodeBindingRequest } from '#wire/stun-encode.ts';
import { natKinds } from '../../../lab/nat-kinds.ts';
import { type Scheduled, VirtualClock } from '../../../sim/clock.ts';
import { type HomeOptions, Network } from '../../../sim/network.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { StunServer } from '../../../sim/stun-server.ts';
import { Discovery } from './discovery.ts';
import type { DiscoveryInput, DiscoverySocket } from './io.ts';

const sockets: readonly DiscoverySocket[] = [
  { socket: 0, family: 4, localPort: 41_641 },
  { socket: 1, family: 4, localPort: 50_000, purpose: 'test' },
  { socket: 2, family: 4, localPort: 50_001, purpose: 'sample' },
  { socket: 3, family: 4, localPort: 50_002, purpose: 'sample' },
];

interface Options {
  readonly addresses?: 1 | 2;
  readonly loss?: number;
  readonly seed?: number;
}

function setUp(home: Partial<HomeOptions>, options: Options = {}) {
  const { addresses = 1, loss = 0, seed = 1 } = options;
  const clock = new VirtualClock();
  const random = new Random(seed);
  const network = new Network(clock, random.fork('net'), { loss });
  const servers = ['203.0.113.1', '203.0.113.2'].slice(0, addresses);
  const stun = new StunServer(...servers.map((ip) => network.internet.host(`server ${ip}`, [ip])));
  const router = network.home({
    ...{ name: 'home', kind: 'port-restricted', publicAddress: '198.51.100.1' },
    ...home,
  });
  const address = router.isTranslating ? '192.168.1.2' : '198.18.0.2';
  const host = router.host('client', [address]);
  const machine = new Discovery({ crypto: deterministicCrypto(nodeCrypto, random.fork('crypto')) });
  let sent = 0;
  let tick: Scheduled | undefined;
  const input = (event: DiscoveryInput) => {
    machine.handle(event, clock.now);
    for (let out = machine.poll(); out !== undefined; out = machine.poll()) {
      if (out.type === 'changed') continue;
      sent += 1;
      host.send(sockets[out.socket]!.localPort, out.remote, out.bytes);
    }
    tick?.cancel();
    const at = machine.deadline();
    tick = at === undefined ? undefined : clock.at(at, () => input({ type: 'tick' }));
  };
  for (const { socket, localPort } of sockets) {
    host.bind(localPort, (bytes, remote) => input({ type: 'datagram', bytes, socket, remote }));
  }
  input({ type: 'sockets', sockets });
  input({ type: 'local-addresses', addresses: [{ interface: 'eth0', address }] });
  input({ type: 'servers', servers: stun.endpoints });
  const nat = () => machine.discovered.nat;
  return { clock, router, host, stun, machine, input, nat, sent: () => sent };
}

const patterns = {
  preserving: 'preserving',
  random: 'random',
  'random-in-block': 'block',
  sequential: 'sequential',
} as const;

for (const row of natKinds) {
  const { name, mapping, filtering, allocation } = row;
  const hairpin = 'hairpin' in row && row.hairpin;
  test(`${name} is told from all others by a server with two addresses`, () => {
    const world = setUp({ kind: name }, { addresses: 2 });
    world.clock.run(30_000);
    if (mapping === 'blocked') {
      assert.deepEqual(world.nat(), { mapping: 'unknown', filtering: 'unknown' });
      assert(world.machine.isSettled);
      return;
    }
    const found = world.nat();
    assert.deepEqual([found.mapping, found.filtering], [mapping, filtering]);
    const expected = allocation === undefined ? undefined : patterns[allocation];
    assert.equal(found.allocation?.pattern, expected);
    assert.equal(found.hairpin, allocation === undefined ? undefined : hairpin);
    assert(world.machine.isSettled);
  });

  test(`the allocation of ${name} is found with one address`, () => {
    const world = setUp({ kind: name });
    world.clock.run(30_000);
    if (allocation === undefined) return;
    assert.equal(world.nat().allocation?.pattern, patterns[allocation]);
  });
}

test('a counter is recognised with its step while others map five ports a second', () => {
  let right = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const world = setUp({ kind: 'symmetric-sequential' }, { seed });
    world.clock.run(30_000);
    const { allocation } = world.nat();
    if (allocation?.pattern === 'sequential' && allocation.step === 1) right += 1;
  }
  assert(right >= 29, `${right} of 30`);
});

test('hairpinning is found where a NAT does it, whatever it filters, and not where it does not', () => {
  for (const kind of ['full-cone', 'address-restricted', 'port-restricted'] as const) {
    for (const hairpin of [true, false]) {
      const world = setUp({ kind, hairpin });
      world.clock.run(30_000);
      assert.equal(world.nat().hairpin, hairpin, kind);
    }
  }
});

test('a request that is none of ours proves no hairpin', () => {
  const world = setUp({ kind: 'full-cone' });
  for (let i = 0; i < 300; i++) {
    world.clock.run(10);
    const bytes = encodeBindingRequest({ transactionId: nodeCrypto.random(12) });
    const remote = { address: '198.51.100.1', port: 50_000 };
    world.input({ type: 'datagram', bytes, socket: i % 2, remote });
  }
  world.clock.run(10_000);
  assert.equal(world.nat().hairpin, false);
});

for (const timeoutMs of [10_000, 15_000, 30_000, 65_000, 120_000, 180_000]) {
  test(`mappings that live ${timeoutMs / 1000} s are found to`, () => {
    const world = setUp({ kind: 'port-restricted', timeoutMs });
    const found = () => world.machine.discovered.mappingLifetimeMs;
    world.clock.run(20_000);
    assert.equal(found(), undefined, 'unknown until known');
    world.clock.run(45 * 60_000);
    assert(found()! < timeoutMs, `${found()} is not survived`);
    assert(found()! >= Math.min(0.85 * timeoutMs, timeoutMs - 2_000), `${found()}`);
  });
}

test('a long-lived mapping ends the search at four minutes, and the cost stays small', () => {
  const world = setUp({ kind: 'port-restricted', timeoutMs: 3_600_000 });
  world.clock.run(60_000);
  const before = world.sent();
  world.clock.run(15 * 60_000);
  assert.equal(world.machine.discovered.mappingLifetimeMs, 240_000);
  assert(
    world.sent() - before <= 60,
    `${world.sent() - before} packets in 15 minutes of searching`,
  );
  const idle = world.sent();
  world.clock.run(3_600_000);
  assert(world.sent() - idle <= 37, `${world.sent() - idle} packets in an idle hour`);
});

test('with 10 % loss the lifetime is never overestimated, and seldom far too low', () => {
  let near = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const world = setUp({ kind: 'port-restricted', timeoutMs: 60_000 }, { loss: 0.1, seed });
    world.clock.run(60 * 60_000);
    const found = world.machine.discovered.mappingLifetimeMs;
    assert(found === undefined || found < 60_000, `${found}`);
    if (found !== undefined && found >= 40_000) near += 1;
  }
  assert(near >= 16, `${near} of 20`);
});

test('a server that is down while a lifetime is measured proves nothing', () => {
  const world = setUp({ kind: 'port-restricted', timeoutMs: 3_600_000 });
  world.clock.run(20_000);
  world.stun.up = false;
  world.clock.run(600_000);
  assert.equal(world.machine.discovered.mappingLifetimeMs, undefined);
  world.stun.up = true;
  world.clock.run(30 * 60_000);
  assert.equal(world.machine.discovered.mappingLifetimeMs, 240_000);
});

test('sampling a network stays within its budget, however often the network changes', () => {
  for (const kind of ['port-restricted', 'symmetric', 'symmetric-sequential'] as const) {
    const world = setUp({ kind }, { addresses: 2 });
    world.clock.run(5_000);
    assert(world.sent() <= 30, `${kind}: ${world.sent()} packets`);
  }
  const world = setUp({ kind: 'full-cone', change: { allocation: 'random' } });
  world.clock.run(60_000);
  const before = world.sent();
  for (let i = 0; i < 60; i++) {
    world.router.reboot();
    world.input({ type: 'network-changed' });
    world.clock.run(1000);
  }
  assert(world.sent() - before <= 60 * 5 + 3 * 20, `${world.sent() - before} packets`);
});

test('whoever asks gets all tests again, and the news', () => {
  const world = setUp({ kind: 'symmetric' });
  world.clock.run(30_000);
  assert.equal(world.nat().allocation?.pattern, 'random');
  world.input({ type: 'check' });
  assert(!world.machine.isSettled);
  assert.equal(world.nat().allocation, undefined);
  world.clock.run(8_000);
  assert(world.machine.isSettled);
  assert.equal(world.nat().allocation?.pattern, 'random');
  const report = world.machine.report(4);
  assert.equal(report?.udp, 'works');
  assert.equal(report.portPreserved, false);
  assert.equal(world.machine.report(6), undefined);
});

test('being asked again and again takes nothing away from the lifetime, nor makes it longer', () => {
  const world = setUp({ kind: 'port-restricted', timeoutMs: 30_000 });
  for (let i = 0; i < 40; i++) {
    world.clock.run(45_000);
    world.input({ type: 'check' });
  }
  assert(world.machine.discovered.mappingLifetimeMs! < 30_000);
  const rare = setUp({ kind: 'port-restricted', timeoutMs: 30_000 });
  rare.clock.run(600_000);
  const known = rare.machine.discovered.mappingLifetimeMs!;
  rare.input({ type: 'check' });
  rare.clock.run(20_000);
  assert.equal(rare.machine.discovered.mappingLifetimeMs, known);
});

test('discovery costs what it says: packets in an idle hour', () => {
  const idle = (timeoutMs: number) => {
    const world = setUp({ kind: 'port-restricted', timeoutMs });
    world.clock.run(3_600_000);
    const before = world.sent();
    world.clock.run(3_600_000);
    return world.sent() - before;
  };
  // One request for each refresh: every 80 % of the lifetime, at least every 100 s.
  assert.equal(idle(240_000), 36);
  assert(idle(30_000) <= 180, `${idle(30_000)}`);
});
