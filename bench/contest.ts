import { writeFileSync } from 'node:fs';
import { type Contender, innerAddress } from './contenders.ts';
import {
  FIGURES,
  type FigureId,
  type Figures,
  machine,
  type Spread,
  spreadOf,
  spreadText,
  table,
} from './figures.ts';
import { type Subject, waitForAnswer } from './measure.ts';
import { makeBadLine, makePair, removePair } from './namespaces.ts';
import { SCENARIOS, type Scenario, type ScenarioId } from './scenarios.ts';

/** Contenders that take turns (A B C A B C …), because a machine is never the same twice. */
export interface Contest {
  readonly contenders: ReadonlyMap<string, Contender>;
  readonly scenarios: readonly ScenarioId[];
  readonly rounds: number;
  readonly seconds: number;
  /** Ratios are to this one, within each round. */
  readonly reference: string;
}

/** One figure of one contender in one scenario. */
export interface Result extends Spread {
  readonly scenario: string;
  readonly figure: FigureId;
  readonly title: string;
  readonly contender: string;
  readonly name: string;
  /** Of the ratios to the reference within each round; absent when there is none. */
  readonly ratio?: Spread;
  readonly rounds: readonly (number | null)[];
}

type Measured = Partial<Record<ScenarioId, Figures>>;
/** By contender. */
type Rounds = ReadonlyMap<string, Measured[]>;

/** Runs it, prints the table on standard output and progress on standard error. */
export async function runContest(contest: Contest, jsonFile?: string): Promise<Result[]> {
  const results: Result[] = [];
  for (const scenarios of groups(contest.scenarios)) {
    const rounds: Rounds = new Map([...contest.contenders].map(([id]) => [id, []]));
    for (let round = 1; round <= contest.rounds; round++) {
      for (const [id, contender] of contest.contenders) {
        const figures = await measureOnce(contest, scenarios, contender);
        rounds.get(id)!.push(figures);
        console.error(`round ${round}  ${scenarios.join('+')}  ${id}: ${brief(figures)}`);
      }
    }
    for (const scenario of scenarios) results.push(...resultsOf(contest, scenario, rounds));
  }
  console.log(tableOf(results, contest));
  const { rounds, seconds, reference } = contest;
  if (jsonFile !== undefined) {
    const json = { machine: machine(), rounds, seconds, reference, results };
    writeFileSync(jsonFile, `${JSON.stringify(json, null, 2)}\n`);
  }
  return results;
}

/** Scenarios of one cable share a tunnel. */
function groups(ids: readonly ScenarioId[]): ScenarioId[][] {
  const byCable = Map.groupBy(ids, (id) => {
    const { cable, family, faults }: Scenario = SCENARIOS[id];
    return `${cable} ${family} ${faults}`;
  });
  return [...byCable.values()];
}

async function measureOnce(
  contest: Contest,
  scenarios: readonly ScenarioId[],
  contender: Contender,
): Promise<Measured> {
  const measured: Measured = {};
  const { cable, family, faults }: Scenario = SCENARIOS[scenarios[0]!];
  if (!contender.families.includes(family)) return measured;
  const name = `bench${process.pid}`;
  const pair = faults === undefined ? makePair(name, cable) : await makeBadLine(name, faults);
  try {
    const tunnel = await contender.start(pair, family);
    try {
      const { seconds } = contest;
      const on: Subject = { pair, tunnel, address: innerAddress('b', family), family, seconds };
      await waitForAnswer(on);
      for (const id of scenarios) {
        const { probes }: Scenario = SCENARIOS[id];
        for (const probe of probes) measured[id] = { ...measured[id], ...(await probe(on)) };
      }
    } finally {
      await tunnel.stop();
    }
  } catch (error) {
    // One that fails must not cost the others their figures.
    console.error(`bench: ${contender.name}: ${error instanceof Error ? error.message : error}`);
  } finally {
    removePair(pair);
  }
  return measured;
}

function resultsOf(contest: Contest, scenario: ScenarioId, rounds: Rounds): Result[] {
  const reference = rounds.get(contest.reference);
  const results: Result[] = [];
  for (const figure of Object.keys(FIGURES) as FigureId[]) {
    for (const [contender, { name }] of contest.contenders) {
      const values = rounds.get(contender)!.map((measured) => measured[scenario]?.[figure]);
      const numbers = values.filter((value) => value !== undefined);
      if (numbers.length === 0) continue;
      const ratios = values.flatMap((value, i) => {
        const other = reference?.[i]?.[scenario]?.[figure];
        return value === undefined || !other ? [] : [value / other];
      });
      results.push({
        ...{ scenario, figure, title: titleOf(scenario, figure), contender, name },
        ...spreadOf(numbers),
        ...(ratios.length === 0 ? {} : { ratio: spreadOf(ratios) }),
        rounds: values.map((value) => value ?? null),
      });
    }
  }
  return results;
}

function titleOf(scenario: ScenarioId, figure: FigureId): string {
  const { title, cable, family, faults }: Scenario = SCENARIOS[scenario];
  const special = cable !== 'plain' || family !== 4 || faults !== undefined;
  return special ? `${FIGURES[figure][0]}; ${title}` : FIGURES[figure][0];
}

function tableOf(results: readonly Result[], { contenders, reference }: Contest): string {
  const to = contenders.has(reference) ? `ratio to ${reference}` : 'ratio';
  const rows = results.map(({ title, figure, name, ratio, ...spread }) => [
    title,
    name,
    spreadText(spread, FIGURES[figure][1]),
    ratio === undefined ? '' : spreadText(ratio, 2),
  ]);
  return table([['figure', 'tunnel', 'median (min–max)', to], ...rows]);
}

function brief(measured: Measured): string {
  const entries = Object.values(measured).flatMap((figures) => Object.entries(figures));
  if (entries.length === 0) return 'nothing';
  return entries
    .map(([figure, value]) => `${figure} ${value.toFixed(FIGURES[figure as FigureId][1])}`)
    .join(' ');
}
