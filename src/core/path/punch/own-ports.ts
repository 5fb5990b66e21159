/** Where this side can be met, as told to the other one before an attempt: pure functions. */
import { parseEndpoint } from '#wire/endpoint.ts';
import type { Candidate, NatBehaviour, PunchPorts } from '#wire/signal.ts';
import { classOf } from '../address-class.ts';
import { blockSamples } from './limits.ts';
import type { PunchRole, Technique } from './plan.ts';
import { dynamicPorts, type PortWindow } from './ports.ts';
import {
  blockAround,
  foreignPerSecond,
  nextPorts,
  type PortSample,
  windowFor,
} from './prediction.ts';

export interface OwnSide {
  readonly technique: Technique;
  readonly role: PunchRole;
  readonly nat: NatBehaviour;
  readonly candidates: readonly Candidate[];
  /** Mappings made a moment ago, in order. */
  readonly samples: readonly (PortSample & { readonly address: string })[];
}

const isStable = ({ mapping }: NatBehaviour) =>
  mapping === 'none' || mapping === 'endpoint-independent';

/** How many fresh mappings this side must look at before it can tell where it will be met. */
export function samplesFor({ technique, nat }: Pick<OwnSide, 'technique' | 'nat'>): number {
  if (isStable(nat) || technique === 'birthday') return 0;
  return technique === 'sequence' ? 2 : blockSamples;
}

/** Undefined when that is not known. */
export function ownPorts(side: OwnSide): PunchPorts | undefined {
  const { technique, nat, candidates, samples } = side;
  const own = publicEndpoint(candidates);
  const last = samples.at(-1);
  if (isStable(nat)) {
    return own === undefined ? undefined : window(own.address, { ...single, first: own.port });
  }
  const address = last?.address ?? own?.address;
  if (address === undefined) return undefined;
  switch (technique) {
    case 'birthday':
      return window(address, dynamicPorts);
    case 'block': {
      const block = nat.allocation?.block;
      return block === undefined ? undefined : window(address, blockAround(block, samples));
    }
    case 'sequence': {
      const step = nat.allocation?.step ?? 0;
      if (last === undefined || step === 0) return undefined;
      const count = windowFor(foreignPerSecond(samples, step));
      const next = nextPorts(last, step, count);
      return next.first < 1 || next.first > 65_535 ? undefined : window(address, next);
    }
    default:
      return technique satisfies never;
  }
}

/** Whether many probes may go there: an IPv4 address whose owner proved to the server that it receives there (protocol §8). */
export const mayAimAt = ({ address }: PunchPorts, proven: readonly string[]): boolean =>
  !address.includes(':') && classOf(address) !== 'unusable' && proven.includes(address);

const single = { count: 1, step: 1 } as const;

const window = (address: string, { first, count, step }: PortWindow): PunchPorts => ({
  address,
  first,
  count,
  step,
});

function publicEndpoint(candidates: readonly Candidate[]) {
  for (const wanted of ['server-reflexive', 'host'] as const) {
    for (const { kind, endpoint: text } of candidates) {
      const endpoint = kind === wanted ? parseEndpoint(text) : undefined;
      if (endpoint === undefined || endpoint.address.includes(':')) continue;
      if (classOf(endpoint.address) === 'public') return endpoint;
    }
  }
  return undefined;
}
