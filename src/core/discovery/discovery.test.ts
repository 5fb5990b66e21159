/** Level 2: discovery against simulated NATs and a STUN server, under virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { decodeStun, looksLikeStun } from '#wire/stun.ts';
import { encodeBindingError, encodeBindingSuccess } from '#wire/stun-encode.ts';
import { type NatKind, type NatKindRow, natKinds } from '../../../lab/nat-kinds.ts';
import { type Scheduled, VirtualClock } from '../../../sim/clock.ts';
import { type HomeOptions, Network } from '../../../sim/network.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { StunServer } from '../../../sim/stun-server.ts';
import { Discovery } from './discovery.ts';
import type { Discovered, DiscoveryInput } from './io.ts';

const port = 41_641;
const testPort = 50_000;

/** A machine behind a router, with discovery driven by the clock. */
function setUp(home: Partial<HomeOptions> = {}, options = { testSocket: false, loss: 0, seed: 1 }) {
  const clock = new VirtualClock();
  const random = new Random(options.seed);
  const network = new Network(clock, random.fork('net'), { loss: options.loss });
  const stun = new StunServer(network.internet.host('server', ['203.0.113.1']));
  const router = network.home({
    ...{ name: 'home', kind: 'port-restricted', publicAddress: '198.51.100.1' },
    ...home,
  });
  const address = router.isTranslating ? '192.168.1.2' : '198.18.0.2';
  const host = router.host('client', [address]);
  const machine = new Discovery({ crypto: deterministicCrypto(nodeCrypto, random.fork('crypto')) });
  const changes: { atMs: number; found: Discovered }[] = [];
  const start = clock.monotonic;
  let sent = 0;
  let tick: Scheduled | undefined;
  const input = (event: DiscoveryInput) => {
    machine.handle(event, clock.now);
    for (let out = machine.poll(); out !== undefined; out = machine.poll()) {
      if (out.type === 'changed') changes.push({ atMs: clock.monotonic - start, found: out });
      else {
        sent += 1;
        host.send(out.socket === 1 ? testPort : port, out.remote, out.bytes);
      }
    }
    tick?.cancel();
    const at = machine.deadline();
    tick = at === undefined ? undefined : clock.at(at, () => input({ type: 'tick' }));
  };
  host.bind(port, (bytes, remote) => input({ type: 'datagram', bytes, socket: 0, remote }));
  host.bind(testPort, (bytes, remote) => input({ type: 'datagram', bytes, socket: 1, remote }));
  const main = { socket: 0, family: 4, localPort: port } as const;
  const test = { socket: 1, family: 4, localPort: testPort, purpose: 'test' } as const;
  input({ type: 'sockets', sockets: options.testSocket ? [main, test] : [main] });
  input({ type: 'local-addresses', addresses: [{ interface: 'eth0', address }] });
  const login = () => input({ type: 'servers', servers: stun.endpoints });
  const last = () => changes.at(-1)!.found;
  const world = { clock, network, stun, router, host, changes, input, login, last, machine };
  return { ...world, sent: () => sent };
}

const expectedFiltering = (filtering: string) =>
  filtering === 'endpoint-independent' ? 'address-dependent' : filtering;

/** One server with one address cannot tell the others. */
const recognisable = natKinds
  .map((row): NatKindRow & { readonly name: NatKind } => row)
  .filter((row) => row.ipv6 === undefined && row.unsolicited === undefined)
  .filter(({ mapping }) => mapping !== 'address-dependent');
for (const { name, mapping, filtering, allocation } of recognisable) {
  for (const testSocket of [false, true]) {
    const how = testSocket ? 'with a test socket' : 'with one socket';
    test(`${name} is recognised ${how}`, () => {
      const world = setUp({ kind: name }, { testSocket, loss: 0, seed: 1 });
      world.login();
      world.clock.run(60_000);
      const { nat, udp, publicEndpoints } = world.last();
      if (mapping === 'blocked') {
        assert.deepEqual(nat, { mapping: 'unknown', filtering: 'unknown' });
        assert.equal(udp, 'blocked');
        assert.deepEqual(publicEndpoints, []);
        return;
      }
      assert.equal(nat.mapping, mapping);
      assert.equal(nat.filtering, expectedFiltering(filtering));
      assert.equal(udp, 'works');
      assert.equal(publicEndpoints.length, 1);
      const isKept = mapping === 'none' || allocation === 'preserving';
      if (isKept) assert.equal(publicEndpoints[0]!.port, port);
    });
  }
}

