/** From the public ports of fresh mappings to how the NAT allocates them (RFC 4787 §4.2, RFC 7422): pure. */
import type { PortAllocation } from '#wire/signal.ts';

/** One mapping, in the order in which they were made. */
export interface PortSample {
  /** Port of the socket inside. */
  readonly local: number;
  readonly address: string;
  readonly port: number;
}

/** Fewer say nothing. */
export const leastSamples = 3;
/** Foreign mappings and reordered packets may spoil this share of what is looked at. */
const leastShare = 0.7;
/** Ports between two mappings of ours that still look like a counter. */
const mostStride = 48;
/** That ports of all 64,512 fall so close together by chance is at most this likely. */
const chance = 0.005;
const dynamicPorts = { first: 1024, last: 65_535 } as const;
/** Sizes of blocks that carriers hand out. */
const leastBlock = 64;
const mostBlock = 16_384;

/**
 * The pattern; undefined when there are too few samples. Samples of public addresses other than the most frequent one are
 * left out: each address has its own counter and blocks.
 */
export function classifyAllocation(samples: readonly PortSample[]): PortAllocation | undefined {
  const ours = ofOneAddress(distinct(samples));
  if (ours.length < leastSamples) return undefined;
  const preserved = ours.filter(({ local, port }) => local === port).length;
  if (preserved >= leastShare * ours.length) return { pattern: 'preserving' };
  // Some NATs keep a port while it is free and count, or draw, from then on: that is what prediction needs.
  const drawn = ours.filter(({ local, port }) => local !== port).map(({ port }) => port);
  if (drawn.length < leastSamples) return undefined;
  const step = stepOf(drawn);
  if (step !== undefined) return { pattern: 'sequential', step };
  const block = blockOf(drawn);
  return block === undefined ? { pattern: 'random' } : { pattern: 'block', block };
}

/**
 * The distance from one mapping to the next: negative when ports count down, undefined when they do not count. Mappings of
 * others in between make some distances multiples of it.
 */
function stepOf(ports: readonly number[]): number | undefined {
  const strides = ports.slice(1).map((port, i) => port - ports[i]!);
  for (const sign of [1, -1]) {
    const counted = strides.map((stride) => stride * sign).filter(isStride);
    if (counted.length < 2 || counted.length < leastShare * strides.length) continue;
    return sign * commonStep(counted);
  }
  return undefined;
}

const isStride = (stride: number) => stride > 0 && stride <= mostStride;

/** The largest step of which nearly all strides are multiples, and that some stride is itself. */
function commonStep(strides: readonly number[]): number {
  const candidates = [...new Set(strides)].sort((a, b) => b - a);
  const fits = (step: number) =>
    strides.filter((stride) => stride % step === 0).length >= leastShare * strides.length;
  const direct = candidates.find((step) => fits(step));
  return direct ?? strides.reduce(greatestCommonDivisor);
}

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b);

/** The block that the ports were drawn from; undefined when they may as well come from all ports. */
function blockOf(ports: readonly number[]): PortAllocation['block'] {
  const least = Math.min(...ports);
  const most = Math.max(...ports);
  const range = most - least + 1;
  const count = ports.length;
  // P(range ≤ r) of `count` draws is about count · r^(count - 1).
  const share = (chance / count) ** (1 / (count - 1));
  if (range > share * (dynamicPorts.last - dynamicPorts.first) || range > mostBlock)
    return undefined;
  // Beyond both ends lies as much as lies between two neighbours on average.
  const margin = Math.ceil(range / (count - 1));
  const aligned = alignedBlock(least, range);
  if (aligned !== undefined && aligned.size <= range + 3 * margin) return aligned;
  const first = Math.max(dynamicPorts.first, least - margin);
  const last = Math.min(dynamicPorts.last, Math.max(most + margin, first + leastBlock - 1));
  return { first, size: last - first + 1 };
}

/** The smallest aligned power of two that holds them: what most carriers configure. */
function alignedBlock(least: number, range: number): { first: number; size: number } | undefined {
  for (let size = leastBlock; size <= mostBlock; size *= 2) {
    const first = least - (least % size);
    if (least + range <= first + size) return { first, size };
  }
  return undefined;
}

function distinct(samples: readonly PortSample[]): PortSample[] {
  const seen = new Set<string>();
  return samples.filter(({ local, address, port }) => {
    const key = `${local} ${address} ${port}`;
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
}

function ofOneAddress(samples: readonly PortSample[]): PortSample[] {
  const counts = new Map<string, number>();
  for (const { address } of samples) counts.set(address, (counts.get(address) ?? 0) + 1);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return samples.filter(({ address }) => address === most?.[0]);
}
