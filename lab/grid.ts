/**
 * What works between which NATs, measured with the real programs:
 *
 *     npm run grid -- --pairs port-restricted:symmetric,none:none --runs 100 --delay 20
 *     npm run grid -- --scenario nat-reboot --pairs port-restricted:port-restricted --runs 20
 *     npm run grid -- --bar --runs 100 --jobs 6  pairs that something has to hold for (grid-bar.ts)
 *     npm run grid -- --all --runs 10 --jobs 6   every pair of kinds, six of them at a time
 *     npm run grid -- --report                   tables from the results so far, in Markdown
 *
 * Each run adds a line of JSON to the results; runs that are there already are not made again. Pairs that
 * are measured side by side have a laboratory each: with 20 ms of delay one alone leaves the machine idle. With
 * `--all` a laboratory has members behind NATs of every kind, of whom two at a time are online.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { repositoryRoot } from './exec.ts';
import { barPairs } from './grid-bar.ts';
import { GridHall, GridPair } from './grid-pair.ts';
import {
  measureRecovery,
  type RecoveryScenario,
  recoveryNeeds,
  recoveryScenarios,
} from './grid-recovery.ts';
import { type Result, reportOf } from './grid-report.ts';
import { measureMeeting } from './grid-run.ts';
import { type GridTask, planOf } from './grid-tasks.ts';
import { Lab } from './lab.ts';
import { canBeGuessed, type NatKind, natKind, natKinds } from './nat-kinds.ts';
import { nativeSkipReason } from './native.ts';
import { labSkipReason } from './needs.ts';

const { values } = parseArgs({
  options: {
    pairs: { type: 'string' },
    all: { type: 'boolean', default: false },
    bar: { type: 'boolean', default: false },
    runs: { type: 'string', default: '10' },
    delay: { type: 'string', default: '20' },
    scenario: { type: 'string', default: 'meet' },
    results: { type: 'string', default: join(repositoryRoot, 'build', 'grid.jsonl') },
    /** How long a direct path may take where ports have to be guessed, and where not. */
    'guess-seconds': { type: 'string', default: '15' },
    'direct-seconds': { type: 'string', default: '5' },
    /** Pairs that are measured at the same time. */
    jobs: { type: 'string', default: '1' },
    /** A laboratory takes as long to build as some runs, and is used for so many. */
    'lab-runs': { type: 'string', default: '20' },
    /** No run begins later than that after the start. */
    seconds: { type: 'string', default: '86400' },
    report: { type: 'boolean', default: false },
  },
});

const missing = labSkipReason() || nativeSkipReason();
if (values.report) process.stdout.write(reportOf(readResults()));
else if (missing !== false) throw new Error(missing);
else await main();

async function main(): Promise<void> {
  mkdirSync(dirname(values.results), { recursive: true });
  const scenario = parseScenario(values.scenario);
  const delayMs = parseNumber(values.delay, 'delay', 0);
  const runs = parseNumber(values.runs, 'runs', 1);
  const runsOfTask = parseNumber(values['lab-runs'], 'lab-runs', 1);
  const jobs = parseNumber(values.jobs, 'jobs', 1);
  const until = performance.now() + parseNumber(values.seconds, 'seconds', 1) * 1000;
  const done = new Set(readResults().map(keyOf));
  const tasks = planOf(parsePairs(), { runs, runsOfTask }, (a, b, run) =>
    done.has(keyOf({ scenario, a, b, run, delayMs })),
  );
  const work = async () => {
    if (values.all && scenario === 'meet') return await meetInHalls(tasks, delayMs, until);
    for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
      if (performance.now() > until) return;
      await perform(task, scenario, delayMs, until).catch((error) => {
        // The others go on; a later command makes these runs again.
        console.error(task.a, task.b, error);
        process.exitCode = 1;
      });
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
}

/** Takes pairs off the list and measures them in one laboratory, as long as that works. */
async function meetInHalls(tasks: GridTask[], delayMs: number, until: number): Promise<void> {
  while (tasks.length > 0 && performance.now() < until) {
    try {
      await using lab = await Lab.create();
      const hall = await GridHall.create(lab, kindsOf(tasks), { delayMs });
      for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
        const { a, b, runs } = task;
        const pair = hall.pair(a, b);
        for (const run of runs) {
          if (performance.now() > until) return;
          record(await measureMeeting(pair, { a, b, run, delayMs }, boundMs(a, b)));
        }
        pair.pause();
        await pair.part();
      }
    } catch (error) {
      console.error(error);
      process.exitCode = 1;
    }
  }
}

/** Those who are needed, each kind that meets itself twice. */
function kindsOf(tasks: readonly GridTask[]): NatKind[] {
  const needed = tasks.flatMap(({ a, b }) => [a, b]);
  const meetingThemselves = tasks.flatMap(({ a, b }) => (a === b ? [a] : []));
  return [...new Set(needed), ...new Set(meetingThemselves)];
}

function record(result: Result): void {
  appendFileSync(values.results, `${JSON.stringify(result)}\n`);
  console.log(JSON.stringify(result));
}

async function perform(
  { a, b, runs }: GridTask,
  scenario: 'meet' | RecoveryScenario,
  delayMs: number,
  until: number,
): Promise<void> {
  await using lab = await Lab.create();
  const pair = await GridPair.create(lab, [a, b], {
    delayMs,
    ...(scenario === 'meet' ? {} : recoveryNeeds[scenario]),
  });
  for (const run of runs) {
    if (performance.now() > until) return;
    const about = { a, b, run, delayMs };
    const result =
      scenario === 'meet'
        ? await measureMeeting(pair, about, boundMs(a, b))
        : await measureRecovery(pair, scenario, about);
    record(result);
  }
}

function boundMs(a: NatKind, b: NatKind): number {
  const isGuessed = canBeGuessed(natKind(a), natKind(b));
  return parseNumber(values[isGuessed ? 'guess-seconds' : 'direct-seconds'], 'seconds', 1) * 1000;
}

function keyOf({ scenario, a, b, run, delayMs }: Omit<Result, 'kinds' | 'kindBefore'>): string {
  return [scenario, a, b, run, delayMs].join(' ');
}

function readResults(): Result[] {
  if (!existsSync(values.results)) return [];
  // The last line of a run that was killed may be half of one.
  const lines = readFileSync(values.results, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line));
}

function parsePairs(): (readonly [NatKind, NatKind])[] {
  const names = natKinds.map(({ name }) => name);
  if (values.bar) return barPairs();
  if (values.all) return names.flatMap((a, i) => names.slice(i).map((b) => [a, b] as const));
  const isKind = (name: string | undefined): name is NatKind => names.some((kind) => kind === name);
  return (values.pairs ?? '').split(',').map((text) => {
    const [a, b, ...rest] = text.split(':');
    if (!isKind(a) || !isKind(b) || rest.length > 0) {
      throw new Error(`'${text}' is no pair of kinds; they are ${names.join(', ')}`);
    }
    return [a, b] as const;
  });
}

function parseScenario(text: string): 'meet' | RecoveryScenario {
  const known = ['meet', ...recoveryScenarios] as const;
  const scenario = known.find((name) => name === text);
  if (scenario === undefined) throw new Error(`no scenario '${text}': ${known.join(', ')}`);
  return scenario;
}

function parseNumber(text: string, name: string, least: number): number {
  const value = Number(text);
  if (!(value >= least)) throw new Error(`--${name} ${text}: a number from ${least} on`);
  return value;
}
