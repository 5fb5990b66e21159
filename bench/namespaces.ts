import { execFileSync, type SpawnOptions, spawn } from 'node:child_process';

/** Two network namespaces joined by a cable (veth): 192.0.2.1 and 192.0.2.2. */
export interface Pair {
  readonly a: string;
  readonly b: string;
}

export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Makes the pair. With `segmenting` the cable takes no UDP super-packets, as most real network cards behind a bridge. */
export function makePair(name: string, segmenting: boolean): Pair {
  const [a, b] = [`${name}-a`, `${name}-b`];
  const sides = [
    [a, '192.0.2.1'],
    [b, '192.0.2.2'],
  ] as const;
  for (const [side] of sides) run('ip', 'netns', 'add', side);
  run('ip', 'link', 'add', 'eth0', 'netns', a, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', b);
  for (const [side, address] of sides) {
    run('ip', '-n', side, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    run('ip', '-n', side, 'link', 'set', 'lo', 'up');
    run('ip', '-n', side, 'link', 'set', 'eth0', 'up');
    if (segmenting) inside(side, 'ethtool', '-K', 'eth0', 'tx-udp-segmentation', 'off');
  }
  return { a, b };
}

export function removePair({ a, b }: Pair): void {
  for (const side of [a, b]) run('ip', 'netns', 'del', side);
}

export const inside = (side: string, ...command: string[]): string =>
  run('ip', 'netns', 'exec', side, ...command);

export const spawnInside = (side: string, command: readonly string[], options: SpawnOptions) =>
  spawn('ip', ['netns', 'exec', side, ...command], options);
