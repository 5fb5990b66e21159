/** What has to hold between which NATs, and what was measured of it: a row each, in Markdown. */
import type { RecoveryResult, RecoveryScenario } from './grid-recovery.ts';
import type { GridResult } from './grid-run.ts';
import { percent, quantile, seconds, table } from './grid-text.ts';
import type { NatKind } from './nat-kinds.ts';

interface Bar {
  readonly what: string;
  readonly pairs: readonly (readonly [NatKind, NatKind])[];
  /** Least share that becomes direct; 0: relayed is enough. */
  readonly direct: number;
  /** p95 of that, or of the first packet where there is no direct path to be had. */
  readonly withinMs: number;
  /** Most probes that one side sends. */
  readonly probes?: number;
  readonly sockets?: number;
  /** Probes of one side in any second. */
  readonly perSecond?: number;
}

interface RecoveryBar {
  readonly scenario: RecoveryScenario;
  readonly pairs: readonly (readonly [NatKind, NatKind])[];
  readonly trafficMs: number;
  readonly directMs?: number;
}

export const meetingBars: readonly Bar[] = [
  {
    what: 'endpoint-independent mapping on both sides',
    pairs: [
      ['port-restricted', 'port-restricted'],
      ['full-cone', 'address-restricted'],
      ['host-firewall', 'carrier'],
    ],
    ...{ direct: 1, withinMs: 1_000 },
  },
  {
    what: 'endpoint-independent, filtering not by port ↔ symmetric',
    pairs: [
      ['address-restricted', 'symmetric'],
      ['full-cone', 'symmetric'],
    ],
    ...{ direct: 0.99, withinMs: 2_000 },
  },
  {
    what: 'port-restricted ↔ symmetric random',
    pairs: [
      ['port-restricted', 'symmetric'],
      ['host-firewall', 'symmetric'],
      ['port-restricted', 'symmetric-address-restricted'],
    ],
    ...{ direct: 0.95, withinMs: 15_000, probes: 1_024, sockets: 256, perSecond: 150 },
  },
  {
    what: 'port-restricted ↔ symmetric in a port block',
    pairs: [
      ['port-restricted', 'symmetric-block'],
      ['port-restricted', 'carrier-symmetric'],
    ],
    ...{ direct: 0.97, withinMs: 15_000, probes: 200 },
  },
  {
    what: 'sequential ↔ sequential or port-restricted',
    pairs: [
      ['symmetric-sequential', 'symmetric-sequential'],
      ['port-restricted', 'symmetric-sequential'],
    ],
    ...{ direct: 0.9, withinMs: 15_000 },
  },
  {
    what: 'no direct path: relayed',
    pairs: [
      ['symmetric', 'symmetric'],
      ['port-restricted', 'udp-blocked'],
      ['udp-blocked', 'udp-blocked'],
    ],
    ...{ direct: 0, withinMs: 1_000 },
  },
  {
    what: 'a mapped port or IPv6 helps',
    pairs: [
      ['symmetric', 'symmetric-upnp'],
      ['dual-stack', 'ipv6-only'],
    ],
    ...{ direct: 1, withinMs: 2_000 },
  },
];

const homes: readonly [NatKind, NatKind] = ['port-restricted', 'port-restricted'];
export const recoveryBars: readonly RecoveryBar[] = [
  ...(['address-change', 'nat-reboot'] as const).map((scenario) => ({
    ...{ scenario, pairs: [homes], trafficMs: 2_000, directMs: 5_000 },
  })),
  { scenario: 'blackhole', pairs: [homes], trafficMs: 2_000 },
  { scenario: 'relay-killed', pairs: [['symmetric', 'symmetric']], trafficMs: 2_000 },
  { scenario: 'sleep', pairs: [homes], trafficMs: 2_000 },
  { scenario: 'lifetime', pairs: [homes], trafficMs: 2_000 },
];

/** Of every pair that was measured, whatever it is. */
const firstPacketMs = 1_000;

export function meetingReport(results: readonly GridResult[]): string {
  if (results.length === 0) return '';
  const byPair = Map.groupBy(results, ({ a, b }) => `${a} ${b}`);
  const firstOf = (runs: readonly GridResult[]) =>
    runs.map(({ firstMs }) => firstMs ?? Number.POSITIVE_INFINITY);
  const first = firstOf(results);
  const p95 = Math.max(
    ...[...byPair.values()].map(
      (runs) => quantile(firstOf(runs), 0.95) ?? Number.POSITIVE_INFINITY,
    ),
  );
  const any = [
    ...['any pair, p95 the worst', `all ${byPair.size}`],
    ...[`${results.length}`, `first packet p95 ≤ ${seconds(firstPacketMs)}`],
    ...[`${seconds(quantile(first, 0.5))} / ${seconds(p95)}`, verdict(p95 <= firstPacketMs)],
  ];
  const rows = meetingBars.flatMap((bar) =>
    bar.pairs.map(([a, b]) => meetingRow(bar, a, b, of(results, a, b))),
  );
  return table(['what', 'pair', 'runs', 'bar', 'measured', 'holds'], [any, ...rows]);
}