for (const [what, address, toldMs] of [
  ['that this machine has no address of', '10.0.0.7', 42],
  ['that does not answer', '2001:db8::7', 192],
] as const) {
  test(`the first candidates do not wait for an address family ${what}`, () => {
    const world = setUp();
    const main = { socket: 0, family: 4, localPort: port } as const;
    world.input({ type: 'sockets', sockets: [main, { ...main, socket: 2, family: 6 }] });
    const own = ['192.168.1.2', address].map((each) => ({ interface: 'eth0', address: each }));
    world.input({ type: 'local-addresses', addresses: own });
    const silent = { address: '2001:db8:ffff::1', port: 3478 };
    world.input({ type: 'servers', servers: [...world.stun.endpoints, silent] });
    world.clock.run(1000);
    assert.equal(world.changes[0]?.atMs, toldMs);
  });
}

test('the first candidates are told after one round trip, the behaviour later', () => {
  const world = setUp();
  world.login();
  world.clock.run(60_000);
  assert.deepEqual(
    world.changes.map(({ atMs, found }) => [atMs, found.nat.mapping, found.nat.filtering]),
    [
      [42, 'unknown', 'unknown'],
      [546, 'unknown', 'address-and-port-dependent'],
      [588, 'endpoint-independent', 'address-and-port-dependent'],
    ],
  );
  assert.deepEqual(world.changes[0]!.found.candidates, [
    { kind: 'host', endpoint: '192.168.1.2:41641' },
    { kind: 'server-reflexive', endpoint: '198.51.100.1:41641' },
  ]);
});

test('with 20 % loss the classification still comes out right nearly always', () => {
  let right = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const world = setUp({ kind: 'full-cone' }, { testSocket: true, loss: 0.2, seed });
    world.login();
    world.clock.run(60_000);
    const { nat } = world.last();
    if (nat.mapping === 'endpoint-independent' && nat.filtering === 'address-dependent') right += 1;
  }
  assert(right >= 38, `${right} of 40`);
});

test('without any answer host candidates are told after a second, and asking goes on at a low rate', () => {
  const world = setUp();
  world.stun.up = false;
  world.login();
  world.clock.run(999);
  assert.equal(world.changes.length, 0);
  world.clock.run(600_000);
  assert.equal(world.changes[0]!.atMs, 1000);
  assert.equal(world.last().udp, 'blocked');
  assert(world.sent() <= 11 * 10 + 10, `${world.sent()} requests in ten minutes`);
  world.stun.up = true;
  world.clock.run(60_000);
  assert.equal(world.last().udp, 'works');
});

test('the mapping is refreshed before 30 s, with two packets, and its loss is noticed', () => {
  const world = setUp({ change: { allocation: 'random' }, timeoutMs: 30_000 });
  world.login();
  world.clock.run(60_000);
  const first = world.last().publicEndpoints[0]!;
  const before = world.sent();
  world.clock.run(3_600_000);
  assert.deepEqual(world.last().publicEndpoints[0], first, 'kept open for an hour');
  assert(world.sent() - before <= 3600 / 25 + 1);
  world.router.reboot();
  world.clock.run(40_000);
  assert.notEqual(world.last().publicEndpoints[0]!.port, first.port);
  assert.equal(world.last().nat.filtering, 'address-and-port-dependent');
});

test('a hint makes discovery look at once, but not more often than twice a second', () => {
  const world = setUp({ change: { allocation: 'random' } });
  world.login();
  world.clock.run(10_000);
  const first = world.last().publicEndpoints[0]!;
  world.router.reboot();
  world.input({ type: 'recheck' });
  world.clock.run(100);
  assert.notEqual(world.last().publicEndpoints[0]!.port, first.port);
  const before = world.sent();
  for (let i = 0; i < 1000; i++) {
    world.input({ type: 'recheck' });
    world.clock.run(10);
  }
  assert(world.sent() - before <= 25, `${world.sent() - before} requests in 10 s`);
});

test('a mapping in doubt is known to be, where the NAT would have given it another port', () => {
  for (const allocation of ['random', 'preserving'] as const) {
    const world = setUp({ change: { allocation } });
    world.login();
    world.clock.run(10_000);
    assert.equal(world.machine.isRechecking, false);
    world.input({ type: 'recheck' });
    assert.equal(world.machine.isRechecking, allocation === 'random');
    world.clock.run(200);
    assert.equal(world.machine.isRechecking, false, 'the same as before');
    world.router.reboot();
    world.clock.run(500);
    world.input({ type: 'recheck' });
    world.clock.run(200);
    assert.equal(world.machine.isRechecking, false, 'another one, or none');
    world.stun.up = false;
    world.clock.run(500);
    world.input({ type: 'recheck' });
    world.clock.run(60_000);
    assert.equal(world.machine.isRechecking, false, 'no server to ask');
  }
});

