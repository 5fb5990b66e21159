import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { compiledTool } from './compile.ts';
import type { Tunnel } from './contenders.ts';
import { type Figures, mean, percentile } from './figures.ts';
import { type Family, inside, insideMeanwhile, type Pair, spawnInside } from './namespaces.ts';

/** A tunnel that is up. */
export interface Subject {
  readonly pair: Pair;
  readonly tunnel: Tunnel;
  /** Where the far end answers inside the tunnel. */
  readonly address: string;
  readonly family: Family;
  readonly seconds: number;
}

/** Ticks of the kernel's CPU accounting per second (USER_HZ, 100 on every Linux platform that Node runs on). */
const TICKS_PER_SECOND = 100;
const IDLE_PINGS = 600;
const IDLE_PING_SECONDS = 0.005;
const LOADED_PING_SECONDS = 0.01;
const UDP100_SECONDS = 3;
const LOAD_PORT = '5202';

/** One TCP flow, and what it costs. */
export async function tcp(on: Subject): Promise<Figures> {
  const tunnelBefore = processTicks(on.tunnel.pids);
  const machineBefore = machineTicks();
  const { bytes, bits_per_second } = (await iperf(on, forSeconds(on))).end.sum_received;
  const gigabytes = bytes / 1e9;
  return {
    tcp: bits_per_second / 1e6,
    tunnelCpu: (processTicks(on.tunnel.pids) - tunnelBefore) / TICKS_PER_SECOND / gigabytes,
    machineCpu: (machineTicks() - machineBefore) / TICKS_PER_SECOND / gigabytes,
  };
}

/** With nothing else to do. */
export async function rtt(on: Subject): Promise<Figures> {
  const times = await ping(on, IDLE_PINGS, IDLE_PING_SECONDS);
  return { rtt: mean(times), rttMedian: percentile(times, 0.5), rttP99: percentile(times, 0.99) };
}

/** Beside a TCP flow that takes all it can get. */
export async function loadedRtt(on: Subject): Promise<Figures> {
  const flow = iperf(on, forSeconds(on));
  // Past the slow start.
  await sleep(500);
  const times = await ping(on, ((on.seconds - 1) / LOADED_PING_SECONDS) | 0, LOADED_PING_SECONDS);
  await flow;
  return { loadedRtt: mean(times), loadedRttP99: percentile(times, 0.99) };
}

export async function udp100(on: Subject): Promise<Figures> {
  const options = ['-u', '-b', '0', '-l', '100', '-t', String(UDP100_SECONDS)];
  const { packets, lost_packets, seconds } = (await iperf(on, options)).end.sum;
  return { udp100: (packets - lost_packets) / seconds / 1e3 };
}

export async function bidir(on: Subject): Promise<Figures> {
  const { end } = await iperf(on, ['--bidir', ...forSeconds(on)]);
  const bits =
    end.sum_received.bits_per_second + (end.sum_received_bidir_reverse?.bits_per_second ?? 0);
  return { bidir: bits / 1e6 };
}

export async function parallel(on: Subject): Promise<Figures> {
  const { end } = await iperf(on, ['-P', '8', ...forSeconds(on)]);
  return { parallel: end.sum_received.bits_per_second / 1e6 };
}

/** A program that gives the kernel 45 datagrams at a time (iperf3 has no such thing). */
export async function uso(on: Subject): Promise<Figures> {
  const { bytes, seconds } = await udpLoad(on, 'large');
  return { uso: seconds > 0 ? (bytes * 8) / seconds / 1e6 : 0 };
}

/**
 * As `udp100`, between programs that need a fraction of iperf3's CPU time (64 datagrams a system call): on few cores iperf3 takes more of
 * the machine than the tunnel.
 */
export async function udp100Lean(on: Subject): Promise<Figures> {
  const { bytes, seconds } = await udpLoad(on, 'small');
  return { udp100Lean: seconds > 0 ? bytes / 100 / seconds / 1e3 : 0 };
}

/** `native/udp-load.c` at both ends. */
async function udpLoad(
  on: Subject,
  kind: 'large' | 'small',
): Promise<{ bytes: number; seconds: number }> {
  const tool = compiledTool('udp-load');
  const receiver = spawnInside(on.pair.b, [tool, `receive-${kind}`, on.address, LOAD_PORT], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  const ended = new Promise((resolve) => receiver.once('close', resolve));
  await new Promise<void>((resolve) => {
    receiver.stdout!.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      resolve();
    });
    receiver.once('close', () => resolve());
  });
  const seconds = String(on.seconds);
  await insideMeanwhile(on.pair.a, tool, `send-${kind}`, on.address, LOAD_PORT, seconds);
  await ended;
  return JSON.parse(text.slice(text.indexOf('{')));
}

/** Round-trip times in milliseconds of those that came back. */
export async function ping(on: Subject, count: number, everySeconds: number): Promise<number[]> {
  const options = ['-c', String(count), '-i', String(everySeconds), '-W', '1'];
  const text = await insideMeanwhile(on.pair.a, 'ping', '-n', ...options, on.address);
  return [...text.matchAll(/time=([0-9.]+) ms/g)].map(([, ms]) => Number(ms));
}

/** Waits for the first answer through the tunnel. */
export async function waitForAnswer(on: Subject): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await insideMeanwhile(on.pair.a, 'ping', '-n', '-c', '1', '-W', '1', on.address);
      break;
    } catch (error) {
      if (attempt === 30) throw error;
    }
  }
  await ping(on, 3, 0.2);
}

export interface IperfResult {
  readonly end: {
    readonly sum_received: IperfSum;
    readonly sum_received_bidir_reverse?: IperfSum;
    readonly sum_sent: { readonly retransmits?: number };
    readonly sum: {
      readonly packets: number;
      readonly lost_packets: number;
      readonly seconds: number;
    };
  };
}

interface IperfSum {
  readonly bytes: number;
  readonly bits_per_second: number;
}

const forSeconds = ({ seconds }: Subject): string[] => ['-t', String(seconds)];

export async function iperf(
  { pair, address }: Pick<Subject, 'pair' | 'address'>,
  options: readonly string[],
): Promise<IperfResult> {
  inside(pair.b, 'iperf3', '-s', '-1', '-D');
  for (let i = 0; i < 100; i++) {
    if (inside(pair.b, 'ss', '-Hltn', 'sport = :5201') !== '') break;
    await sleep(20);
  }
  return JSON.parse(await insideMeanwhile(pair.a, 'iperf3', '-J', '-c', address, ...options));
}

export function processTicks(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name may contain spaces; fields are counted after its closing parenthesis.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks;
}

/** Ticks that were not idle: user, nice, system, irq, softirq. */
export function machineTicks(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]!
    .split(/\s+/)
    .map(Number);
  return user! + nice! + system! + irq! + softirq!;
}
