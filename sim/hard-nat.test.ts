/** Level 3: attempts at hard NATs, row by row, each over hundreds of seeds. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { maxPunchProbes, maxPunchSockets } from '#core/path/punch/limits.ts';
import type { NatBehaviour, PortAllocation } from '#wire/signal.ts';
import { type NatKind, portBlock } from '../lab/nat-kinds.ts';
import type { Home, HomeOptions } from './network.ts';
import { type PathClient, PathWorld } from './path-world.ts';

/** The published figures are of 300: minutes. */
const seeds = Number(process.env.BURI_SIM_SEEDS ?? 40);

const allocations: Partial<Record<NatKind, PortAllocation>> = {
  symmetric: { pattern: 'random' },
  'symmetric-block': { pattern: 'block', block: { first: portBlock.first, size: portBlock.size } },
  'symmetric-sequential': { pattern: 'sequential', step: 1 },
};

/** What discovery finds out of a kind, where the simulation shall not depend on how it does. */
function tellAllocation(client: PathClient, kind: NatKind): void {
  const allocation = allocations[kind];
  if (allocation === undefined) return;
  client.lie(({ candidates, nat }) => {
    const known: NatBehaviour = { ...nat, allocation };
    return { candidates, nat: known };
  });
}

/** Others behind the same NAT open new mappings, at random moments. */
function foreignMappings(world: PathWorld, home: Home, index: number, perSecond: number): void {
  const host = home.host(`foreign${index}`, [`192.168.${index}.99`]);
  let port = 1024;
  const next = () => {
    port = port >= 60_000 ? 1024 : port + 1;
    const remote = { address: '203.0.113.1', port: 1000 + world.random.below(60_000) };
    host.send(port, remote, new Uint8Array(4));
    world.clock.in((-1000 / perSecond) * Math.log(1 - world.random.float()), next);
  };
  next();
}

interface PairOptions {
  readonly foreignPerSecond?: number;
  /** Both have just been switched on: they do not know their own NATs. */
  readonly isCold?: boolean;
  readonly link?: ConstructorParameters<typeof PathWorld>[1];
  readonly home?: readonly [Partial<HomeOptions>, Partial<HomeOptions>];
}

function pairOf(seed: number, kinds: readonly [NatKind, NatKind], options: PairOptions = {}) {
  const world = new PathWorld(seed, options.link, true);
  const clients = kinds.map((kind, i) => world.clientBehind(kind, options.home?.[i] ?? {}));
  const [a, b] = [clients[0]!, clients[1]!];
  for (const [i, client] of clients.entries()) {
    tellAllocation(client, kinds[i]!);
    const perSecond = options.foreignPerSecond ?? 0;
    if (perSecond > 0) foreignMappings(world, client.home!, i + 1, perSecond);
  }
  if (options.isCold !== true) world.run(15_000);
  world.introduceAll();
  return { world, a, b };
}

const isDirect = (a: PathClient, b: PathClient) => () =>
  a.pathTo(b) !== undefined && b.pathTo(a) !== undefined;

const percentile = (values: readonly number[], share: number) =>
  [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))] ?? Number.NaN;

