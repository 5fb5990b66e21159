import { execFile, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { promisify } from 'node:util';

/** Two network namespaces joined by a cable (veth): 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2. */
export interface Pair {
  readonly a: string;
  readonly b: string;
}

/**
 * plain: takes UDP super-packets whole, as veth does. segmenting: takes them apart and joins nothing on the way in, as a simple network card.
 * joining: takes them apart, and the receiver joins them again (GRO), as a good one.
 */
export type Cable = 'plain' | 'segmenting' | 'joining';

export type Family = 4 | 6;

/** The address of a side on the cable. */
export const outerAddress = (side: 'a' | 'b', family: Family): string =>
  `${family === 4 ? '192.0.2.' : '2001:db8::'}${side === 'a' ? 1 : 2}`;

export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export function makePair(name: string, cable: Cable): Pair {
  const [a, b] = [`${name}-a`, `${name}-b`];
  const sides = [
    [a, 'a'],
    [b, 'b'],
  ] as const;
  for (const [namespace] of sides) run('ip', 'netns', 'add', namespace);
  run('ip', 'link', 'add', 'eth0', 'netns', a, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', b);
  for (const [namespace, side] of sides) {
    const ip = (...args: string[]): string => run('ip', '-n', namespace, ...args);
    ip('addr', 'add', `${outerAddress(side, 4)}/24`, 'dev', 'eth0');
    ip('addr', 'add', `${outerAddress(side, 6)}/64`, 'dev', 'eth0', 'nodad');
    ip('link', 'set', 'lo', 'up');
    if (cable !== 'plain') inside(namespace, 'ethtool', '-K', 'eth0', 'tx-udp-segmentation', 'off');
    // veth joins only what comes from a device that takes no TCP super-packets either.
    const receive = cable === 'joining' ? ['tso', 'off', 'gro', 'on'] : ['gro', 'off'];
    inside(namespace, 'ethtool', '-K', 'eth0', ...receive);
    ip('link', 'set', 'eth0', 'up');
  }
  return { a, b };
}

export function removePair({ a, b }: Pair): void {
  for (const side of [a, b]) run('ip', 'netns', 'del', side);
}

export const inside = (side: string, ...command: string[]): string =>
  run('ip', 'netns', 'exec', side, ...command);

/** Like `inside`, for what runs beside something else. */
export async function insideMeanwhile(side: string, ...command: string[]): Promise<string> {
  const args = ['netns', 'exec', side, ...command];
  return (await promisify(execFile)('ip', args, { maxBuffer: 1 << 24 })).stdout;
}

export const spawnInside = (side: string, command: readonly string[], options: SpawnOptions) =>
  spawn('ip', ['netns', 'exec', side, ...command], options);
