/** A fault while traffic flows: how soon it flows again, and how soon directly. */
import type { GridPair, GridPairOptions } from './grid-pair.ts';
import type { NatKind } from './nat-kinds.ts';
import { nowNs } from './stream.ts';
import { waitFor } from './wait.ts';

export const recoveryScenarios = [
  'address-change',
  'nat-reboot',
  'relay-killed',
  'blackhole',
  'sleep',
  'lifetime',
] as const;
export type RecoveryScenario = (typeof recoveryScenarios)[number];

export interface RecoveryResult {
  readonly scenario: RecoveryScenario;
  readonly a: NatKind;
  readonly b: NatKind;
  readonly run: number;
  readonly delayMs: number;
  /** Before the fault. */
  readonly kindBefore: string;
  /** Until packets that were sent after the fault arrive at both sides, and go on arriving. */
  readonly trafficMs?: number;
  /** Until both say that the path is direct, where it was direct before. */
  readonly directMs?: number;
}

const nsPerMs = 1_000_000;
const connectTimeoutMs = 30_000;
const recoveryTimeoutMs = 30_000;
/** Traffic that has gone on so long is steady. */
const steadyMs = 1_000;
const pollMs = 25;
/** Mappings live so long in `lifetime`, and nothing is sent for twice that time. */
const lifetimeSeconds = 10;
const idleSeconds = 20;
/** Long enough for everything to have ended: keys, allocations on relays, mappings, the control connection. */
const sleepSeconds = 600;

/** What a scenario needs of the pair. */
export const recoveryNeeds: Readonly<
  Record<RecoveryScenario, Pick<GridPairOptions, 'relays' | 'lifetimeSeconds'>>
> = {
  'address-change': {},
  'nat-reboot': {},
  'relay-killed': { relays: 2 },
  blackhole: {},
  sleep: {},
  lifetime: { lifetimeSeconds },
};

export async function measureRecovery(
  pair: GridPair,
  scenario: RecoveryScenario,
  about: Pick<RecoveryResult, 'a' | 'b' | 'run' | 'delayMs'>,
): Promise<RecoveryResult> {
  // What an earlier fault taught them of each other is forgotten: paths that fail again and again are not trusted soon.
  await pair.part();
  await pair.meet();
  const label = `r${about.run}-${Date.now()}`;
  pair.stream(label);
  const paths = await waitFor(
    'a path that traffic flows on',
    async () => {
      const both = await pair.paths();
      const flows = (await pair.heard(label, 'first')) !== undefined;
      return flows && both.every(({ kind }) => kind === 'direct' || kind === 'relayed') && both;
    },
    { timeoutMs: connectTimeoutMs },
  );
  const isDirect = paths.every(({ kind }) => kind === 'direct');
  const fault = faults[scenario];
  const since = await fault.begin(pair, label);
  const elapsedMs = () => (nowNs() - since) / nsPerMs;
  let trafficMs: number | undefined;
  let directMs: number | undefined;
  let wasLost = false;
  while (elapsedMs() < recoveryTimeoutMs) {
    const steady = await pair.heard(label, 'steady', since);
    if (steady !== undefined && nowNs() - steady > steadyMs * nsPerMs) {
      trafficMs ??= Math.max(0, Math.round((steady - since) / nsPerMs));
    }
    const now = await pair.paths();
    const allDirect = now.every(({ kind }) => kind === 'direct');
    wasLost ||= !allDirect;
    if (allDirect && trafficMs !== undefined) directMs ??= wasLost ? Math.round(elapsedMs()) : 0;
    const isDone = !isDirect || !fault.healsDirectly || directMs !== undefined;
    if (trafficMs !== undefined && isDone) break;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  await fault.end(pair);
  return {
    scenario,
    ...about,
    kindBefore: isDirect ? 'direct' : 'relayed',
    ...(trafficMs === undefined ? {} : { trafficMs }),
    ...(directMs === undefined ? {} : { directMs }),
  };
}

interface Fault {
  /** @returns when traffic can begin to heal */
  begin(pair: GridPair, label: string): Promise<number>;
  end(pair: GridPair): Promise<void>;
  /** The direct path is possible again after it. */
  readonly healsDirectly: boolean;
}

async function nothing(): Promise<void> {}

const faults: Readonly<Record<RecoveryScenario, Fault>> = {
  'address-change': {
    async begin({ a }) {
      await a.home.changePublicAddress();
      return nowNs();
    },
    end: nothing,
    healsDirectly: true,
  },
  'nat-reboot': {
    async begin({ a }) {
      await a.rebootRouter();
      return nowNs();
    },
    end: nothing,
    healsDirectly: true,
  },
  'relay-killed': {
    async begin({ a, b, relays }) {
      const { endpoint } = await a.sees(b);
      if (endpoint === undefined) throw new Error('no relay is in use');
      const since = nowNs();
      await relays.kill(endpoint);
      return since;
    },
    end: ({ relays }) => relays.restore(),
    healsDirectly: false,
  },
  blackhole: {
    async begin(pair) {
      const [one, other] = pair.members.map((member) => member.publicAddresses());
      await pair.internet.cutBetween(one ?? [], other ?? []);
      return nowNs();
    },
    end: ({ internet }) => internet.joinAll(),
    healsDirectly: false,
  },
  sleep: {
    async begin({ a }) {
      await a.sleep(sleepSeconds);
      return nowNs();
    },
    end: nothing,
    healsDirectly: true,
  },
  lifetime: {
    async begin(pair, label) {
      pair.pause();
      await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000));
      pair.stream(label);
      return nowNs();
    },
    end: nothing,
    healsDirectly: true,
  },
};
