/** Results of the grid as tables, in Markdown. */
import { meetingReport, recoveryReport } from './grid-bar.ts';
import type { RecoveryResult } from './grid-recovery.ts';
import type { GridResult } from './grid-run.ts';
import { percent, quantile, seconds, spread, table } from './grid-text.ts';
import { type NatKind, natKinds } from './nat-kinds.ts';

export type Result = GridResult | RecoveryResult;

/** Tables of everything that was measured, with headings. */
export function reportOf(results: readonly Result[]): string {
  const meetings = results.filter((result) => result.scenario === 'meet');
  const recoveries = results.filter((result) => result.scenario !== 'meet');
  const parts = [
    ['What has to hold', meetingReport(meetings)],
    ['After faults', recoveryReport(recoveries)],
    ['Kind by kind: share that became direct, and the median time until then', grid(meetings)],
    ['Every pair', pairs(meetings)],
    ['Every fault', recovery(recoveries)],
  ] as const;
  return parts
    .filter(([, text]) => text !== '')
    .map(([heading, text]) => `### ${heading}\n\n${text}\n`)
    .join('\n');
}

const pairName = ({ a, b }: { readonly a: NatKind; readonly b: NatKind }) => `${a} ↔ ${b}`;

/** Kind × kind: share that became direct, and the median time of those. */
function grid(results: readonly GridResult[]): string {
  const names = natKinds
    .map(({ name }) => name)
    .filter((name) => results.some(({ a, b }) => a === name || b === name));
  if (names.length === 0) return '';
  const cell = (one: NatKind, other: NatKind) => {
    const of = results.filter(
      ({ a, b }) => (a === one && b === other) || (a === other && b === one),
    );
    if (of.length === 0) return '';
    const direct = of.flatMap(({ directMs }) => (directMs === undefined ? [] : [directMs]));
    if (direct.length === 0) return of.every((run) => run.firstMs !== undefined) ? 'relay' : 'none';
    return `${percent(direct.length / of.length)}, ${seconds(quantile(direct, 0.5))}`;
  };
  const numbers = names.map((_, index) => `${index + 1}`);
  return table(
    ['', '', ...numbers],
    names.map((one, index) => {
      const cells = names.map((other, i) => (i < index ? '' : cell(one, other)));
      return [`${index + 1}`, one, ...cells];
    }),
  );
}

function pairs(results: readonly GridResult[]): string {
  const groups = [...Map.groupBy(results, pairName)];
  if (groups.length === 0) return '';
  const header = ['pair', 'runs', 'direct', 'first packet p50 / p95', 'direct p50 / p95'];
  return table(
    [...header, 'probes of a side p50 / p95', 'sockets', 'why not direct'],
    groups.map(([name, runs]) => {
      const direct = runs.flatMap(({ directMs }) => (directMs === undefined ? [] : [directMs]));
      const first = runs.flatMap(({ firstMs }) => (firstMs === undefined ? [] : [firstMs]));
      const probes = runs.map((run) => Math.max(...run.probes));
      const missing = runs.length - first.length;
      const reason = runs.find((run) => run.directMs === undefined)?.reason ?? '';
      return [
        ...[name, `${runs.length}`, percent(direct.length / runs.length)],
        `${spread(first)}${missing > 0 ? `, ${missing} without` : ''}`,
        spread(direct),
        `${quantile(probes, 0.5)} / ${quantile(probes, 0.95)}`,
        `${Math.max(...runs.flatMap(({ sockets }) => sockets))}`,
        reason,
      ];
    }),
  );
}

function recovery(results: readonly RecoveryResult[]): string {
  const groups = [...Map.groupBy(results, (run) => `${run.scenario}|${pairName(run)}`)];
  if (groups.length === 0) return '';
  return table(
    ['fault', 'pair', 'runs', 'before', 'traffic again p50 / p95', 'direct again p50 / p95'],
    groups.map(([key, runs]) => {
      const traffic = runs.flatMap(({ trafficMs }) => (trafficMs === undefined ? [] : [trafficMs]));
      const direct = runs.flatMap(({ directMs }) => (directMs === undefined ? [] : [directMs]));
      const [scenario = '', pair = ''] = key.split('|');
      const missing = runs.length - traffic.length;
      const before = [...new Set(runs.map(({ kindBefore }) => kindBefore))].join(', ');
      const again = `${spread(traffic)}${missing > 0 ? `, ${missing} never` : ''}`;
      return [scenario, pair, `${runs.length}`, before, again, spread(direct)];
    }),
  );
}
