/**
 * A bad line: a router spliced into a host's cable that loses, doubles, reorders, breaks and delays
 * what passes, both ways as told, and counts what it did.
 *
 *     host             line (a namespace)             Internet or LAN
 *     eth0 ═══════ host ── forwarder ── core ═══════ p3
 *
 * It forwards frames as they are, so addresses, hops and neighbours do not notice it. Cables on both
 * sides carry single packets with complete checksums (their offloads are off), as a real line does:
 * each fault meets one packet. What it does is decided in `native/policy.c`, from a seed.
 */
import { execChecked } from './exec.ts';
import { type Host, uplink } from './host.ts';
import type { Direction } from './link.ts';
import { nativeProgram } from './native.ts';
import { ip, runIn, sysctl } from './netns.ts';
import type { LabProcess } from './process.ts';
import { Questions } from './questions.ts';

/** Rates are probabilities for each packet. What is absent is not done. */
export interface Impairments {
  readonly lossRate?: number;
  /** Probability that a burst begins, in which all is lost, and its mean length. */
  readonly burstRate?: number;
  readonly burstPackets?: number;
  /**
   * Changes one bit of the payload of a UDP datagram and its checksum with it, so that the program
   * which receives it sees it.
   */
  readonly corruptRate?: number;
  readonly duplicateRate?: number;
  /** Holds a packet back by up to `reorderMs`, so that later ones overtake it. */
  readonly reorderRate?: number;
  readonly reorderMs?: number;
  /** Of everything. */
  readonly delayMs?: number;
  /** On top of the delay, 0 to this; does not reorder. */
  readonly jitterMs?: number;
  /** Of a bottleneck, and how much waits in front of it. */
  readonly rateMbit?: number;
  readonly queueBytes?: number;
}

/** Of one direction. A packet is at most one of lost, corrupted and duplicated. */
export interface ImpairmentCounters {
  /** On the way now. */
  readonly held: number;
  readonly received: number;
  readonly sent: number;
  /** Of those: ARP and neighbour discovery. */
  readonly unimpaired: number;
  readonly lost: number;
  readonly lostInBursts: number;
  readonly corrupted: number;
  readonly duplicated: number;
  /** Held back. */
  readonly reordered: number;
  /** No room in front of the bottleneck. */
  readonly queueDropped: number;
  /** More on the way than the router has room for. */
  readonly poolDropped: number;
  /** Longer than a frame of 2,034 bytes: an offload was turned on again. */
  readonly tooLong: number;
  /** Not read in time: the router was too slow. */
  readonly missed: number;
  /** The interface on the other side was down. */
  readonly sendFailed: number;
}

const settingNames: Readonly<Record<keyof Impairments, string>> = {
  lossRate: 'loss',
  burstRate: 'burst',
  burstPackets: 'burst-packets',
  corruptRate: 'corrupt',
  duplicateRate: 'duplicate',
  reorderRate: 'reorder',
  reorderMs: 'reorder-ms',
  delayMs: 'delay-ms',
  jitterMs: 'jitter-ms',
  rateMbit: 'rate-mbit',
  queueBytes: 'queue-bytes',
};

export class ImpairmentRouter implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #questions: Questions;
  readonly #namespace: string;

  private constructor(process: LabProcess, questions: Questions, namespace: string) {
    this.#process = process;
    this.#questions = questions;
    this.#namespace = namespace;
  }

  /**
   * Splices a router into the cable of a host or home router that stays where it is. Faults of the
   * cable itself (`Link.impair`) are to be made afterwards.
   * @param seed of the decisions: the same packets meet the same fate
   */
  static async splice(host: Host, { seed = 1 } = {}): Promise<ImpairmentRouter> {
    const program = await nativeProgram('impairment-router');
    const line = await host.lab.namespace(`${host.name}-line`);
    await spliceCable(host, line);
    const { process, questions } = Questions.spawn(
      (onLine) =>
        host.lab.spawn(line, program, ['host', 'core', `${seed}`], {
          ...{ name: `impairment router of ${host.name}`, stdin: true, onLine },
        }),
      'impairment router',
    );
    await process.line(/^ready$/);
    return new ImpairmentRouter(process, questions, line);
  }

  /** Replaces what it does to packets of a direction, as the host sees it, from now on. */
  async set(impairments: Impairments, direction: Direction = 'both'): Promise<void> {
    const pairs = Object.entries(impairments).map(
      ([name, value]) => `${settingNames[name as keyof Impairments]}=${value}`,
    );
    for (const way of direction === 'both' ? (['in', 'out'] as const) : [direction]) {
      await this.#questions.order([way, ...pairs].join(' '));
    }
  }

  /** What it has done so far. */
  async counters(): Promise<Readonly<Record<'in' | 'out', ImpairmentCounters>>> {
    return JSON.parse(await this.#questions.ask('counters'));
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Ends it. The cable stays cut. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
    await ip(this.#namespace, 'link delete core').catch(() => {});
  }
}

/** The far end of the cable becomes `host` of the line; a second one from `core` takes its place. */
async function spliceCable(host: Host, line: string): Promise<void> {
  const { near, far } = host.link;
  const { address, mtu } = await shown(far.namespace, far.device);
  // Nothing of the line's own is on it: no neighbour discovery, no answers.
  await sysctl(line, {
    'net.ipv6.conf.all.disable_ipv6': 1,
    'net.ipv6.conf.default.disable_ipv6': 1,
  });
  await ip(far.namespace, `link set ${far.device} netns ${line} name host`);
  await ip(
    line,
    `link set host mtu ${mtu} arp off`,
    `link add core mtu ${mtu} arp off type veth peer name ${far.device} netns ${far.namespace}`,
  );
  await sysctl(far.namespace, { [`net.ipv6.conf.${far.device}.accept_dad`]: 0 });
  // With the address of the old one: the host knows it as its neighbour.
  await ip(far.namespace, `link set ${far.device} address ${address} mtu ${mtu} up`);
  await ip(line, 'link set host up', 'link set core up');
  for (const [namespace, device] of [
    [near.namespace, uplink],
    [far.namespace, far.device],
  ] as const) {
    await runIn(namespace, 'ethtool', ['-K', device, 'tx', 'off', 'tx-udp-segmentation', 'off']);
  }
  await host.setCarrier(true);
}

async function shown(namespace: string, device: string): Promise<{ address: string; mtu: number }> {
  const text = await execChecked('ip', ['-n', namespace, '-j', 'link', 'show', 'dev', device]);
  return JSON.parse(text)[0];
}
