import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { generateKeyPair } from '#core/noise/handshake-state.ts';
import type { Path } from '#core/path/path.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { VirtualClock } from '../../../sim/clock.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { TunnelEnd } from '../../../sim/tunnel-end.ts';
import type { PskCandidate } from './events.ts';

type Side = 0 | 1;
type Action =
  | { readonly kind: 'send' | 'restart' | 'move' | 'noise'; readonly side: Side }
  | { readonly kind: 'rekey' | 'path'; readonly side: Side }
  | { readonly kind: 'wall'; readonly byMs: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | {
      readonly kind: 'link';
      readonly loss: number;
      readonly twice: number;
      readonly spread: number;
    };

const side = fc.constantFrom<Side>(0, 1);
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('send' as const), side }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.oneof(
        fc.integer({ min: 0, max: 50 }),
        fc.integer({ min: 50, max: 20_000 }),
        fc.constantFrom(119_990, 120_000, 165_000, 180_000, 300_000),
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('link' as const),
      loss: fc.constantFrom(0, 0.1, 0.5, 1),
      twice: fc.constantFrom(0, 0.3),
      spread: fc.constantFrom(0, 20, 400),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom('restart' as const, 'move' as const, 'noise' as const),
      side,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('rekey' as const, 'path' as const), side }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('wall' as const),
      byMs: fc.integer({ min: -1e9, max: 1e9 }),
    }),
  },
);

const peer = 1;
const candidates: readonly PskCandidate[] = [
  { psk: new Uint8Array(32).fill(4), suite: 'aes256gcm' },
];
/** A retransmission, a late keepalive and the handshake that its absence starts. */
const healMs = 40_000;

/** Two ends over a link that loses, repeats, delays and forges. */
class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly ends: TunnelEnd[] = [];
  readonly #crypto;
  readonly #keys;
  readonly #addresses = ['192.0.2.1', '192.0.2.2'];
  #moves = 0;
  #link = { loss: 0, twice: 0, spread: 0 };
  #sent = 0;
  readonly #recorded: Uint8Array[] = [];

  constructor(seed: number) {
    this.random = new Random(seed);
    this.#crypto = deterministicCrypto(nodeCrypto, this.random.fork('crypto'));
    this.#keys = [generateKeyPair(this.#crypto), generateKeyPair(this.#crypto)];
    for (const side of [0, 1] as const) this.#start(side);
  }

  do(action: Action): void {
    switch (action.kind) {
      case 'send':
        this.send(action.side);
        break;
      case 'wait':
        this.clock.run(action.ms);
        break;
      case 'link':
        this.#link = action;
        break;
      case 'wall':
        this.clock.stepWall(action.byMs);
        break;
      case 'move':
        this.#addresses[action.side] = `198.51.100.${++this.#moves % 250}`;
        break;
      case 'rekey':
        this.ends[action.side]!.handle({ kind: 'rekey', peer });
        break;
      case 'path':
        this.ends[action.side]!.setPath(peer, this.#pathTo(action.side));
        break;
      case 'restart':
        this.ends[action.side]!.stop();
        this.#start(action.side, this.ends[action.side]!.lastTimestamp);
        break;
      case 'noise':
        this.#forge(action.side);
        break;
      default:
        action satisfies never;
    }
  }

  send(side: Side): void {
    const packet = new Uint8Array(16);
    new DataView(packet.buffer).setUint32(0, ++this.#sent);
    this.ends[side]!.send(peer, packet);
  }

  /** The link is good again, and a path machine has told both where the other is. */
  heal(): void {
    this.#link = { loss: 0, twice: 0, spread: 0 };
    for (const side of [0, 1] as const) this.ends[side]!.setPath(peer, this.#pathTo(side));
  }

  check(): void {
    for (const end of this.ends) {
      assert.ok(end.keypairs.size <= 3, 'at most three keypairs');
      const deadline = end.tunnels.deadline();
      if (deadline !== undefined) assert.ok(deadline >= this.clock.monotonic, 'no late deadline');
      const packets = end.received.map(({ packet }) => Buffer.from(packet).readUInt32BE(0));
      assert.equal(new Set(packets).size, packets.length, 'no packet arrives twice');
      for (const packet of packets) assert.ok(packet >= 1 && packet <= this.#sent);
    }
  }

  #start(side: Side, lastTimestamp?: Uint8Array): void {
    const end = new TunnelEnd({
      clock: this.clock,
      crypto: this.#crypto,
      keyPair: this.#keys[side]!,
      transmit: (bytes, to) => this.#transmit(side, bytes, to),
      ...(lastTimestamp === undefined ? {} : { lastTimestamp }),
    });
    this.ends[side] = end;
    const other = this.#keys[1 - side]!.publicKey;
    end.addPeer(peer, other, candidates, this.#pathTo(side), 25_000);
  }

  #pathTo(side: Side): Path {
    return { socket: 0, remote: { address: this.#addresses[1 - side]!, port: 1000 } };
  }

  #transmit(side: Side, bytes: Uint8Array, to: Path): void {
    const { loss, twice, spread } = this.#link;
    if (this.#recorded.length < 50) this.#recorded.push(bytes);
    const from = { socket: 0, remote: { address: this.#addresses[side]!, port: 1000 } };
    const copies = this.random.chance(twice) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.random.chance(loss)) continue;
      this.clock.in(1 + this.random.below(spread + 1), () => {
        if (to.remote.address !== this.#addresses[1 - side]) return;
        this.ends[1 - side]!.receive(bytes, from);
      });
    }
  }

  /** Somebody on the way replays old datagrams, with and without a changed bit, from elsewhere. */
  #forge(side: Side): void {
    for (const bytes of this.#recorded.splice(0, 20)) {
      const forged = bytes.slice();
      if (this.random.chance(0.5)) forged[this.random.below(forged.length)]! ^= 1;
      const from = { socket: 0, remote: { address: '203.0.113.66', port: 666 } };
      this.ends[side]!.receive(forged, from);
    }
  }
}

test('after any schedule of loss, repetition, restarts, moves and clock steps both ends talk again', () => {
  fc.assert(
    fc.property(fc.integer(), fc.array(action, { maxLength: 40, size: 'max' }), (seed, actions) => {
      const world = new World(seed);
      for (const step of actions) {
        world.do(step);
        world.check();
      }
      world.heal();
      const talk = (side: Side) => {
        world.send(side);
        world.clock.run(500);
      };
      for (let ms = 0; ms < healMs; ms += 1000) {
        talk(0);
        talk(1);
      }
      const before = world.ends.map(({ received }) => received.length);
      talk(0);
      talk(1);
      world.check();
      assert.equal(world.ends[0]!.received.length, before[0]! + 1, 'the first end hears');
      assert.equal(world.ends[1]!.received.length, before[1]! + 1, 'the second end hears');
    }),
    { numRuns: 60 },
  );
});

test('a run is a function of its seed', () => {
  const run = () => {
    const world = new World(42);
    for (const step of fc.sample(action, { seed: 42, numRuns: 60 })) world.do(step);
    return world.ends.map(({ outputs, received }) => [outputs.length, received.length]);
  };
  assert.deepEqual(run(), run());
});