test('a server that is down takes nothing away; another network does', () => {
  const world = setUp();
  world.login();
  world.clock.run(10_000);
  const before = world.last();
  world.stun.up = false;
  world.clock.run(300_000);
  assert.deepEqual(world.last().candidates, before.candidates);
  world.input({ type: 'network-changed' });
  world.clock.run(300_000);
  assert.deepEqual(world.last().publicEndpoints, []);
  assert.deepEqual(world.last().candidates, [{ kind: 'host', endpoint: '192.168.1.2:41641' }]);
});

test('logging out stops all traffic', () => {
  const world = setUp();
  world.login();
  world.clock.run(10_000);
  const before = world.sent();
  world.input({ type: 'servers', servers: [] });
  world.clock.run(600_000);
  assert.equal(world.sent(), before);
  assert.deepEqual(world.last().publicEndpoints, []);
});

test('the same sockets and servers again do not start it anew', () => {
  const world = setUp();
  world.login();
  world.clock.run(10_000);
  const before = world.sent();
  world.login();
  world.clock.run(1000);
  assert.equal(world.sent(), before);
});

test('a configured port becomes a candidate at the public address', () => {
  const world = setUp();
  world.input({ type: 'configured-port', port: 7000 });
  world.login();
  world.clock.run(10_000);
  assert.deepEqual(
    world.last().candidates.filter(({ kind }) => kind === 'configured'),
    [{ kind: 'configured', endpoint: '198.51.100.1:7000' }],
  );
});

/** A machine without network: its requests are answered by hand. */
function byHand() {
  const machine = new Discovery({ crypto: deterministicCrypto(nodeCrypto, new Random(1)) });
  const clock = new VirtualClock();
  const server: Endpoint = { address: '203.0.113.1', port: 3478 };
  const servers = [server, { ...server, port: 3479 }];
  const main = { socket: 0, family: 4, localPort: port } as const;
  machine.handle({ type: 'sockets', sockets: [main] }, clock.now);
  machine.handle({ type: 'servers', servers }, clock.now);
  const poll = () => {
    const out = [];
    for (let next = machine.poll(); next !== undefined; next = machine.poll()) out.push(next);
    return out;
  };
  const request = poll().find(({ type }) => type === 'send');
  assert(request?.type === 'send' && looksLikeStun(request.bytes));
  const { transactionId } = decodeStun(request.bytes)!;
  const xorMapped = { address: '198.51.100.1', port: 1234 };
  const answer = (bytes: Uint8Array, remote = server, socket = 0) => {
    machine.handle({ type: 'datagram', bytes, socket, remote }, clock.now);
    return machine.discovered.publicEndpoints.map(formatEndpoint);
  };
  return { machine, clock, server, transactionId, xorMapped, answer, poll };
}

test('only the asked server, the asked socket and the right transaction are believed', () => {
  const { transactionId, xorMapped, answer, server } = byHand();
  const right = encodeBindingSuccess({ transactionId, xorMapped });
  const otherId = transactionId.map((byte) => byte ^ 1);
  assert.deepEqual(answer(encodeBindingSuccess({ transactionId: otherId, xorMapped })), []);
  assert.deepEqual(answer(right, { ...server, address: '203.0.113.9' }), []);
  assert.deepEqual(answer(right, { ...server, port: 3479 }), [], 'the other port was not asked');
  assert.deepEqual(answer(right, server, 3), []);
  assert.deepEqual(answer(right.subarray(0, 24)), []);
  for (let length = 0; length < 100; length++) answer(new Uint8Array(length).fill(length));
  assert.deepEqual(answer(right), ['198.51.100.1:1234']);
  const again = encodeBindingSuccess({ transactionId, xorMapped: { ...xorMapped, port: 9 } });
  assert.deepEqual(answer(again), ['198.51.100.1:1234'], 'an answer counts once');
});

test('a server that claims an impossible address is taken as one that does not answer', () => {
  for (const address of ['127.0.0.1', '0.0.0.0', '224.0.0.1', 'fe80::1']) {
    const { transactionId, answer } = byHand();
    const lie = encodeBindingSuccess({ transactionId, xorMapped: { address, port: 5 } });
    assert.deepEqual(answer(lie), []);
  }
});

test('a server that refuses is left for the next one', () => {
  const { transactionId, answer, poll } = byHand();
  poll();
  answer(encodeBindingError({ transactionId, code: 400, reason: 'no' }));
  const next = poll().filter(({ type }) => type === 'send');
  assert.deepEqual(
    next.map((out) => out.type === 'send' && out.remote.port),
    [3479],
  );
});
