/**
 * A cable: a veth pair between two namespaces. The near end is a host's, the far end the port of
 * whatever carries it.
 *
 *   host ── eth0 ═══ p3 ── Internet or LAN
 *          near       far
 *
 * Faults are made at the far end, where the host cannot see them: a cut cable keeps its carrier,
 * and neighbours are still found (ARP, ND), as when a line is broken further away.
 */
import { ip, nft, runIn, sysctl } from './netns.ts';

export interface End {
  readonly namespace: string;
  readonly device: string;
}

/** From the host's point of view. */
export type Direction = 'both' | 'in' | 'out';

export interface Counters {
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly txPackets: number;
  readonly txBytes: number;
}

export class Link {
  readonly near: End;
  readonly far: End;

  private constructor(near: End, far: End) {
    this.near = near;
    this.far = far;
  }

  /** Makes both ends, and sets them up. */
  static async create(near: End, far: End): Promise<Link> {
    await ip(
      near.namespace,
      `link add ${near.device} type veth peer name ${far.device} netns ${far.namespace}`,
    );
    for (const { namespace, device } of [near, far]) {
      // An address that is used at once, not after a second of duplicate address detection.
      await sysctl(namespace, { [`net.ipv6.conf.${device}.accept_dad`]: 0 });
      await ip(namespace, `link set ${device} up`);
    }
    return new Link(near, far);
  }

  /**
   * Drops packets silently, as a broken line far away does; both directions unless told otherwise.
   */
  async cut(direction: Direction = 'both'): Promise<void> {
    await this.impair({ lossRate: 1, direction });
  }

  /**
   * Drops each packet with the probability `lossRate`; a super-packet of an offload counts as one
   * packet. Replaces earlier faults of this link.
   */
  async impair({
    lossRate,
    direction = 'both',
  }: {
    readonly lossRate: number;
    readonly direction?: Direction;
  }): Promise<void> {
    if (!(lossRate >= 0 && lossRate <= 1)) throw new RangeError(`lossRate ${lossRate}: 0 to 1`);
    const ofMillion = Math.round(lossRate * 1_000_000);
    const lost = lossRate === 1 ? '' : `numgen random mod 1000000 < ${ofMillion}`;
    // What the host sends comes in at the far end.
    const hooks = { in: ['egress'], out: ['ingress'], both: ['ingress', 'egress'] }[direction];
    const chains = hooks.map(
      (hook) => `
        chain ${hook} {
          type filter hook ${hook} device "${this.far.device}" priority 0; policy accept;
          meta protocol arp accept
          icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
          ${ofMillion === 0 ? '' : `${lost} counter drop`}
        }`,
    );
    await nft(
      this.far.namespace,
      `${this.#noFaults()} table netdev ${this.#table} {${chains.join('')}\n}`,
    );
  }

  /** Takes all faults away. */
  async restore(): Promise<void> {
    await nft(this.far.namespace, this.#noFaults());
  }

  /**
   * The cable is pulled out of the far end: the host sees that its carrier is lost, and keeps its
   * addresses.
   */
  async carrier(on: boolean): Promise<void> {
    await ip(this.far.namespace, `link set ${this.far.device} ${on ? 'up' : 'down'}`);
  }

  /** Sets both ends. */
  async mtu(bytes: number): Promise<void> {
    for (const { namespace, device } of [this.near, this.far]) {
      await ip(namespace, `link set ${device} mtu ${bytes}`);
    }
  }

  /** What the near end has received and sent. */
  async counters(): Promise<Counters> {
    return interfaceCounters(this.near.namespace, this.near.device);
  }

  async remove(): Promise<void> {
    await this.restore();
    await ip(this.near.namespace, `link delete ${this.near.device}`);
  }

  get #table(): string {
    return `faults_${this.far.device}`;
  }

  /** Adding an empty table first makes the deletion valid also when there is none. */
  #noFaults(): string {
    return `table netdev ${this.#table} {}\ndelete table netdev ${this.#table}\n`;
  }
}

export async function interfaceCounters(namespace: string, device: string): Promise<Counters> {
  const text = await runIn(namespace, 'ip', ['-j', '-s', 'link', 'show', 'dev', device]);
  const { rx, tx } = JSON.parse(text)[0].stats64;
  return { rxPackets: rx.packets, rxBytes: rx.bytes, txPackets: tx.packets, txBytes: tx.bytes };
}
