/** Level 3: two and more path machines over simulated NATs, from a seed, under virtual time. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { directPath, type NatKind, type NatKindRow, natKind, natKinds } from '../lab/nat-kinds.ts';
import { type PathClient, PathWorld } from './path-world.ts';
import type { Random } from './random.ts';
import { checkBudgets } from './scenario/invariants.ts';
import { count, joined, recovery, stream } from './streams.ts';

/** Joined, or the test fails. */
function join(world: PathWorld, a: PathClient, b: PathClient, boundMs = 10_000): number {
  const tookMs = world.runUntil(joined(a, b), boundMs);
  assert(tookMs !== undefined, `no path within ${boundMs} ms (seed ${world.random.seed})`);
  return tookMs;
}

function pair(seed: number, a: NatKind, b: NatKind, options = {}) {
  const world = new PathWorld(seed, options);
  const clients = [world.clientBehind(a), world.clientBehind(b)] as const;
  world.introduceAll();
  return { world, a: clients[0], b: clients[1] };
}

/** Where the server can tell what the NATs do, the reason is exact. */
function expectedReason(a: NatKindRow, b: NatKindRow): RegExp {
  if (a.ipv6 === 'only' || b.ipv6 === 'only') {
    const isApart = a.ipv6 === undefined || b.ipv6 === undefined;
    return isApart ? /^no address family in common/ : /^no answer from/;
  }
  const isPlain = (row: NatKindRow) => row.filtering === 'address-and-port-dependent';
  return isPlain(a) && isPlain(b)
    ? /^no answer from (any of \d addresses|its only address).*needs a relay or a forwarded port$/
    : /^no answer from (any of \d addresses|its only address)/;
}

/** One NAT lets anybody in, and the other one whoever has the address that it sent to: only ports differ from what was asked. */
const bothShown = (a: NatKindRow, b: NatKindRow): boolean => {
  const isOpen = ({ filtering }: NatKindRow) => filtering === 'endpoint-independent';
  const filtersPorts = ({ filtering }: NatKindRow) => filtering === 'address-and-port-dependent';
  return (isOpen(a) && !filtersPorts(b)) || (isOpen(b) && !filtersPorts(a));
};

describe('every pair of NAT kinds', () => {
  for (const { name: a } of natKinds) {
    for (const { name: b } of natKinds) {
      const expected = directPath(natKind(a), natKind(b));
      const isShown = expected === 'possible' && bothShown(natKind(a), natKind(b));
      if (expected === 'possible' && !isShown) continue;
      const isFound = expected !== 'none';
      const isOrderly = expected === 'certain';
      test(`${a} and ${b} ${isFound ? 'find a direct path' : 'are told why there is none'}`, () => {
        for (const seed of [1, 2, 3]) {
          const { world, a: left, b: right } = pair(seed, a, b);
          if (isFound) {
            assert(join(world, left, right, 3000) < 500, 'one exchange of signals is enough');
            assert(left.probesSent + right.probesSent <= 24, 'few probes');
            world.run(60_000);
            const probes = left.probesSent + right.probesSent;
            assert(probes <= 80, `${probes} probes in a minute`);
            assert.equal(left.viewOf(right).kind, 'direct');
            if (isOrderly) assert.equal(left.machine.counters().pathsChanged, 0);
            assert.equal(left.machine.counters().pathsLost, 0);
          } else {
            world.run(10_000);
            assert(!joined(left, right)());
            const view = left.viewOf(right);
            assert.equal(view.kind, 'unreachable');
            assert.match(view.reason!, expectedReason(natKind(a), natKind(b)));
            world.run(50_000);
            assert(left.probesSent <= 80, `${left.probesSent} probes in a minute`);
          }
        }
      });
    }
  }
});

describe('routers that accept unsolicited input', () => {
  for (const other of ['port-restricted-accepting', 'port-restricted', 'host-firewall'] as const) {
    test(`are joined with ${other} at once: nothing gets there before their own side has sent`, () => {
      for (let seed = 1; seed <= 20; seed++) {
        const { world, a, b } = pair(seed, 'port-restricted-accepting', other, { jitterMs: 10 });
        assert(join(world, a, b, 1500) < 500, `seed ${seed}`);
      }
    });
  }
});

