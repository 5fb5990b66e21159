/** A cluster of real parts under random operations and random faults, for as long as wanted. */
import { Store } from '#server/store/store.ts';
import { Random } from '../../sim/random.ts';
import { runHistory } from '../support/cluster-history.ts';
import { ClusterWorld } from '../support/cluster-world.ts';
import { nightlyOptions, say } from './options.ts';

const clientCount = 16;
const networkCount = 4;
const roundSeconds = 120;
const defaultHours = 0.5;

const { seed = Date.now(), hours = defaultHours } = nightlyOptions();
const until = performance.now() + hours * 3_600_000;
for (let round = 0; performance.now() < until; round++) {
  say(`seed ${seed + round}`);
  await using world = await ClusterWorld.start(3, { isApart: round % 2 === 1 });
  await using store = await Store.open(world.store);
  const networks = await world.populate(clientCount, networkCount);
  const random = new Random(seed + round);
  await runHistory({ world, store, networks, random, seconds: roundSeconds, say });
}
