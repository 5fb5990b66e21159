/** Level 3: how soon traffic flows again after a fault, through everything that a member is made of. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatEndpoint } from '#wire/endpoint.ts';
import type { NatKind } from '../lab/nat-kinds.ts';
import type { Daemon } from './world/daemon.ts';
import { People } from './world/people.ts';
import { World } from './world.ts';

const everyMs = 20;
/** Traffic without a longer gap flows. */
const gapMs = 300;
const steadyMs = 1000;

interface Healed {
  readonly trafficMs: number | undefined;
  readonly directMs: number | undefined;
}

/** Two members who talk all the time. */
class Talk implements AsyncDisposable {
  readonly world: World;

  private constructor(world: World) {
    this.world = world;
  }

  static async open(seed: string, kind: NatKind): Promise<Talk> {
    const world = await World.open({ seed, members: 3, everywhere: kind });
    const talk = new Talk(world);
    const people = new People(world);
    // The third is a place to go to.
    for (const daemon of [talk.a, talk.b]) daemon.start();
    await world.advance(3000);
    people.gather();
    await world.advance(500);
    people.joinFirst(talk.b);
    talk.#chat();
    await world.advance(40_000);
    return talk;
  }

  get a(): Daemon {
    return this.world.daemons[0]!;
  }

  get b(): Daemon {
    return this.world.daemons[1]!;
  }

  /** Whether both see it so. */
  get isDirect(): boolean {
    return [this.a, this.b].every((daemon) => {
      const { manager } = daemon.member!;
      return [...manager.peers.values()].every((peer) => manager.pathView(peer).kind === 'direct');
    });
  }

  /** How `a` reaches `b`. */
  get view() {
    const { manager } = this.a.member!;
    const [peer] = manager.peers.values();
    return manager.pathView(peer!);
  }

  /** From now on: until the last gap is over, and until both say that the path is direct. */
  async healed(boundMs = 30_000): Promise<Healed> {
    const { world } = this;
    const since = world.clock.monotonic;
    const steady: (number | undefined)[] = [undefined, undefined];
    let trafficMs: number | undefined;
    let directMs: number | undefined;
    while (world.clock.monotonic - since < boundMs) {
      await world.advance(everyMs);
      const now = world.clock.monotonic;
      for (const [index, at] of this.#heardAt().entries()) {
        const isFlowing = at > since && now - at < gapMs;
        steady[index] = isFlowing ? (steady[index] ?? at) : undefined;
      }
      const [one, other] = steady;
      if (one !== undefined && other !== undefined && trafficMs === undefined) {
        const at = Math.max(one, other);
        if (now - at > steadyMs) trafficMs = at - since;
      }
      if (trafficMs !== undefined && this.isDirect) directMs ??= now - since;
      if (trafficMs !== undefined && directMs !== undefined) break;
    }
    return { trafficMs, directMs };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.world[Symbol.asyncDispose]();
  }

  #heardAt(): number[] {
    const [a, b] = [this.a.clientId, this.b.clientId];
    return [`${a} ${b}`, `${b} ${a}`].map((way) => this.world.lastDelivery.get(way) ?? 0);
  }

  #chat(): void {
    const { world, a, b } = this;
    const next = () => {
      if (!a.isAsleep) world.say(a, b);
      if (!b.isAsleep) world.say(b, a);
      world.clock.in(everyMs, next);
    };
    next();
  }
}

/** By the time the sleeper notices nothing is left of what there was: no keys, allocations, mappings or connection to the server. */
for (const kind of ['port-restricted', 'symmetric'] as const) {
  test(`after 10 minutes of sleep behind ${kind} traffic flows again within 2 s`, async () => {
    for (const who of ['a', 'b'] as const) {
      await using talk = await Talk.open(`sleep ${who}`, kind);
      talk[who].sleep();
      await talk.world.advance(600_000);
      talk[who].wake(1000);
      const { trafficMs } = await talk.healed();
      assert.ok(trafficMs !== undefined && trafficMs <= 2000, `${trafficMs} ms, ${who} slept`);
    }
  });
}

/** Traffic within 2 s, and directly again within 5 s where it was direct and can be. */
const faults: readonly {
  readonly name: string;
  readonly kind: NatKind;
  readonly isDirect: boolean;
  readonly healsDirectly: boolean;
  readonly begin: (talk: Talk) => void;
}[] = [
  {
    name: 'a router that forgets everything',
    ...{ kind: 'port-restricted', isDirect: true, healsDirectly: true },
    begin: ({ a }) => {
      a.site.home.reboot();
      a.link?.wire?.vanish();
    },
  },
  {
    name: 'another network with another address',
    ...{ kind: 'port-restricted', isDirect: true, healsDirectly: true },
    begin: ({ world, a, b }) => {
      const site = world.sites.find((each) => each !== a.site && each !== b.site);
      assert.ok(site !== undefined, 'a world has a third site');
      a.move(site);
    },
  },
  {
    name: 'a black hole between the two',
    ...{ kind: 'port-restricted', isDirect: true, healsDirectly: false },
    begin: ({ world, a, b }) => {
      world.blackHoles.add(`${a.site.index} ${b.site.index}`);
      world.blackHoles.add(`${b.site.index} ${a.site.index}`);
    },
  },
  {
    name: 'a relay that is killed',
    ...{ kind: 'symmetric', isDirect: false, healsDirectly: false },
    begin: ({ world, view }) => {
      const used = [...world.relays.values()].find(
        ({ endpoint }) => formatEndpoint(endpoint) === view.endpoint,
      );
      assert.ok(used !== undefined, `a relay is at ${view.endpoint}`);
      used.kill();
    },
  },
];

for (const { name, kind, isDirect, healsDirectly, begin } of faults) {
  test(`after ${name} traffic flows again within 2 s`, async () => {
    for (const seed of [1, 2, 3]) {
      await using talk = await Talk.open(`${name} ${seed}`, kind);
      assert.equal(talk.isDirect, isDirect);
      begin(talk);
      const { trafficMs, directMs } = await talk.healed(healsDirectly ? 10_000 : 5000);
      assert.ok(trafficMs !== undefined && trafficMs <= 2000, `${trafficMs} ms (seed ${seed})`);
      if (healsDirectly) assert.ok(directMs !== undefined && directMs <= 5000, `${directMs} ms`);
    }
  });
}
