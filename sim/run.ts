/** Runs a world: `node sim/run.ts --seed N [--steps N] [--members N] [--count N] [--verbose]`. */
import { parseArgs } from 'node:util';
import { runWorld } from './world/run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '120' },
    members: { type: 'string', default: '20' },
    /** So many seeds, counted up from the first. */
    count: { type: 'string', default: '1' },
    verbose: { type: 'boolean', default: false },
  },
});

function whole(name: 'seed' | 'steps' | 'members' | 'count'): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} is a whole number, not ${values[name]}`);
  process.exit(2);
}

const [first, steps, members, count] = [
  whole('seed'),
  whole('steps'),
  whole('members'),
  whole('count'),
];
let failures = 0;
for (let seed = first; seed < first + count; seed++) {
  const startedAt = performance.now();
  const onLine = values.verbose ? (line: string) => console.log(line) : undefined;
  const seconds = () => ((performance.now() - startedAt) / 1000).toFixed(1);
  try {
    const result = await runWorld({ seed, steps, members, ...(onLine ? { onLine } : {}) });
    const { events, datagrams, deliveries, packets, virtualMs, healedMs, digest } = result;
    console.log(
      `seed ${seed}: ${seconds()} s for ${(virtualMs / 1000).toFixed(0)} s; ${events} events, ` +
        `${datagrams} datagrams, ${deliveries} of ${packets} packets delivered; agreed after ` +
        `${healedMs.map((ms) => `${ms / 1000}`).join(', ')} s; ${digest.slice(0, 16)}`,
    );
    if (values.verbose) console.log(Object.fromEntries(result.answers));
  } catch (error) {
    failures += 1;
    console.error(`seed ${seed} failed after ${seconds()} s: ${(error as Error).message}`);
  }
}
process.exit(failures === 0 ? 0 : 1);
