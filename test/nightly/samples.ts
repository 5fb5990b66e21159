/** What a process holds, from time to time, and whether that grows. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Sample {
  readonly atMs: number;
  readonly rssBytes: number;
  /** Without what is mapped from files. */
  readonly anonymousBytes: number;
  readonly threads: number;
  readonly descriptors: number;
  /** In use by JavaScript's main thread after a collection; undefined where the program does not say. */
  readonly heapBytes: number | undefined;
}

/** Undefined when the process is gone. */
export function takeSample(
  pid: number,
  atMs: number,
  lines: readonly string[],
): Sample | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const field = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
    const heap = lines.findLast((line) => /^heap \d/.test(line));
    return {
      ...{ atMs, rssBytes: field('VmRSS') * 1024, anonymousBytes: field('RssAnon') * 1024 },
      ...{ threads: field('Threads'), descriptors: readdirSync(`/proc/${pid}/fd`).length },
      heapBytes: heap === undefined ? undefined : Number(heap.split(' ')[1]),
    };
  } catch {
    return undefined;
  }
}

export interface Trend {
  readonly samples: number;
  readonly perHour: number;
  /** Over the time looked at, by the slope. */
  readonly growth: number;
  /** Medians of its first and last quarter. */
  readonly first: number;
  readonly last: number;
}

/** Least squares over samples of one value. */
export function trendOf(
  samples: readonly { readonly atMs: number; readonly value: number }[],
): Trend {
  const count = samples.length;
  const hours = samples.map(({ atMs }) => atMs / 3_600_000);
  const values = samples.map(({ value }) => value);
  const [meanHours, meanValue] = [mean(hours), mean(values)];
  const spread = sum(hours.map((hour) => (hour - meanHours) ** 2));
  const together = sum(hours.map((hour, i) => (hour - meanHours) * (values[i]! - meanValue)));
  const perHour = spread === 0 ? 0 : together / spread;
  const quarter = Math.max(1, Math.floor(count / 4));
  return {
    ...{ samples: count, perHour, growth: perHour * ((hours.at(-1) ?? 0) - (hours[0] ?? 0)) },
    ...{ first: median(values.slice(0, quarter)), last: median(values.slice(-quarter)) },
  };
}

/** How much more a process may hold at the end than after it has warmed up: noise of the collector, but for what it has left. */
const toleranceBytes = { anonymousBytes: 8 * 1024 * 1024, heapBytes: 3 * 1024 * 1024 };

/** Somebody may be asking whenever a sample is taken. */
const comingAndGoing = 1;

/**
 * What grows, as text for people; empty when all is flat. The first quarter is warm-up. Descriptors and threads come and go with
 * requests, so their minima are compared: a leak raises those.
 */
export function findGrowth(samples: readonly Sample[]): string[] {
  const warm = samples.slice(Math.floor(samples.length / 4));
  const third = Math.floor(warm.length / 3);
  if (third === 0) return ['too few samples'];
  const found: string[] = [];
  for (const name of ['anonymousBytes', 'heapBytes'] as const) {
    const values = warm.flatMap(({ atMs, [name]: value }) =>
      value === undefined ? [] : [{ atMs, value }],
    );
    if (values.length < 4) continue;
    const { growth, first, last } = trendOf(values);
    // By the slope and by what is there: a single step or a single peak is one of both only.
    if (growth > toleranceBytes[name] && last - first > toleranceBytes[name]) {
      found.push(`${name} grew from ${mib(first)} to ${mib(last)} MiB`);
    }
  }
  for (const name of ['descriptors', 'threads'] as const) {
    const lowest = (part: readonly Sample[]) => Math.min(...part.map((sample) => sample[name]));
    const [before, after] = [lowest(warm.slice(0, third)), lowest(warm.slice(-third))];
    if (after > before + comingAndGoing) found.push(`${name} grew from ${before} to ${after}`);
  }
  return found;
}

export function mib(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : sum(values) / values.length;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
