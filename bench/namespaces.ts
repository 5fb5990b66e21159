import {
  type ChildProcess,
  execFile,
  execFileSync,
  type SpawnOptions,
  spawn,
} from 'node:child_process';
import { promisify } from 'node:util';
import { nativeProgram } from '../lab/native.ts';

/** Two network namespaces joined by a cable (veth): 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2. */
export interface Pair {
  readonly a: string;
  readonly b: string;
  /** The namespace of the bad line between them. */
  readonly line?: string;
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

/**
 * A pair with a router between them that does to every packet, both ways, what `faults` says in the words of the lab's impairment router.
 * Ends with `removePair`.
 */
export async function makeBadLine(name: string, faults: string): Promise<Pair> {
  const program = await nativeProgram('impairment-router');
  const { a, b, line } = { a: `${name}-a`, b: `${name}-b`, line: `${name}-line` };
  for (const namespace of [a, b, line]) run('ip', 'netns', 'add', namespace);
  inside(line, 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1');
  const cable = (namespace: string, end: string): void => {
    const peer = ['type', 'veth', 'peer', 'name', end, 'netns', line];
    run('ip', 'link', 'add', 'eth0', 'netns', namespace, ...peer);
    run('ip', '-n', line, 'link', 'set', end, 'arp', 'off', 'up');
  };
  cable(a, 'host');
  cable(b, 'core');
  for (const [namespace, side] of [
    [a, 'a'],
    [b, 'b'],
  ] as const) {
    const ip = (...args: string[]): string => run('ip', '-n', namespace, ...args);
    inside(namespace, 'ethtool', '-K', 'eth0', 'tx', 'off', 'tx-udp-segmentation', 'off');
    ip('addr', 'add', `${outerAddress(side, 4)}/24`, 'dev', 'eth0');
    ip('addr', 'add', `${outerAddress(side, 6)}/64`, 'dev', 'eth0', 'nodad');
    ip('link', 'set', 'lo', 'up');
    ip('link', 'set', 'eth0', 'up');
    // RFC 5681, which takes loss for congestion, whatever this machine uses: every kernel has it in every namespace.
    inside(namespace, 'sysctl', '-qw', 'net.ipv4.tcp_congestion_control=reno');
  }
  const router = spawnInside(line, [program, 'host', 'core', '1'], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  router.stdin!.write(`1 in ${faults}\n2 out ${faults}\n`);
  routers.set(line, router);
  return { a, b, line };
}

const routers = new Map<string, ChildProcess>();

export function removePair({ a, b, line }: Pair): void {
  if (line !== undefined) {
    routers.get(line)?.kill('SIGTERM');
    routers.delete(line);
    run('ip', 'netns', 'del', line);
  }
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