test('a run is a function of its seed, byte for byte', () => {
  const trace = (seed: number) => {
    const world = new PathWorld(seed, { loss: 0.1, jitterMs: 30, duplication: 0.05 });
    const sent: string[] = [];
    world.network.onPacket = ({ bytes }) => sent.push(Buffer.from(bytes).toString('hex'));
    const [a, b] = [world.clientBehind('port-restricted'), world.clientBehind('symmetric')];
    const c = world.clientBehind('full-cone');
    world.introduceAll();
    stream(world, a, c, 50);
    world.run(20_000);
    return { sent, paths: [a.pathTo(c), b.pathTo(c), c.pathTo(a)] };
  };
  const first = trace(11);
  assert(first.sent.length > 500);
  assert.deepEqual(trace(11), first);
  assert.notDeepEqual(trace(12).sent, first.sent);
});

test('a port that is forwarded by hand joins what could not be punched', () => {
  for (const other of ['port-restricted', 'symmetric', 'host-firewall'] as const) {
    const world = new PathWorld(1);
    const inside = { address: '192.168.1.2', port: 41_641 };
    const a = world.clientBehind('symmetric', { forwards: new Map([[41_641, inside]]) });
    const b = world.clientBehind(other);
    a.configurePort(41_641);
    world.introduceAll();
    join(world, a, b);
    assert.deepEqual(b.pathTo(a)?.remote, { address: '198.51.100.1', port: 41_641 });
    const { candidates } = b.viewOf(a);
    assert.equal(candidates.find(({ state }) => state === 'in use')?.kind, 'configured');
    stream(world, a, b, 100);
    world.run(60_000);
    assert.equal(a.machine.counters().pathsLost, 0);
  }
});

describe('one LAN', () => {
  test('two peers behind one NAT talk over the LAN, with and without hairpinning', () => {
    for (const hairpin of [false, true]) {
      const world = new PathWorld(1);
      const home = world.home('port-restricted', { hairpin });
      const a = world.client(home.host('a', ['192.168.1.2']), home);
      const b = world.client(home.host('b', ['192.168.1.3']), home);
      world.introduceAll();
      join(world, a, b);
      world.run(5000);
      assert.equal(a.pathTo(b)?.remote.address, '192.168.1.3');
      assert.equal(b.pathTo(a)?.remote.address, '192.168.1.2');
    }
  });

  test('where a router keeps its guests apart they meet at its public side, if it turns packets around', () => {
    for (const hairpin of [false, true]) {
      const world = new PathWorld(1);
      world.addRelays(0);
      const home = world.home('port-restricted', { hairpin });
      const a = world.client(home.host('a', ['192.168.1.2']), home);
      const b = world.client(home.host('b', ['192.168.1.3']), home);
      world.network.drop = ({ source, destination }) =>
        [source, destination].every(({ address }) => address.startsWith('192.168.1.'));
      world.introduceAll();
      join(world, a, b);
      world.run(10_000);
      for (const [one, other] of [
        [a, b],
        [b, a],
      ] as const) {
        assert.equal(one.viewOf(other).kind, hairpin ? 'direct' : 'relayed');
        if (hairpin) assert.equal(one.pathTo(other)?.remote.address, '198.51.100.1');
      }
    }
  });

  test('equal private addresses in both homes do not confuse: the machine there cannot answer', () => {
    const world = new PathWorld(1);
    const homes = [1, 2].map((i) =>
      world.home('port-restricted', { name: `h${i}`, publicAddress: `198.51.100.${i}` }),
    );
    // Each home has a machine at the other client's address, which echoes whatever it gets.
    const clients = homes.map((home, i) => {
      const echo = home.host('echo', [`192.168.1.${i === 0 ? 3 : 2}`]);
      for (const port of [41_641, 41_642]) {
        echo.bind(port, (bytes, remote) => echo.send(port, remote, bytes));
      }
      return world.client(home.host('client', [`192.168.1.${i === 0 ? 2 : 3}`]), home);
    });
    const [a, b] = [clients[0]!, clients[1]!];
    world.introduceAll();
    join(world, a, b);
    world.run(30_000);
    assert.equal(a.pathTo(b)?.remote.address, '198.51.100.2');
    assert.equal(b.pathTo(a)?.remote.address, '198.51.100.1');
    assert(a.machine.counters().keysUnknown > 0, 'the echoes were dropped');
  });

  test('IPv6 is preferred where both have it, and IPv4 carries on when it breaks', () => {
    const world = new PathWorld(1);
    const clients = [1, 2].map((i) => {
      const home = world.home('port-restricted', {
        name: `h${i}`,
        publicAddress: `198.51.100.${i}`,
      });
      return world.client(home.host(`c${i}`, [`192.168.${i}.2`, `2001:db8:${i}::2`]), home);
    });
    const [a, b] = [clients[0]!, clients[1]!];
    world.introduceAll();
    join(world, a, b);
    world.run(2000);
    assert.equal(a.pathTo(b)?.remote.address, '2001:db8:2::2');
    assert.equal(b.pathTo(a)?.remote.address, '2001:db8:1::2');
    const tookMs = recovery(world, a, b, () => {
      world.network.drop = ({ destination }) => destination.address.includes(':');
    });
    assert(tookMs < 1500, `${tookMs} ms`);
    assert.equal(a.pathTo(b)?.remote.address, '198.51.100.2');
    assert.equal(a.machine.counters().pathsLost, 0, 'the spare path took over');
    world.network.drop = undefined;
    world.run(90_000);
    assert.equal(a.pathTo(b)?.remote.address, '198.51.100.2', 'no probing of what is dead');
  });
});

