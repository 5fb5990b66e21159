/** Level 3: relays that do not do what they should. Whatever they do, two clients talk over another one, or directly. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { Source } from '#relay/source.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import {
  decodeRelay,
  deliveredPrefix,
  deliveredPrefixBytes,
  encodePlainRelay,
  movedTransaction,
  relayType,
  sealRelay,
} from '#wire/relay.ts';
import type { NatKind } from '../lab/nat-kinds.ts';
import { type PathClient, PathWorld } from './path-world.ts';
import type { Random } from './random.ts';
import { deterministicCrypto } from './random.ts';
import type { Meddle, RelayHost } from './relay-host.ts';
import { count, joined, recovery, stream } from './streams.ts';
import { runWorld } from './world/run.ts';

type Lie = (relay: RelayHost, world: PathWorld, random: Random) => Meddle | undefined;

/** What clients sent each other, with or without a header in front. */
const isForwarded = (bytes: Uint8Array) => {
  const type = relayType(bytes);
  return type === undefined || type === 'delivered';
};
const nothing: readonly Uint8Array[] = [];

/** Again and again, as long as the world runs. */
function every(world: PathWorld, everyMs: number, act: () => void): void {
  const next = () => {
    act();
    world.clock.in(everyMs, next);
  };
  next();
}

/** `least`: the share of what is sent that arrives all the same, if not nearly all. */
const lies: readonly (readonly [name: string, lie: Lie, least?: number])[] = [
  ['falls silent', () => () => nothing],
  [
    'answers what it is asked and forwards nothing',
    () => (bytes) => (isForwarded(bytes) ? nothing : [bytes]),
  ],
  [
    'drops nine of ten',
    (_relay, _world, random) => (bytes) =>
      isForwarded(bytes) && random.chance(0.9) ? nothing : [bytes],
    0.2,
  ],
  [
    'says that others have sent it',
    () => (bytes) =>
      relayType(bytes) === 'delivered'
        ? [Buffer.concat([deliveredPrefix(7), bytes.subarray(deliveredPrefixBytes)])]
        : [bytes],
  ],
  [
    'flips a bit of everything',
    (_relay, _world, random) => (bytes) => {
      const changed = new Uint8Array(bytes);
      changed[random.below(changed.length)]! ^= 1 << random.below(8);
      return [changed];
    },
  ],
  [
    'gives everything to the others',
    (relay) => (bytes, to) => {
      if (!isForwarded(bytes)) return [bytes];
      for (const place of relay.places.values()) if (place !== to) relay.deliver(place, bytes);
      return nothing;
    },
  ],
  [
    'says all the time that it is about to end',
    (relay, world) => {
      every(world, 500, () => {
        for (const place of relay.places.values()) {
          relay.say(place, (token) => ({ type: 'draining', token, graceSeconds: 4_000_000_000 }));
        }
      });
      return undefined;
    },
  ],
  [
    'knows nobody any more',
    () => (bytes) => {
      const message = decodeRelay(bytes);
      if (message?.type !== 'refreshed' && message?.type !== 'allocated') return nothing;
      const { transaction } = message;
      return [encodePlainRelay({ type: 'error', transaction, code: 'unknown-token' })];
    },
  ],
];

type Pair = readonly [NatKind, NatKind];
const hard: Pair = ['symmetric', 'symmetric'];
const easy: Pair = ['port-restricted', 'port-restricted'];

interface Cast {
  readonly world: PathWorld;
  readonly a: PathClient;
  readonly b: PathClient;
  readonly relays: readonly RelayHost[];
}

function cast(seed: number | string, kinds: Pair, relays: readonly number[] = [0, 5]): Cast {
  const world = new PathWorld(seed);
  const hosts = world.addRelays(...relays);
  const [a, b] = [world.clientBehind(kinds[0]), world.clientBehind(kinds[1])];
  world.introduceAll();
  return { world, a, b, relays: hosts };
}

function settled(seed: number, kinds: Pair, relays?: readonly number[]): Cast {
  const all = cast(seed, kinds, relays);
  assert(all.world.runUntil(joined(all.a, all.b), 2000) !== undefined);
  all.world.run(5000);
  return all;
}

function lieWith({ world, relays }: Cast, lie: Lie, index = 0): void {
  const relay = relays[index]!;
  relay.meddle = lie(relay, world, world.random.fork(`lies of ${index}`));
}

describe('a relay that', () => {
  for (const [name, lie, least] of lies) {
    test(`${name} from the beginning keeps nobody from talking`, () => {
      for (const kinds of [hard, easy]) {
        for (const seed of [1, 2]) {
          const all = cast(seed, kinds);
          const { world, a, b } = all;
          lieWith(all, lie);
          const tookMs = world.runUntil(joined(a, b), 10_000);
          assert(tookMs !== undefined && tookMs <= 2500, `seed ${seed}: ${tookMs} ms`);
          flows(all, `${kinds.join()}, seed ${seed}`);
        }
      }
    });

    test(`${name} suddenly costs less than two seconds`, () => {
      for (const seed of [1, 2, 3]) {
        const all = settled(seed, hard);
        const tookMs = recovery(all.world, all.a, all.b, () => lieWith(all, lie));
        assert(tookMs < 2000, `seed ${seed}: ${tookMs} ms`);
        flows(all, `seed ${seed}`, least);
      }
    });
  }
});

