/** Data between two clients of a `PathWorld`, and what tests of paths and of relays ask about it. */
import assert from 'node:assert/strict';
import type { PathClient, PathWorld } from './path-world.ts';

export const joined = (a: PathClient, b: PathClient) => () =>
  a.pathTo(b) !== undefined && b.pathTo(a) !== undefined;

/** A packet of the data plane every `everyMs`, until stopped; how many have left. */
export function stream(world: PathWorld, from: PathClient, to: PathClient, everyMs: number) {
  let on = true;
  let sent = 0;
  const next = () => {
    if (!on) return;
    if (from.sendData(to)) sent += 1;
    world.clock.in(everyMs, next);
  };
  next();
  return {
    get sent() {
      return sent;
    },
    stop: () => {
      on = false;
    },
  };
}

/** Packets that arrived. */
export const count = (from: PathClient, to: PathClient) => to.received.get(from.index) ?? 0;

/** How long until data of both directions flows again after `fault`. */
export function recovery(
  world: PathWorld,
  a: PathClient,
  b: PathClient,
  fault: () => void,
): number {
  stream(world, a, b, 20);
  stream(world, b, a, 20);
  world.run(3000);
  fault();
  world.run(200);
  const before = [count(a, b), count(b, a)] as const;
  const tookMs = world.runUntil(
    () => count(a, b) > before[0] + 5 && count(b, a) > before[1] + 5,
    20_000,
  );
  assert(tookMs !== undefined, 'data never flows again');
  return tookMs + 200;
}