describe('faults', () => {
  test('a NAT that reboots with other ports costs less than two seconds', () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const world = new PathWorld(seed);
      const a = world.clientBehind('port-restricted', { change: { allocation: 'random' } });
      const b = world.clientBehind('port-restricted');
      world.introduceAll();
      join(world, a, b);
      const tookMs = recovery(world, a, b, () => a.home!.reboot());
      assert(tookMs < 2000, `seed ${seed}: ${tookMs} ms`);
    }
  });

  test('a peer whose NAT rebinds is followed without the server where the filter lets it in', () => {
    const world = new PathWorld(1);
    const a = world.clientBehind('port-restricted', { change: { allocation: 'random' } });
    const b = world.clientBehind('address-restricted');
    world.introduceAll();
    join(world, a, b);
    world.run(1000);
    world.serverUp = false;
    const before = b.pathTo(a)!.remote.port;
    const tookMs = recovery(world, a, b, () => a.home!.reboot());
    assert(tookMs < 1000, `${tookMs} ms`);
    assert.notEqual(b.pathTo(a)?.remote.port, before);
    assert.equal(b.machine.counters().pathsLost, 0);
  });

  test('a client that moves to another network is back within two seconds', () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const { world, a, b } = pair(seed, 'port-restricted', 'port-restricted');
      join(world, a, b);
      const elsewhere = world.home('port-restricted', {
        name: 'cafe',
        publicAddress: '198.51.100.77',
      });
      const tookMs = recovery(world, a, b, () => a.moveTo(elsewhere, ['10.1.1.2']));
      assert(tookMs < 2000, `seed ${seed}: ${tookMs} ms`);
      assert.equal(b.pathTo(a)?.remote.address, '198.51.100.77');
    }
  });

  test('mappings that live 30 s are kept open for an hour without traffic', () => {
    const world = new PathWorld(1);
    const a = world.clientBehind('port-restricted', { timeoutMs: 30_000 });
    const b = world.clientBehind('symmetric', { timeoutMs: 30_000, change: { ...eim } });
    world.introduceAll();
    join(world, a, b);
    const before = a.probesSent;
    world.run(3_600_000);
    assert.equal(a.machine.counters().pathsLost + b.machine.counters().pathsLost, 0);
    assert.equal(a.viewOf(b).kind, 'direct');
    assert(a.probesSent - before < 2 * (3600 / 25) + 10, `${a.probesSent - before} probes`);
  });

  test('mappings that live less than the keepalive come back when data flows', () => {
    const world = new PathWorld(1);
    const a = world.clientBehind('port-restricted', { timeoutMs: 12_000 });
    const b = world.clientBehind('port-restricted', { timeoutMs: 12_000 });
    world.introduceAll();
    join(world, a, b);
    world.run(20_000);
    stream(world, a, b, 50);
    const before = count(a, b);
    const tookMs = world.runUntil(() => count(a, b) > before + 5, 10_000);
    assert(tookMs !== undefined && tookMs < 3000, `${tookMs} ms`);
  });

  test('a peer that is killed is declared dead in bounded time while data is sent', () => {
    const { world, a, b } = pair(1, 'port-restricted', 'none');
    join(world, a, b);
    stream(world, a, b, 50);
    stream(world, b, a, 50);
    world.run(10_000);
    b.stop();
    const tookMs = world.runUntil(() => a.eventsOf('peer-dead', b).length > 0, 60_000);
    assert(tookMs !== undefined && tookMs <= 2500, `${tookMs} ms`);
    assert.equal(a.pathTo(b), undefined);
    world.run(10_000);
    assert.match(a.viewOf(b).reason!, /^the path was lost; no answer from its only address/);
  });

  test('a liveness check is always answered: alive within a round trip, dead within seconds', () => {
    const { world, a, b } = pair(1, 'port-restricted', 'none');
    join(world, a, b);
    world.run(10_000);
    const alive = a.eventsOf('peer-alive', b).length;
    a.paths.input({ type: 'check-liveness', peer: b.index });
    const aliveMs = world.runUntil(() => a.eventsOf('peer-alive', b).length > alive, 5000);
    assert(aliveMs !== undefined && aliveMs < 100, `${aliveMs} ms`);
    b.stop();
    a.paths.input({ type: 'check-liveness', peer: 'all' });
    const deadMs = world.runUntil(() => a.eventsOf('peer-dead', b).length > 0, 10_000);
    assert(deadMs !== undefined && deadMs < 3000, `${deadMs} ms`);
    a.paths.input({ type: 'check-liveness', peer: b.index });
    const again = world.runUntil(() => a.eventsOf('peer-dead', b).length > 1, 10_000);
    assert(again !== undefined, 'answered also when there is no path');
  });

  test('tunnels outlive the server: an hour without it changes nothing', () => {
    const { world, a, b } = pair(1, 'port-restricted', 'port-restricted');
    join(world, a, b);
    world.serverUp = false;
    world.stun.up = false;
    for (const client of [a, b]) client.paths.input({ type: 'server', connected: false });
    stream(world, a, b, 1000);
    world.run(3_600_000);
    assert(joined(a, b)());
    assert.equal(a.machine.counters().pathsLost, 0);
    assert.equal(a.eventsOf('signal-wanted', b).filter(({ atMs }) => atMs > 1_010_000).length, 0);
  });

  test('without the server a path that breaks for ten seconds heals by itself', () => {
    const { world, a, b } = pair(1, 'port-restricted', 'port-restricted');
    join(world, a, b);
    world.run(1000);
    world.serverUp = false;
    for (const client of [a, b]) client.paths.input({ type: 'server', connected: false });
    stream(world, a, b, 50);
    stream(world, b, a, 50);
    world.network.drop = ({ bytes }) => bytes.length !== 20;
    world.run(10_000);
    assert.equal(a.pathTo(b), undefined);
    world.network.drop = undefined;
    const tookMs = world.runUntil(joined(a, b), 60_000);
    assert(tookMs !== undefined && tookMs < 35_000, `${tookMs} ms`);
  });

  test('one direction that breaks is noticed by both sides', () => {
    const { world, a, b } = pair(1, 'none', 'none');
    join(world, a, b);
    stream(world, a, b, 50);
    stream(world, b, a, 50);
    world.run(2000);
    world.network.drop = ({ destination }) => destination.address === b.host.addresses[0];
    const tookMs = world.runUntil(() => !joined(a, b)(), 20_000);
    assert(tookMs !== undefined && tookMs < 5000);
    world.run(10_000);
    assert.equal(a.pathTo(b), undefined);
    assert.equal(b.pathTo(a), undefined);
    assert.match(b.viewOf(a).reason!, /no answer/);
    world.network.drop = undefined;
    const healedMs = world.runUntil(joined(a, b), 60_000);
    assert(healedMs !== undefined, 'it heals');
  });
});

