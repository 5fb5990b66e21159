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
import { withinMs } from './wait.ts';

const answerTimeoutMs = 20_000;

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
  readonly #namespace: string;
  readonly #waiting: Map<number, PromiseWithResolvers<string>>;
  #nextId = 1;

  private constructor(
    process: LabProcess,
    namespace: string,
    waiting: Map<number, PromiseWithResolvers<string>>,
  ) {
    this.#process = process;
    this.#namespace = namespace;
    this.#waiting = waiting;
    void process.ended.then(() => {
      for (const { reject } of waiting.values()) reject(new Error(process.tail));
    });
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
    const waiting = new Map<number, PromiseWithResolvers<string>>();
    const process = host.lab.spawn(line, program, ['host', 'core', `${seed}`], {
      name: `impairment router of ${host.name}`,
      stdin: true,
      onLine: (text, stream) => stream === 'stdout' && hear(waiting, text),
    });
    await process.line(/^ready$/);
    return new ImpairmentRouter(process, line, waiting);
  }

  /** Replaces what it does to packets of a direction, as the host sees it, from now on. */
  async set(impairments: Impairments, direction: Direction = 'both'): Promise<void> {
    const pairs = Object.entries(impairments).map(
      ([name, value]) => `${settingNames[name as keyof Impairments]}=${value}`,
    );
    for (const way of direction === 'both' ? (['in', 'out'] as const) : [direction]) {
      const answer = await this.#ask([way, ...pairs].join(' '));
      if (answer !== 'ok') throw new RangeError(`impairment router: ${answer}`);
    }
  }

  /** What it has done so far. */
  async counters(): Promise<Readonly<Record<'in' | 'out', ImpairmentCounters>>> {
    return JSON.parse(await this.#ask('counters'));
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Ends it. The cable stays cut. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
    await ip(this.#namespace, 'link delete core').catch(() => {});
  }

  async #ask(command: string): Promise<string> {
    if (!this.#process.running) throw new Error(this.#process.tail);
    const id = this.#nextId++;
    const answer = Promise.withResolvers<string>();
    this.#waiting.set(id, answer);
    this.#process.stdin?.write(`${id} ${command}\n`);
    try {
      return await withinMs(`an answer to '${command}'`, answerTimeoutMs, answer.promise);
    } finally {
      this.#waiting.delete(id);
    }
  }
}

function hear(waiting: Map<number, PromiseWithResolvers<string>>, text: string): void {
  const [, id, answer] = /^(\d+) (.*)$/.exec(text) ?? [];
  if (id !== undefined) waiting.get(Number(id))?.resolve(answer as string);
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
