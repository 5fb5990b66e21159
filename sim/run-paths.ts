/**
 * Runs scenarios of paths: `node sim/run-paths.ts [--seed N] [--count N] [--jobs N] [--verbose]`. Ends with 0 when everything held, and
 * traffic was back within two seconds after 95 of 100 faults.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { type Recovery, runScenario } from './scenario/run.ts';

/** Of all times after which traffic was back. */
const shareWithin = 0.95;
const withinMs = 2000;
/** Fewer say nothing of the share. */
const leastRecoveries = 200;

type Report =
  | { readonly recoveries: readonly Recovery[]; readonly failure?: undefined }
  | { readonly failure: string };

const option = { type: 'string' } as const;
const { values } = parseArgs({
  options: { seed: option, count: option, jobs: option, verbose: { type: 'boolean' } },
});

function whole(name: 'seed' | 'count' | 'jobs', otherwise: number): number {
  const value = Number(values[name] ?? otherwise);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  console.error(`--${name} is a whole number from 1, not ${values[name]}`);
  process.exit(2);
}

if (isMainThread) await main();
else worker();

async function main(): Promise<void> {
  const first = whole('seed', 1);
  const count = whole('count', 1);
  const jobs = Math.min(whole('jobs', availableParallelism()), count);
  const startedAt = performance.now();
  const recoveries: Recovery[] = [];
  let [next, done, failures] = [first, 0, 0];
  const take = (report: Report) => {
    done += 1;
    if (report.failure === undefined) recoveries.push(...report.recoveries);
    else {
      failures += 1;
      console.error(report.failure);
    }
    if (done % 500 === 0 || done === count) {
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
      console.log(`${done} of ${count} scenarios, ${failures} failed, ${seconds} s`);
    }
  };
  if (values.verbose === true) {
    for (let seed = first; seed < first + count; seed++) take(run(seed));
  } else {
    await Promise.all(Array.from({ length: jobs }, () => share(() => next++, first + count, take)));
  }
  const isSoon = summarise(recoveries);
  process.exit(failures === 0 && isSoon ? 0 : 1);
}

/** A worker that runs one seed after the other. */
function share(take: () => number, end: number, report: (report: Report) => void): Promise<void> {
  const thread = new Worker(new URL(import.meta.url));
  return new Promise((resolve, reject) => {
    const give = () => {
      const seed = take();
      if (seed < end) thread.postMessage(seed);
      else void thread.terminate().then(() => resolve());
    };
    thread.on('error', reject);
    thread.on('message', (message: Report) => {
      report(message);
      give();
    });
    give();
  });
}

function worker(): void {
  parentPort!.on('message', (seed: number) => parentPort!.postMessage(run(seed)));
}

function run(seed: number): Report {
  const onLine = values.verbose === true ? (line: string) => console.log(line) : undefined;
  try {
    const { recoveries } = runScenario({ seed, ...(onLine ? { onLine } : {}) });
    return { recoveries };
  } catch (error) {
    return { failure: `seed ${seed}: ${(error as Error).message}` };
  }
}

/** A table of how long traffic was away; false when that was too long too often. */
function summarise(recoveries: readonly Recovery[]): boolean {
  const byFault = Map.groupBy(recoveries, ({ fault }) => fault);
  for (const [fault, list] of [...byFault, ['all', recoveries] as const]) {
    const times = list.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
    const at = (share: number) =>
      (times[Math.floor(share * (times.length - 1))] ?? Number.NaN).toFixed(0).padStart(6);
    console.log(
      `${fault.padEnd(28)}${String(list.length).padStart(6)}  p50${at(0.5)}  p95${at(0.95)}  ` +
        `most${at(1)} ms`,
    );
  }
  if (recoveries.length < leastRecoveries) return true;
  const soon = recoveries.filter(({ tookMs }) => tookMs <= withinMs).length;
  return soon >= shareWithin * recoveries.length;
}