function meetingRow(
  bar: Bar,
  a: NatKind,
  b: NatKind,
  runs: readonly GridResult[],
): readonly string[] {
  const isDirect = bar.direct > 0;
  const goal = [
    ...(isDirect ? [`direct ≥ ${percent(bar.direct)}`] : []),
    `${isDirect ? '' : 'first packet '}p95 ≤ ${seconds(bar.withinMs)}`,
    ...(bar.probes === undefined ? [] : [`≤ ${bar.probes} probes`]),
    ...(bar.sockets === undefined ? [] : [`≤ ${bar.sockets} sockets`]),
    ...(bar.perSecond === undefined ? [] : [`≤ ${bar.perSecond} packets/s`]),
  ].join(', ');
  const head = [bar.what, `${a} ↔ ${b}`, `${runs.length}`, goal];
  if (runs.length === 0) return [...head, 'not measured', '–'];
  const direct = runs.flatMap(({ directMs }) => (directMs === undefined ? [] : [directMs]));
  const share = direct.length / runs.length;
  const moments = isDirect ? direct : runs.map(({ firstMs = Number.POSITIVE_INFINITY }) => firstMs);
  const p95 = quantile(moments, 0.95) ?? Number.POSITIVE_INFINITY;
  const probes = Math.max(...runs.flatMap((run) => run.probes));
  const sockets = Math.max(...runs.flatMap((run) => run.sockets));
  const rates = runs.flatMap((run) => run.perSecond ?? []);
  const perSecond = rates.length === 0 ? undefined : Math.max(...rates);
  const holds =
    (perSecond ?? 0) <= (bar.perSecond ?? Number.POSITIVE_INFINITY) &&
    share >= bar.direct &&
    p95 <= bar.withinMs &&
    probes <= (bar.probes ?? Number.POSITIVE_INFINITY) &&
    sockets <= (bar.sockets ?? Number.POSITIVE_INFINITY);
  const measured = [
    `direct ${percent(share)}`,
    `${isDirect ? '' : 'first '}${seconds(quantile(moments, 0.5))} / ${seconds(p95)}`,
    `${probes} probes, ${sockets} sockets at most`,
    ...(perSecond === undefined ? [] : [`${perSecond} packets/s`]),
  ];
  return [...head, measured.join('; '), verdict(holds)];
}

export function recoveryReport(results: readonly RecoveryResult[]): string {
  const rows = recoveryBars.flatMap(({ scenario, pairs, trafficMs, directMs }) =>
    pairs.map(([a, b]) => {
      const runs = of(results, a, b).filter((run) => run.scenario === scenario);
      const goal = `traffic p95 ≤ ${seconds(trafficMs)}${
        directMs === undefined ? '' : `, direct ≤ ${seconds(directMs)}`
      }`;
      const head = [scenario, `${a} ↔ ${b}`, `${runs.length}`, goal];
      if (runs.length === 0) return [...head, 'not measured', '–'];
      const traffic = runs.map((run) => run.trafficMs ?? Number.POSITIVE_INFINITY);
      const direct = runs.map((run) => run.directMs ?? Number.POSITIVE_INFINITY);
      const [p95, direct95] = [quantile(traffic, 0.95), quantile(direct, 0.95)] as [number, number];
      const measured = [`traffic ${seconds(quantile(traffic, 0.5))} / ${seconds(p95)}`];
      if (directMs !== undefined)
        measured.push(`direct ${seconds(quantile(direct, 0.5))} / ${seconds(direct95)}`);
      const holds = p95 <= trafficMs && (directMs === undefined || direct95 <= directMs);
      return [...head, measured.join('; '), verdict(holds)];
    }),
  );
  return table(['fault', 'pair', 'runs', 'bar', 'measured', 'holds'], rows);
}

/** The pairs of all bars, as `--pairs` takes them. */
export function barPairs(): (readonly [NatKind, NatKind])[] {
  return meetingBars.flatMap(({ pairs }) => pairs);
}

const verdict = (holds: boolean) => (holds ? 'yes' : '**no**');

function of<R extends { readonly a: NatKind; readonly b: NatKind }>(
  results: readonly R[],
  a: NatKind,
  b: NatKind,
): R[] {
  return results.filter((run) => (run.a === a && run.b === b) || (run.a === b && run.b === a));
}
