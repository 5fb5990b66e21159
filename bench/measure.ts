import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Tunnel } from './contenders.ts';
import { inside, type Pair } from './namespaces.ts';

/** Figures of one contender in one round. */
export interface Row {
  readonly tcpMbitPerSecond: number;
  /** CPU-seconds of the tunnel's processes per 10^9 bytes of TCP payload. */
  readonly tunnelCpuPerGb: number;
  /** CPU-seconds of the whole machine, the traffic generator included. */
  readonly machineCpuPerGb: number;
  readonly rttMs: number;
  /** Delivered UDP packets of 100 bytes, in thousands per second. */
  readonly udp100Kpps: number;
}

/** Ticks of the kernel's CPU accounting per second (USER_HZ, 100 on every Linux platform that Node runs on). */
const TICKS_PER_SECOND = 100;
const FROM_ADDRESS = '10.9.0.2';

export async function measure(pair: Pair, tunnel: Tunnel, seconds: number): Promise<Row> {
  inside(pair.a, 'ping', '-c', '3', '-i', '0.2', '-W', '2', '-q', FROM_ADDRESS);
  const tunnelBefore = processTicks(tunnel.pids);
  const machineBefore = machineTicks();
  const tcp = await iperf(pair, ['-t', String(seconds)]);
  const tunnelTicks = processTicks(tunnel.pids) - tunnelBefore;
  const machineTicksUsed = machineTicks() - machineBefore;
  const gigabytes = tcp.end.sum_received.bytes / 1e9;
  const ping = inside(pair.a, 'ping', '-c', '200', '-i', '0.005', '-q', FROM_ADDRESS);
  const udp = await iperf(pair, ['-u', '-b', '0', '-l', '100', '-t', '3']);
  const { packets, lost_packets, seconds: udpSeconds } = udp.end.sum;
  return {
    tcpMbitPerSecond: tcp.end.sum_received.bits_per_second / 1e6,
    tunnelCpuPerGb: tunnelTicks / TICKS_PER_SECOND / gigabytes,
    machineCpuPerGb: machineTicksUsed / TICKS_PER_SECOND / gigabytes,
    rttMs: Number(/= [0-9.]+\/([0-9.]+)\//.exec(ping)?.[1]),
    udp100Kpps: (packets - lost_packets) / udpSeconds / 1e3,
  };
}

interface IperfResult {
  readonly end: {
    readonly sum_received: { readonly bytes: number; readonly bits_per_second: number };
    readonly sum: {
      readonly packets: number;
      readonly lost_packets: number;
      readonly seconds: number;
    };
  };
}

async function iperf(pair: Pair, options: readonly string[]): Promise<IperfResult> {
  inside(pair.b, 'iperf3', '-s', '-1', '-D');
  for (let i = 0; i < 100; i++) {
    if (inside(pair.b, 'ss', '-Hltn', 'sport = :5201') !== '') break;
    await sleep(20);
  }
  return JSON.parse(inside(pair.a, 'iperf3', '-J', '-c', FROM_ADDRESS, ...options));
}

function processTicks(pids: readonly number[]): number {
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
function machineTicks(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]!
    .split(/\s+/)
    .map(Number);
  return user! + nice! + system! + irq! + softirq!;
}
