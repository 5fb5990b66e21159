import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';

/** What is measured: title with unit, digits in tables. */
export const FIGURES = {
  tcp: ['TCP, Mbit/s', 0],
  tunnelCpu: ['CPU of the tunnel, s/GB of TCP', 2],
  machineCpu: ['CPU of the machine, s/GB of TCP', 2],
  rtt: ['RTT average, ms', 3],
  rttMedian: ['RTT median, ms', 3],
  rttP99: ['RTT p99, ms', 3],
  udp100: ['UDP of 100 bytes by iperf3, 1,000 packets/s delivered', 1],
  udp100Lean: ['UDP of 100 bytes, 64 a system call, 1,000 packets/s delivered', 1],
  loadedRtt: ['RTT average under a TCP flow, ms', 2],
  loadedRttP99: ['RTT p99 under a TCP flow, ms', 2],
  uso: ['UDP with USO, Mbit/s delivered', 0],
  bidir: ['TCP both ways at once, Mbit/s in all', 0],
  parallel: ['8 TCP flows, Mbit/s in all', 0],
} as const satisfies Record<string, readonly [title: string, digits: number]>;

export type FigureId = keyof typeof FIGURES;
export type Figures = Partial<Record<FigureId, number>>;

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(numbers: readonly number[]): Spread {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** The value that `share` of the numbers do not exceed. */
export function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}

export const mean = (numbers: readonly number[]): number =>
  numbers.reduce((sum, n) => sum + n, 0) / numbers.length;

/** A table in Markdown. */
export function table(rows: readonly (readonly string[])[]): string {
  const [header = [], ...body] = rows;
  return [header, header.map(() => '---'), ...body]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

/** `median (min–max)`. */
export function spreadText({ median, min, max }: Spread, digits: number): string {
  const text = (n: number): string =>
    n.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${text(median)} (${text(min)}–${text(max)})`;
}

/** Where it was measured. */
export function machine(): Record<string, string | number> {
  const read = (path: string): string => readFileSync(path, 'utf8').trim();
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    kernel: read('/proc/sys/kernel/osrelease'),
    node: process.version,
    load: read('/proc/loadavg'),
    at: new Date().toISOString(),
  };
}