describe('a relay that alters what it carries', () => {
  const sloppy: readonly (readonly [name: string, lie: Lie])[] = [
    ['sends three copies', () => (bytes) => [bytes, bytes, bytes]],
    [
      'sends in another order',
      (relay, world, random) => (bytes, to) => {
        world.clock.in(random.below(150), () => relay.deliver(to, bytes));
        return nothing;
      },
    ],
    [
      'repeats what is old',
      (relay, world, random) => {
        const recorded: { readonly bytes: Uint8Array; readonly to: Source }[] = [];
        every(world, 20, () => {
          if (recorded.length === 0) return;
          const { bytes, to } = random.pick(recorded);
          relay.deliver(to, bytes);
        });
        return (bytes, to) => {
          if (recorded.length < 2000) recorded.push({ bytes: new Uint8Array(bytes), to });
          return [bytes];
        };
      },
    ],
    [
      'says that each client is somewhere else',
      (relay) => (bytes, to) => {
        const message = decodeRelay(bytes);
        if (message?.type !== 'allocated' && message?.type !== 'refreshed') return [bytes];
        const observed = { address: '198.51.100.222', port: 53 };
        return relay.say(to, () => ({ ...message, observed })) ? nothing : [bytes];
      },
    ],
    [
      'says all the time that data comes from elsewhere',
      (relay, world, random) => {
        const crypto = deterministicCrypto(nodeCrypto, random);
        every(world, 10, () => {
          for (const place of relay.places.values()) {
            const token = relay.tokenAt(place)!;
            const transaction = movedTransaction(crypto, token);
            const cookie = crypto.random(16);
            relay.deliver(place, encodePlainRelay({ type: 'challenge', transaction, cookie }));
          }
        });
        return undefined;
      },
    ],
  ];
  for (const [name, lie] of sloppy) {
    test(`${name} gains nothing by it`, () => {
      for (const kinds of [hard, easy]) {
        const all = cast(1, kinds, [0]);
        const { world, a, b } = all;
        lieWith(all, lie);
        assert(world.runUntil(joined(a, b), 5000) !== undefined);
        const before = a.relayMachine.counters();
        const [asked, lost] = [before.requests, before.losses];
        flows(all, kinds.join());
        const { requests, losses } = a.relayMachine.counters();
        assert.equal(losses, lost, 'the allocation is kept');
        // A refresh a second at most.
        assert(requests - asked <= flowMs / 1000 + 5, `${requests - asked} requests`);
        for (const { told } of [a, b]) assert(!JSON.stringify(told).includes('198.51.100.222'));
      }
    });
  }
});

test('two relays that forward nothing are both left for one that does', () => {
  const forwardsNothing = lies.find(([name]) => name.includes('forwards nothing'))![1];
  for (const seed of [1, 2, 3]) {
    const all = cast(seed, hard, [0, 5, 40]);
    const { world, a, b } = all;
    for (const index of [0, 1]) lieWith(all, forwardsNothing, index);
    const tookMs = world.runUntil(joined(a, b), 30_000);
    assert(tookMs !== undefined && tookMs <= 5000, `seed ${seed}: ${tookMs} ms`);
    flows(all, `seed ${seed}`);
  }
  const all = settled(1, hard, [0, 5, 40]);
  const tookMs = recovery(all.world, all.a, all.b, () => {
    for (const index of [0, 1]) lieWith(all, forwardsNothing, index);
  });
  assert(tookMs < 5000, `suddenly: ${tookMs} ms`);
});

test('who is no relay has no say: forged notices and errors change nothing', () => {
  const { world, a, b, relays } = settled(1, hard);
  const stranger = world.network.internet.host('stranger', ['203.0.113.66']);
  const crypto = deterministicCrypto(nodeCrypto, world.random.fork('stranger'));
  const [relay] = relays;
  const before = { ...a.relayMachine.counters() };
  let sent = 0;
  every(world, 5, () => {
    for (const place of relay!.places.values()) {
      const token = relay!.tokenAt(place)!;
      const transaction = crypto.random(12);
      const code = 'unknown-token';
      for (const bytes of [
        sealRelay(crypto, crypto.random(32), { type: 'draining', token, graceSeconds: 1 }),
        encodePlainRelay({ type: 'error', transaction, code }),
        sealRelay(crypto, crypto.random(32), {
          ...{ type: 'allocated', transaction, token: 1n, lifetimeSeconds: 1 },
          observed: { address: '198.51.100.222', port: 53 },
        }),
      ]) {
        sent += 1;
        // By the relay's address, as somebody would who can forge sources.
        relay!.deliver(place, bytes);
        if (place.kind === 'udp') stranger.send(3480, place.endpoint, bytes);
      }
    }
  });
  world.run(30_000);
  const { losses, forged, unmatched } = a.relayMachine.counters();
  assert(sent > 10_000);
  assert.equal(losses, before.losses);
  assert(forged - before.forged > 1000 && unmatched - before.unmatched > 1000);
  assert(joined(a, b)());
  assert.equal(a.machine.counters().pathsLost + a.machine.counters().pathsChanged, 0);
});

