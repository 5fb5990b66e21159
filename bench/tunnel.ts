/**
 * How fast is a tunnel, and what does it cost? Two namespaces on this machine, traffic through the tunnel; contenders take turns
 * (A B C A B C …). Medians with the least and the most, and ratios to wireguard-go within each round.
 *
 *   node bench/tunnel.ts [--rounds 5] [--seconds 5] [--only buri-aes,wireguard-go] [--scenario base,segmenting | bad-lines | all]
 *       [--reference wireguard-go] [--json FILE]
 *
 * Contenders: see `contenders.ts`; not by default: buri-portable, buri-no-gro, cable. Scenarios: see `scenarios.ts`; `base` by
 * default. Needs root, iproute2, ethtool, iperf3, ping, wireguard-tools and a C compiler.
 */
import { parseArgs } from 'node:util';
import { CONTENDERS, type Contender } from './contenders.ts';
import { runContest } from './contest.ts';
import { isScenario, SCENARIOS, type ScenarioId } from './scenarios.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    only: {
      type: 'string',
      default: 'buri-aes,buri-aes-openssl,buri-chacha,buri-null,wireguard-go',
    },
    scenario: { type: 'string', default: 'base' },
    reference: { type: 'string', default: 'wireguard-go' },
    json: { type: 'string' },
  },
});

function contenders(): Map<string, Contender> {
  const found = new Map<string, Contender>();
  for (const id of values.only.split(',')) {
    const find = CONTENDERS[id];
    if (find === undefined) throw new Error(`unknown contender '${id}'`);
    const contender = find();
    if (contender !== undefined) found.set(id, contender);
  }
  return found;
}

function scenarios(): ScenarioId[] {
  const all = Object.keys(SCENARIOS) as ScenarioId[];
  if (values.scenario === 'all') return all;
  if (values.scenario === 'bad-lines') return all.filter((id) => 'faults' in SCENARIOS[id]);
  return values.scenario.split(',').map((id) => {
    if (!isScenario(id)) throw new Error(`unknown scenario '${id}'`);
    return id;
  });
}

const contest = {
  contenders: contenders(),
  scenarios: scenarios(),
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  reference: values.reference,
};
await runContest(contest, values.json);