const eim = { mapping: 'endpoint-independent' } as const;

describe('loss', () => {
  test('with 20 % loss, jitter and duplicates paths come up and stay', () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const link = { loss: 0.2, jitterMs: 40, duplication: 0.05 };
      const { world, a, b } = pair(seed, 'port-restricted', 'port-restricted', link);
      join(world, a, b, 20_000);
      stream(world, a, b, 50);
      world.run(120_000);
      stream(world, b, a, 50);
      world.run(120_000);
      const lost = a.machine.counters().pathsLost + b.machine.counters().pathsLost;
      const changed = a.machine.counters().pathsChanged + b.machine.counters().pathsChanged;
      assert.equal(lost + changed, 0, `seed ${seed}`);
    }
  });

  test('paths of like quality are not swapped back and forth', () => {
    // Two public addresses each: four pairs, whose round trips differ by jitter alone.
    for (const seed of [1, 2, 3]) {
      const world = new PathWorld(seed, { jitterMs: 60 });
      const clients = [1, 2].map((i) =>
        world.client(world.network.internet.host(`c${i}`, [`198.18.0.${i}`, `198.18.1.${i}`])),
      );
      const [a, b] = [clients[0]!, clients[1]!];
      world.introduceAll();
      join(world, a, b);
      stream(world, a, b, 100);
      stream(world, b, a, 100);
      world.run(600_000);
      for (const client of clients) {
        const { pathsChanged, pathsLost } = client.machine.counters();
        assert(pathsChanged <= 3, `seed ${seed}: ${pathsChanged} changes in 10 minutes`);
        assert.equal(pathsLost, 0);
      }
    }
  });

  test('changing to a better path loses no packet', () => {
    const world = new PathWorld(1);
    const home = world.home('port-restricted', { hairpin: true });
    const a = world.client(home.host('a', ['192.168.1.2']), home);
    const b = world.client(home.host('b', ['192.168.1.3']), home);
    // The LAN is cut off at first, so that the path over the router's public address wins.
    world.network.drop = ({ source, destination }) =>
      source.address.startsWith('192.168.') && destination.address.startsWith('192.168.');
    world.introduceAll();
    join(world, a, b);
    world.run(5000);
    assert.equal(a.pathTo(b)?.remote.address, '198.51.100.1');
    let sent = 0;
    const everySent = () => {
      if (a.sendData(b)) sent += 1;
      if (sent < 2000) world.clock.in(5, everySent);
    };
    everySent();
    stream(world, b, a, 5);
    world.run(500);
    world.network.drop = undefined;
    world.offer(a, b);
    world.run(20_000);
    assert.equal(a.pathTo(b)?.remote.address, '192.168.1.3');
    assert.equal(count(a, b), 2000);
  });
});