test('a flood from a relay leaves nothing behind', () => {
  const all = settled(1, hard);
  const { world, a, b, relays } = all;
  const random = world.random.fork('flood');
  const before = a.machine.counters().requestsSent;
  for (let i = 0; i < 20_000; i++) {
    const header = random.chance(0.5) ? deliveredPrefix(random.below(1_000_000_000)) : nothing8;
    const bytes = Buffer.concat([header, random.bytes(random.below(1400))]);
    for (const place of relays[0]!.places.values()) relays[0]!.deliver(place, bytes);
    if (i % 20 === 0) world.run(1);
  }
  world.run(1000);
  assert.equal(a.viewOf(b).candidates.length, settled(1, hard).a.viewOf(b).candidates.length);
  assert(a.machine.counters().requestsSent - before < 20, 'nothing was set off by it');
  flows(all, 'afterwards');
});

test('a relay that poses as the direct way is left when it drops what it carries there', () => {
  const all = cast(1, ['full-cone', 'full-cone']);
  const { world, a, b, relays } = all;
  const [relay] = relays;
  // Nothing passes directly; what one sends over the relay reaches the other one from a port that is no relay's, and what comes back
  // there goes on: a hop, as routers are.
  world.network.drop = world.dropDirect;
  const places = new Map<number, Endpoint>();
  let passes = true;
  const hop = (from: number) => 50_000 + from;
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    relay!.host.bind(hop(to.index), (bytes) => {
      const place = places.get(to.index);
      if (passes && place !== undefined) relay!.host.send(hop(from.index), place, bytes);
    });
  }
  relay!.meddle = (bytes, to) => {
    if (!isForwarded(bytes) || to.kind !== 'udp') return [bytes];
    const payload = relayType(bytes) === 'delivered' ? bytes.subarray(deliveredPrefixBytes) : bytes;
    for (const [client, place] of relay!.places) {
      if (place.kind !== 'udp') continue;
      places.set(client, place.endpoint);
      if (sameEndpoint(place.endpoint, to.endpoint)) continue;
      // To the receiver, from the port that stands for the sender.
      relay!.host.send(hop(client), to.endpoint, payload);
    }
    return [bytes];
  };
  const isPosed = () =>
    [a.pathTo(b), b.pathTo(a)].every((path) => (path?.remote.port ?? 0) >= 50_000);
  stream(world, a, b, 50);
  stream(world, b, a, 50);
  assert(world.runUntil(isPosed, 60_000) !== undefined, 'it is taken for the direct way');
  const tookMs = recovery(world, a, b, () => {
    passes = false;
  });
  assert(tookMs < 2000, `${tookMs} ms`);
  assert.equal(a.machine.counters().pathsLost, 0);
});

test('in a whole world with relays that copy, repeat and damage nothing is accepted twice', async () => {
  const lie = (relay: RelayHost, random: Random): Meddle => {
    const recorded: Uint8Array[] = [];
    return (bytes) => {
      if (recorded.length < 1000) recorded.push(new Uint8Array(bytes));
      const damaged = new Uint8Array(bytes);
      damaged[random.below(damaged.length)]! ^= 1;
      for (const place of relay.places.values()) relay.deliver(place, random.pick(recorded));
      return [damaged, bytes, bytes];
    };
  };
  let forwarded = 0;
  const { deliveries } = await runWorld({
    ...{ seed: 'lying relays', steps: 20, members: 5 },
    meddle: ({ relays, random }) => {
      for (const relay of relays.values()) {
        relay.meddle = lie(relay, random.fork(`lies of ${relay.id}`));
        const { meddle } = relay;
        relay.meddle = (bytes, to) => {
          forwarded += isForwarded(bytes) ? 1 : 0;
          return meddle(bytes, to);
        };
      }
    },
  });
  assert(deliveries > 300 && forwarded > 300, `${deliveries} delivered, ${forwarded} forwarded`);
});

const nothing8 = new Uint8Array(0);
const flowMs = 20_000;

/** Data goes both ways, with few interruptions. */
function flows({ world, a, b }: Cast, what: string, least = 0.95): void {
  const streams = [stream(world, a, b, 50), stream(world, b, a, 50)] as const;
  world.run(5000);
  const before = [count(a, b), count(b, a), streams[0].sent, streams[1].sent] as const;
  const changes = a.machine.counters().pathsChanged;
  world.run(flowMs);
  for (const [i, [from, to]] of [
    [a, b],
    [b, a],
  ].entries()) {
    const arrived = count(from!, to!) - before[i]!;
    const sent = streams[i]!.sent - before[i + 2]!;
    assert(sent >= flowMs / 50 - 5, `${what}: ${sent} left`);
    assert(arrived >= least * sent, `${what}: ${arrived} of ${sent} arrived`);
  }
  const flaps = a.machine.counters().pathsChanged - changes;
  assert(flaps <= 4, `${what}: the path changed ${flaps} times`);
  for (const { stop } of streams) stop();
}
