import type { Figures } from './figures.ts';
import {
  bidir,
  loadedRtt,
  parallel,
  rtt,
  type Subject,
  tcp,
  udp100,
  udp100Lean,
  uso,
} from './measure.ts';
import type { Cable, Family } from './namespaces.ts';

/** Conditions under which a tunnel is measured, and what is measured there. */
export interface Scenario {
  readonly title: string;
  readonly cable: Cable;
  /** Of the cable and inside. */
  readonly family: Family;
  /** Of a bad line in place of the cable: what the lab's impairment router does to each packet, each way. */
  readonly faults?: string;
  readonly probes: readonly ((on: Subject) => Promise<Figures>)[];
}

const plain = { cable: 'plain', family: 4 } as const;

export const SCENARIOS = {
  base: { ...plain, title: 'one tunnel', probes: [tcp, rtt, udp100, udp100Lean] },
  loaded: { ...plain, title: 'under load', probes: [loadedRtt] },
  parallel: { ...plain, title: '8 flows', probes: [parallel] },
  bidir: { ...plain, title: 'both ways', probes: [bidir] },
  uso: { ...plain, title: 'UDP with USO', probes: [uso] },
  segmenting: {
    title: 'underlay that segments, without GRO',
    cable: 'segmenting',
    family: 4,
    probes: [tcp],
  },
  gro: { title: 'underlay that segments, with GRO', cable: 'joining', family: 4, probes: [tcp] },
  loss01: { ...plain, faults: 'loss=0.001 delay-ms=1', title: '0.1 % loss', probes: [tcp] },
  loss1: { ...plain, faults: 'loss=0.01 delay-ms=1', title: '1 % loss', probes: [tcp] },
  reordering: {
    ...plain,
    faults: 'reorder=0.01 reorder-ms=2 delay-ms=1',
    title: '1 % overtaken by up to 2 ms',
    probes: [tcp],
  },
  ipv6: { title: 'IPv6 under and inside', cable: 'plain', family: 6, probes: [tcp, rtt] },
} as const satisfies Record<string, Scenario>;

export type ScenarioId = keyof typeof SCENARIOS;

export const isScenario = (id: string): id is ScenarioId => Object.hasOwn(SCENARIOS, id);
