/** Which ports a NAT will give next, from mappings made a moment ago: pure functions. */
import type { MonotonicMs } from '#core/time.ts';
import {
  assumedForeignPerSecond,
  assumedForeignWeightMs,
  maxSequenceWindow,
  minSequenceWindow,
  ownMappings,
  sequenceHorizonMs,
} from './limits.ts';
import { poissonQuantile } from './odds.ts';
import type { PortWindow } from './ports.ts';

/** A fresh mapping: its public port, and when the NAT made it at the latest. */
export interface PortSample {
  readonly port: number;
  readonly at: MonotonicMs;
}

/**
 * Mappings of others a second behind a NAT that counts by `step`, from samples in the order they were made. What is assumed
 * beforehand weighs as much as 0.3 s of watching.
 */
export function foreignPerSecond(samples: readonly PortSample[], step: number): number {
  let mappings = (assumedForeignPerSecond * assumedForeignWeightMs) / 1000;
  let spanMs = assumedForeignWeightMs;
  for (let i = 1; i < samples.length; i++) {
    const [before, now] = [samples[i - 1]!, samples[i]!];
    const between = (now.port - before.port) / step - 1;
    // Counting backwards or by leaps: the NAT began anew, or another one answered.
    if (!Number.isInteger(between) || between < 0 || between > 1000) continue;
    mappings += between;
    spanMs += Math.max(0, now.at - before.at);
  }
  return (mappings * 1000) / spanMs;
}

/** How many of the next ports to take into account: what others open on both sides, taken to be alike, is less nearly always. */
export function windowFor(perSecond: number): number {
  const foreign = poissonQuantile((2 * perSecond * sequenceHorizonMs) / 1000, 0.998);
  return Math.min(maxSequenceWindow, Math.max(minSequenceWindow, foreign + 1 + ownMappings));
}

/** The ports after the last sample. */
export function nextPorts(last: PortSample, step: number, count: number): PortWindow {
  return { first: last.port + step, count, step };
}

/** A block that the samples lie in: the one estimated before, made larger where it was too small. */
export function blockAround(
  estimate: { readonly first: number; readonly size: number },
  samples: readonly PortSample[],
): PortWindow {
  const ports = samples.map(({ port }) => port);
  const inside = ports.filter(
    (port) => port >= estimate.first && port < estimate.first + estimate.size,
  );
  // Another block altogether: a carrier has given this subscriber a new one.
  const isMoved = ports.length > 0 && inside.length === 0;
  if (isMoved) {
    const least = Math.min(...ports);
    const span = Math.max(...ports) - least + 1;
    const size = Math.max(estimate.size, span);
    const first = Math.max(1, least - Math.floor((size - span) / 2));
    return { first, count: Math.min(size, 65_536 - first), step: 1 };
  }
  const first = Math.max(1, Math.min(estimate.first, ...ports));
  const last = Math.min(65_535, Math.max(estimate.first + estimate.size - 1, ...ports));
  return { first, count: last - first + 1, step: 1 };
}
