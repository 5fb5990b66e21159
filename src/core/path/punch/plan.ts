/** What can be tried between two NATs that an ordinary punch does not join: a pure function, the same on both sides. */
import type { NatBehaviour } from '#wire/signal.ts';
import {
  blockMargin,
  blockOdds,
  blockShare,
  maxBlockProbes,
  maxBlockSockets,
  maxPunchProbes,
  maxPunchSockets,
} from './limits.ts';
import { probesFor } from './odds.ts';

/**
 * - `birthday`: the side whose ports change opens many mappings towards the stable one, which probes ports at random.
 * - `block`: the same within the block that those ports are drawn from.
 * - `sequence`: the next ports are told from the last one.
 */
export type Technique = 'birthday' | 'block' | 'sequence';

/** `opens`: many sockets towards one endpoint. `probes`: one socket towards many ports. */
export type PunchRole = 'opens' | 'probes';

export type PunchPlan =
  | { readonly type: 'guess'; readonly technique: Technique; readonly role: PunchRole }
  /** An ordinary punch does it, or nothing is known yet. */
  | { readonly type: 'ordinary' }
  | { readonly type: 'hopeless'; readonly why: string };

/** @param leads this side is the one that leads (its tunnel key is lower); the other one must say the opposite. */
export function planPunch(local: NatBehaviour, remote: NatBehaviour, leads: boolean): PunchPlan {
  const ours = mappingClass(local);
  const theirs = mappingClass(remote);
  if (ours === 'unknown' || theirs === 'unknown') return { type: 'ordinary' };
  if (ours === 'stable' && theirs === 'stable') return { type: 'ordinary' };
  if (ours === 'stable' || theirs === 'stable') {
    const [stable, changing] = ours === 'stable' ? [local, remote] : [remote, local];
    if (stable.filtering !== 'address-and-port-dependent') return { type: 'ordinary' };
    const role = ours === 'stable' ? 'probes' : 'opens';
    return { type: 'guess', technique: techniqueFor(changing), role };
  }
  if (isCounting(local) && isCounting(remote)) return bothCounting(local, remote, leads);
  return {
    type: 'hopeless',
    why: 'both NATs choose a port for every destination, and not both of them in sequence',
  };
}

export const isChanging = (nat: NatBehaviour): boolean => mappingClass(nat) === 'changing';

/** One side of a pair that an ordinary punch may not join: its ports change, or its filter looks at ports. */
export function isHard(nat: NatBehaviour): boolean {
  const mapping = mappingClass(nat);
  const looksAtPorts = nat.filtering === 'address-and-port-dependent';
  return mapping === 'changing' || (mapping === 'stable' && looksAtPorts);
}

/** The side that probes needs a new port for each probe, or it would meet the expected one never or always. */
function bothCounting(local: NatBehaviour, remote: NatBehaviour, leads: boolean): PunchPlan {
  const canProbe = (nat: NatBehaviour) => nat.mapping === 'address-and-port-dependent';
  const [ours, theirs] = [canProbe(local), canProbe(remote)];
  if (!ours && !theirs) {
    return { type: 'hopeless', why: 'both NATs choose a port for every address' };
  }
  const probes = ours === theirs ? !leads : ours;
  return { type: 'guess', technique: 'sequence', role: probes ? 'probes' : 'opens' };
}

/** Sockets that are opened, and probes into how many ports, by `birthday` or `block`. */
export function guessSize(
  technique: Exclude<Technique, 'sequence'>,
  ports: number,
): { readonly sockets: number; readonly probes: number } {
  if (technique === 'birthday') return { sockets: maxPunchSockets, probes: maxPunchProbes };
  const sockets = Math.max(1, Math.min(maxBlockSockets, Math.floor(ports / blockShare)));
  const enough = Math.ceil(blockMargin * probesFor(blockOdds, sockets, ports));
  const bound = ports > 4096 ? maxPunchProbes : maxBlockProbes;
  return { sockets, probes: Math.min(enough, bound, ports) };
}

function techniqueFor({ allocation }: NatBehaviour): Technique {
  if (allocation?.pattern === 'block' && allocation.block !== undefined) return 'block';
  return isCountingAllocation(allocation) ? 'sequence' : 'birthday';
}

const isCounting = ({ allocation }: NatBehaviour) => isCountingAllocation(allocation);

const isCountingAllocation = (allocation: NatBehaviour['allocation']) =>
  allocation?.pattern === 'sequential' && (allocation.step ?? 0) !== 0;

function mappingClass({ mapping }: NatBehaviour): 'stable' | 'changing' | 'unknown' {
  if (mapping === 'unknown') return 'unknown';
  return mapping === 'none' || mapping === 'endpoint-independent' ? 'stable' : 'changing';
}