/** The most packets in any second that left a client for finding paths. */
function mostPerSecond(client: PathClient): number {
  const times = [...client.requests.map(({ atMs }) => atMs), ...client.punch.sentAt].sort(
    (a, b) => a - b,
  );
  let most = 0;
  for (let first = 0, last = 0; last < times.length; last++) {
    while (times[first]! <= times[last]! - 1000) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}

interface RowBars {
  readonly withinMs: number;
  /** The least share that is joined. */
  readonly share: number;
  readonly maxProbes?: number;
}

function runRow(kinds: readonly [NatKind, NatKind], bars: RowBars, options: PairOptions = {}) {
  const took: number[] = [];
  const probes: number[] = [];
  const missed: number[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const { world, a, b } = pairOf(seed, kinds, options);
    const ms = world.runUntil(isDirect(a, b), bars.withinMs);
    if (ms === undefined) missed.push(seed);
    else took.push(ms);
    for (const client of [a, b]) {
      const { hardProbes } = client.machine.counters();
      probes.push(hardProbes);
      assert(mostPerSecond(client) <= 150, `${mostPerSecond(client)} packets/s, seed ${seed}`);
      assert(client.punch.openedMost <= maxPunchSockets);
      assert(hardProbes <= (bars.maxProbes ?? maxPunchProbes), `${hardProbes}, seed ${seed}`);
    }
  }
  const share = took.length / seeds;
  console.log(
    `${kinds.join(' ↔ ')}: ${(100 * share).toFixed(1)} % of ${seeds}, ` +
      `p50 ${percentile(took, 0.5)} ms, p95 ${percentile(took, 0.95).toFixed(0)} ms, ` +
      `probes at most ${Math.max(...probes)}`,
  );
  assert(share >= bars.share, `${share}, missed with seeds ${missed.join()}`);
  return { took, probes };
}

describe('a filter that ignores ports needs no guess', () => {
  for (const stable of ['full-cone', 'address-restricted', 'none'] as const) {
    for (const changing of ['symmetric', 'symmetric-block', 'symmetric-sequential'] as const) {
      test(`${stable} and ${changing} are joined by one packet`, () => {
        const bars = { withinMs: 10_000, share: 0.99, maxProbes: 0 };
        const { took } = runRow([stable, changing], bars);
        assert(percentile(took, 0.95) <= 2000);
      });
    }
  }
});

describe('ports are guessed', () => {
  for (const stable of ['port-restricted', 'host-firewall'] as const) {
    test(`${stable} and a NAT that chooses ports at random`, () => {
      runRow([stable, 'symmetric'], { withinMs: 15_000, share: 0.95 });
    });

    test(`${stable} and a NAT with a block of ports`, () => {
      runRow([stable, 'symmetric-block'], { withinMs: 15_000, share: 0.98, maxProbes: 200 });
    });
  }

  test('right after both were switched on', () => {
    const bars = { withinMs: 15_000, share: 0.95, maxProbes: 200 };
    runRow(['port-restricted', 'symmetric-block'], bars, { isCold: true });
  });

  test('with 5 % of all packets lost', () => {
    const link = { loss: 0.05, jitterMs: 10 };
    runRow(['port-restricted', 'symmetric'], { withinMs: 15_000, share: 0.85 }, { link });
    const bars = { withinMs: 15_000, share: 0.96, maxProbes: 400 };
    runRow(['port-restricted', 'symmetric-block'], bars, { link });
  });
});

describe('ports are predicted', () => {
  for (const foreignPerSecond of [0, 5, 15]) {
    test(`with ${foreignPerSecond} foreign mappings a second behind each NAT`, () => {
      const bars = { withinMs: 10_000, share: 0.95, maxProbes: 250 };
      runRow(['symmetric-sequential', 'symmetric-sequential'], bars, { foreignPerSecond });
      runRow(['symmetric-sequential', 'port-restricted'], bars, { foreignPerSecond });
    });
  }
});

describe('a carrier NAT in front of a home NAT behaves as the outer one', () => {
  for (const outer of ['symmetric', 'symmetric-block', 'symmetric-sequential'] as const) {
    test(outer, () => {
      let joined = 0;
      const runs = 40;
      for (let seed = 1; seed <= runs; seed++) {
        const world = new PathWorld(seed, {}, true);
        const carrier = world.home(outer, { name: 'carrier' });
        const home = world.network.home({
          name: 'subscriber',
          kind: 'port-restricted',
          publicAddress: '10.0.0.2',
          outside: carrier.realm,
        });
        const a = world.client(home.host('a', ['192.168.1.2']), home);
        tellAllocation(a, outer);
        const b = world.clientBehind('port-restricted');
        world.introduceAll();
        if (world.runUntil(isDirect(a, b), 15_000) !== undefined) joined += 1;
      }
      assert(joined >= 0.92 * runs, `${joined} of ${runs}`);
    });
  }
});

describe('what makes no sense, or is not wanted, is not tried', () => {
  for (const kinds of [
    ['symmetric', 'symmetric'],
    ['symmetric-block', 'symmetric'],
    ['symmetric-block', 'symmetric-block'],
    ['symmetric', 'symmetric-sequential'],
  ] as const) {
    test(`${kinds.join(' and ')}, with the reason`, () => {
      const { world, a, b } = pairOf(1, kinds);
      world.run(60_000);
      assert(!isDirect(a, b)());
      for (const [own, other] of [
        [a, b],
        [b, a],
      ] as const) {
        assert.equal(own.machine.counters().hardProbes, 0);
        assert.equal(own.punch.openedMost, 0);
        assert.match(own.viewOf(other).hardNat!, /not tried: both NATs choose a port/);
      }
    });
  }

  test('one side has switched it off: the other one hears so and waits', () => {
    const { world, a, b } = pairOf(1, ['port-restricted', 'symmetric']);
    b.paths.input({ type: 'hard-nat', enabled: false });
    world.run(500_000);
    assert.equal(a.machine.counters().hardProbes + b.machine.counters().hardProbes, 0);
    assert.equal(b.machine.counters().hardRefused, 1);
    assert.match(a.viewOf(b).hardNat!, /switched off on the other side; next try in/);
    assert.match(b.viewOf(a).hardNat!, /--hard-nat off/);
  });

  test('an address that the server does not vouch for is aimed at by nobody', () => {
    const { world, a, b } = pairOf(1, ['port-restricted', 'symmetric']);
    b.provenOverride = [];
    world.run(120_000);
    assert.equal(a.machine.counters().hardProbes, 0);
    assert.match(a.viewOf(b).hardNat!, /does not confirm the other address; next try in/);
    assert(!isDirect(a, b)());
  });
});

test('without success attempts become rare, and each is within its budget', () => {
  const { world, a, b } = pairOf(1, ['port-restricted', 'symmetric']);
  // Everything that guesses is lost.
  world.network.drop = ({ destination, source, bytes }) =>
    bytes.length === 96 &&
    (source.address === '198.51.100.2' || destination.address === '198.51.100.2');
  world.run(3_600_000);
  const { hardAttempts, hardProbes } = a.machine.counters();
  assert(hardAttempts >= 6 && hardAttempts <= 14, `${hardAttempts} attempts in an hour`);
  assert(hardProbes <= hardAttempts * maxPunchProbes);
  assert(b.punch.openedMost <= maxPunchSockets);
  assert(mostPerSecond(a) <= 150 && mostPerSecond(b) <= 150);
  assert.match(a.viewOf(b).hardNat!, /did not succeed \(1,024 probes\); next try in/);
});

describe('the sockets of an attempt', () => {
  test('the winner is kept while the path lives on it, and dropped after that', () => {
    const { world, a, b } = pairOf(3, ['port-restricted', 'symmetric-block']);
    assert(world.runUntil(isDirect(a, b), 15_000) !== undefined);
    world.run(1000);
    assert.equal(b.punch.size, 0, 'the others are closed');
    assert.equal(b.punch.adopted.size, 1);
    for (let i = 0; i < 300; i++) {
      a.sendData(b);
      b.sendData(a);
      world.run(1000);
    }
    assert(isDirect(a, b)());
    assert.equal(b.punch.adopted.size, 1);
    a.stop();
    for (let i = 0; i < 200; i++) {
      b.sendData(a);
      world.run(1000);
    }
    assert.equal(b.punch.adopted.size, 0);
  });

  test('few descriptors are enough for few mappings', () => {
    const { world, a, b } = pairOf(5, ['port-restricted', 'symmetric-block']);
    b.punch.most = 40;
    assert(world.runUntil(isDirect(a, b), 15_000) !== undefined);
    assert.equal(b.punch.openedMost, 40);
  });

  test('none at all, or none that the engine takes: said, and tried again later', () => {
    const { world, a, b } = pairOf(5, ['port-restricted', 'symmetric-block']);
    b.punch.most = 0;
    world.run(8000);
    assert.match(b.viewOf(a).hardNat!, /no socket could be opened; next try in/);
    b.punch.most = 1000;
    b.punch.adoptionFails = 'the engine has at most 18 sockets';
    world.run(60_000);
    assert(!isDirect(a, b)());
    assert.match(b.viewOf(a).hardNat!, /at most 18 sockets; next try in/);
    b.punch.adoptionFails = undefined;
    assert(world.runUntil(isDirect(a, b), 200_000) !== undefined);
  });
});

test('one attempt at a time, however many peers want one', () => {
  const world = new PathWorld(9, {}, true);
  const stable = world.clientBehind('port-restricted');
  const others = Array.from({ length: 5 }, () => world.clientBehind('symmetric-block'));
  for (const other of others) {
    tellAllocation(other, 'symmetric-block');
    stable.meet(other);
    other.meet(stable);
  }
  const all = () => others.every((other) => isDirect(stable, other)());
  assert(world.runUntil(all, 120_000) !== undefined);
  assert(mostPerSecond(stable) <= 150);
});

test('two that propose at once agree on the attempt of the one that leads', () => {
  const { world, a, b } = pairOf(2, ['port-restricted', 'symmetric-block']);
  // A late server lets the other side propose as well.
  world.serverUp = false;
  world.run(10_000);
  world.serverUp = true;
  for (const client of [a, b]) client.paths.input({ type: 'network-changed' });
  assert(world.runUntil(isDirect(a, b), 30_000) !== undefined);
});

describe('a peer that lies', () => {
  const symmetric: NatBehaviour = {
    mapping: 'address-and-port-dependent',
    filtering: 'address-and-port-dependent',
    allocation: { pattern: 'random' },
  };

  /** A client behind an ordinary router, and one whose program says whatever the test wants. */
  function victim(seed: number) {
    const { world, a, b } = pairOf(seed, ['port-restricted', 'symmetric']);
    a.paths.input({ type: 'hard-nat', enabled: false });
    b.stop();
    a.paths.input({ type: 'hard-nat', enabled: true });
    const offer = (attempt: number, proven: readonly string[], address = '198.51.100.77') => {
      const { technique, ...ports } = {
        ...{ technique: 'birthday' as const, address, first: 1024, count: 64_512, step: 1 },
      };
      const hard = { attempt, technique, ports };
      const said = { candidates: [], nat: symmetric, kind: 'offer' as const, hard, proven };
      a.paths.input({ type: 'remote-candidates', peer: b.index, ...said });
    };
    const punch = () => a.paths.input({ type: 'punch', peer: b.index, inMs: 0 });
    return { world, a, b, offer, punch };
  }

  test('aims nobody at an address that is not its own', () => {
    const { world, a, offer, punch } = victim(1);
    for (let i = 0; i < 100; i++) {
      offer(i, ['198.51.100.2']);
      punch();
      world.run(1000);
    }
    assert.equal(a.machine.counters().hardProbes, 0);
    assert(!a.requests.some(({ to }) => to.startsWith('198.51.100.77')));
  });

  test('gets one attempt at a time, however often it asks', () => {
    const { world, a, offer, punch } = victim(1);
    for (let i = 0; i < 600; i++) {
      offer(i, ['198.51.100.77']);
      world.run(50);
      punch();
      world.run(50);
    }
    const { hardAttempts, hardProbes } = a.machine.counters();
    assert(hardAttempts <= 6, `${hardAttempts} in a minute`);
    assert(hardProbes <= hardAttempts * maxPunchProbes);
    assert(mostPerSecond(a) <= 150);
  });

  test('is answered nothing and adopts nothing by datagrams that are not authentic', () => {
    const { world, a, b } = pairOf(4, ['port-restricted', 'symmetric-block']);
    const remote = { address: '203.0.113.9', port: 9 };
    const forge = () => {
      for (let index = 0; index < b.punch.size; index++) {
        for (const bytes of [
          new Uint8Array(96),
          new Uint8Array(0),
          new Uint8Array(1500).fill(66),
        ]) {
          b.paths.input({ type: 'punch-datagram', index, bytes, remote });
        }
      }
      world.clock.in(10, forge);
    };
    forge();
    assert(world.runUntil(isDirect(a, b), 15_000) !== undefined);
    assert.equal(b.punch.adopted.size, 1);
    b.paths.input({ type: 'punch-datagram', index: 3, bytes: new Uint8Array(96), remote });
    b.paths.input({ type: 'punch-opened', count: 256 });
    const late = { socket: 150, family: 4, localPort: 9 } as const;
    b.paths.input({ type: 'punch-adopted', index: 3, socket: late });
    assert.equal(b.eventsOf('drop-socket', a).length, 0);
    assert(b.events.some(({ output }) => output.type === 'drop-socket' && output.socket === 150));
  });
});
