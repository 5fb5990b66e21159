/** Level 3: the whole of Buri from a seed, under virtual time. More seeds: `node sim/run.ts --seed N --count N`. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Mesh } from '#core/mesh/mesh.ts';
import { NetworkView } from '#core/mesh/network-view.ts';
import { ReplayWindow } from '#core/session/replay.ts';
import { marker } from './world/packets.ts';
import { type RunOptions, runWorld, WorldFailure } from './world/run.ts';
import { Violation } from './world/trace.ts';

test('20 members, whatever goes wrong, agree and talk once it is put right', async () => {
  const result = await runWorld({ seed: 1, steps: 40, members: 20 });
  assert(result.deliveries > 2000, `${result.deliveries} packets were delivered`);
  assert(result.healedMs.length >= 2);
});

for (const seed of [2, 3, 4]) {
  test(`so do the members of a smaller world, for longer (seed ${seed})`, async () => {
    const { deliveries, virtualMs } = await runWorld({ seed, steps: 100, members: 7 });
    assert(deliveries > 500, `${deliveries} packets were delivered`);
    assert(virtualMs > 150_000, 'old keys were replaced meanwhile');
  });
}

test('a run is a function of its seed, down to every byte on every link', async () => {
  const small = { steps: 20, members: 5 };
  const first = await runWorld({ seed: 'again', ...small });
  const second = await runWorld({ seed: 'again', ...small });
  const other = await runWorld({ seed: 'another', ...small });
  assert.deepEqual(second, first);
  assert.notEqual(other.digest, first.digest);
});

describe('the world notices', () => {
  const small = { seed: 7, steps: 40, members: 4 };

  async function failureOf(options: Partial<RunOptions>): Promise<WorldFailure> {
    try {
      await runWorld({ ...small, ...options });
    } catch (error) {
      assert(error instanceof WorldFailure && error.cause instanceof Violation, String(error));
      return error;
    }
    assert.fail('nothing was noticed');
  }

  /** Replaces a method of a machine for the time of a run. */
  async function sabotage<T extends object, K extends keyof T>(
    target: T,
    method: K,
    make: (original: T[K]) => T[K],
    options: Partial<RunOptions> = {},
  ): Promise<WorldFailure> {
    const original = target[method];
    target[method] = make(original);
    try {
      return await failureOf(options);
    } finally {
      target[method] = original;
    }
  }

  test('a packet in the clear, and tells how to see that again', async () => {
    const failure = await failureOf({
      meddle: ({ clock, network }) => {
        const [source, destination] = ['198.51.100.1', '198.51.100.2'].map((address) => ({
          address,
          port: 9,
        }));
        const packet = { source: source!, destination: destination!, bytes: marker, ttl: 64 };
        clock.in(2000, () => network.internet.send(packet));
      },
    });
    assert.match(failure.message, /in the clear/);
    assert.match(failure.message, /node sim\/run.ts --seed 7 --steps 40 --members 4/);
    assert.match(failure.message, /last events:\n( {2}[0-9.]+ .*\n){20}/);
  });

  test('a replay window with a hole', async () => {
    const failure = await sabotage(ReplayWindow.prototype, 'isFresh', () => () => true);
    assert.match(failure.message, /accepted twice/);
  });

  test('members that go on talking to one who was evicted', async () => {
    const { applyRemoved } = Mesh.prototype;
    const deaf = { resync: [], removed: [] };
    Mesh.prototype.applyRemoved = () => deaf;
    try {
      const evict: RunOptions['meddle'] = ({ daemons }) => {
        const [owner, evicted] = daemons;
        const [network] = [...owner!.member!.networks.keys()];
        const operation = { op: 'evict', network: network!, clientId: evicted!.clientId! } as const;
        owner!.link!.request(operation, () => {});
      };
      const failure = await sabotage(
        NetworkView.prototype,
        'applyChange',
        (apply) =>
          function (this: NetworkView, change) {
            if (change.op !== 'gone') apply.call(this, change);
          },
        { meddle: evict },
      );
      assert.match(failure.message, /the receiver knew that they share no network any more/);
    } finally {
      Mesh.prototype.applyRemoved = applyRemoved;
    }
  });

  test('a member that misses a change and does not ask', async () => {
    const failure = await sabotage(Mesh.prototype, 'applyDelta', () => () => ({
      resync: [],
      removed: [],
    }));
    assert.match(failure.message, /view: .* is r[0-9]+, not r[0-9]+/);
  });

  test('two members that could talk directly and use a relay', async () => {
    const failure = await failureOf({
      steps: 1,
      meddle: ({ network, sites }) => {
        network.drop = ({ source, destination }) =>
          sites[0]!.owns(source.address) && sites[1]!.owns(destination.address);
      },
    });
    assert.match(failure.message, /m0 reaches m1 by a relay|m1 reaches m0 by a relay/);
  });

  test('two members that could talk and do not', async () => {
    const failure = await failureOf({
      steps: 1,
      meddle: (world) => {
        const { network, sites } = world;
        for (const relay of world.relays.values()) relay.up = false;
        network.drop = ({ source, destination }) =>
          sites[0]!.owns(source.address) && sites[1]!.owns(destination.address);
      },
    });
    assert.match(failure.message, /m0 hears nothing of m1|m1 hears nothing of m0/);
  });
});