/** What a random world does to itself every few seconds. */
function randomFault(world: PathWorld, random: Random, step: number): void {
  const client = random.pick(world.clients);
  switch (random.below(7)) {
    case 0:
      client.home?.reboot();
      break;
    case 1: {
      const kind = random.pick(['port-restricted', 'full-cone', 'address-restricted'] as const);
      const options = { name: `move${step}`, publicAddress: `198.51.101.${step}` };
      client.moveTo(world.home(kind, options), [`10.0.${step}.2`]);
      break;
    }
    case 2:
      world.serverUp = !world.serverUp;
      for (const { paths } of world.clients) {
        paths.input({ type: 'server', connected: world.serverUp });
      }
      break;
    case 3:
      world.network.internet.link = { ...world.network.internet.link, loss: random.float() * 0.4 };
      break;
    case 4: {
      const address = random.pick(world.clients).host.addresses[0];
      world.network.drop = ({ source }) => source.address === address;
      break;
    }
    case 5:
      client.paths.input({ type: 'check-liveness', peer: 'all' });
      break;
    default:
      client.lie((told) => ({
        ...told,
        candidates: told.candidates.map(({ kind }, i) => ({
          kind,
          endpoint: `203.0.113.${100 + i}:${1 + random.below(60_000)}`,
        })),
      }));
  }
}

describe('random worlds', () => {
  for (let seed = 1; seed <= 12; seed++) {
    test(`seed ${seed}: budgets hold under faults and lies, and once they end every pair that can talks`, () => {
      const world = new PathWorld(`random ${seed}`, { jitterMs: 10 });
      const random = world.random.fork('faults');
      const kinds = [
        ...(['none', 'host-firewall', 'full-cone', 'address-restricted'] as const),
        ...(['port-restricted', 'symmetric', 'symmetric-block', 'symmetric-sequential'] as const),
      ];
      for (let i = 0; i < 6; i++) world.clientBehind(random.pick(kinds));
      world.introduceAll();
      for (const a of world.clients) {
        for (const b of world.clients) if (a !== b && random.chance(0.5)) stream(world, a, b, 200);
      }
      for (let step = 1; step <= 20; step++) {
        world.run(random.between(500, 15_000));
        randomFault(world, random, step);
      }
      world.network.drop = undefined;
      world.network.internet.link = { ...world.network.internet.link, loss: 0 };
      world.serverUp = true;
      for (const client of world.clients) {
        client.lie();
        client.paths.input({ type: 'server', connected: true });
        client.discovery.input({ type: 'network-changed' });
      }
      const kindsNow = world.clients.map(({ home }) => home!.row);
      const isCertain = (i: number, j: number) =>
        i !== j && directPath(kindsNow[i]!, kindsNow[j]!) === 'certain';
      const allJoined = () =>
        world.clients.every((a, i) =>
          world.clients.every((b, j) => !isCertain(i, j) || joined(a, b)()),
        );
      world.runUntil(allJoined, 120_000);
      const missing = world.clients.flatMap((a, i) =>
        world.clients.flatMap((b, j) =>
          isCertain(i, j) && !joined(a, b)() ? [`${i} to ${j}: ${a.viewOf(b).reason}`] : [],
        ),
      );
      assert.deepEqual(missing, [], 'every pair that can has a path again');
      world.run(60_000);
      assert(allJoined(), 'and keeps it');
      for (const client of world.clients) checkBudgets(client, world.hardNat);
    });
  }
});

test('a client that leaves a hopeless NAT for a better one is joined at once, whatever it has probed before', () => {
  const { world, a, b } = pair(1, 'port-restricted', 'symmetric');
  // Long enough to use up the minute of the address that does not answer.
  world.run(20_000);
  assert(!joined(a, b)());
  const better = world.home('address-restricted', {
    name: 'better',
    publicAddress: '198.51.100.77',
  });
  a.moveTo(better, ['192.168.77.2']);
  const tookMs = world.runUntil(joined(a, b), 60_000);
  assert(tookMs !== undefined && tookMs < 6000, `no path for ${tookMs} ms`);
});

describe('paths over links that are too narrow', () => {
  /** The largest packet of the inside that fits through a link of IPv4. */
  const fitting = (link: number) => Math.min(1400, link - 28 - 32);

  test('are measured, followed when they change, and heal when they swallow what is large', () => {
    for (let seed = 1; seed <= 6; seed++) {
      const { world, a, b } = pair(seed, 'port-restricted', 'full-cone');
      const { random } = world;
      const { internet } = world.network;
      join(world, a, b);
      const narrow = () => 4 * random.between(150, 364);
      const is = (link: number) => () => a.viewOf(b).mtuBytes === fitting(link);
      const describe = (link: number) => `link of ${link}, ${a.viewOf(b).mtuBytes} (seed ${seed})`;

      const first = narrow();
      internet.link = { ...internet.link, mtuBytes: first };
      let large = 1432;
      const send = () => {
        a.sendData(b, large);
        world.clock.in(50, send);
      };
      send();
      // Fragments pass: nothing is lost while the search goes on.
      const before = count(a, b);
      assert(world.runUntil(is(first), 2500) !== undefined, describe(first));
      assert(count(a, b) > before);

      const second = narrow();
      internet.link = { ...internet.link, mtuBytes: second, losesFragments: true };
      const boundMs = fitting(second) < fitting(first) ? 4000 : 60_000;
      assert(world.runUntil(is(second), boundMs) !== undefined, describe(second));
      large = fitting(second) + 32;
      const stuck = count(a, b);
      world.run(1000);
      assert(count(a, b) > stuck + 15, 'what fits passes');

      internet.link = { ...internet.link, mtuBytes: 1500 };
      assert(world.runUntil(is(1500), 60_000) !== undefined, describe(1500));
      assert.equal(a.eventsOf('peer-dead', b).length, 0, 'the path was never given up');
    }
  });
});
