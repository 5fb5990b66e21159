/**
 * A router's NAT of a kind that nftables cannot make: UDP over IPv4 is led into a TUN device, and a
 * program (`native/userspace-nat.c`) gives it back translated. Everything else is the kernel's.
 *
 *     LAN ── lan ──┐ mark      ┌── nat0 ── program ── nat0 ──┐      ┌── eth0 ── Internet
 *                  └─► table ──┘                             └─ route
 *     the other way alike: what is for the public address, and errors about it, goes to nat0 first
 */
import { type Host, uplink } from './host.ts';
import { bridge } from './lan.ts';
import type { NatBox } from './nat-kinds.ts';
import { portBlock } from './nat-kinds.ts';
import { nativeProgram } from './native.ts';
import type { LabProcess } from './process.ts';
import { Questions } from './questions.ts';

export const natDevice = 'nat0';
/** Of packets that go to the program. */
const mark = 1;
const table = 10;

export interface UserspaceNatSettings extends NatBox {
  readonly step: number;
  readonly foreignPerSecond: number;
  readonly timeoutSeconds: number;
  readonly hairpin: boolean;
}

/** A datagram's fate in the program. */
export type UserspaceNatCounters = Readonly<
  Record<
    | 'sent'
    | 'delivered'
    | 'hairpinned'
    | 'errorsDelivered'
    | 'unsolicited'
    | 'noPort'
    | 'noHairpin'
    | 'malformed'
    | 'writeFailed',
    number
  >
>;

export class UserspaceNat implements AsyncDisposable {
  readonly #process: LabProcess;
  readonly #questions: Questions;

  private constructor(process: LabProcess, questions: Questions) {
    this.#process = process;
    this.#questions = questions;
  }

  /**
   * Starts it in a router's namespace, and leads packets to its device; the rule set must mark them
   * ({@link divertRules}).
   */
  static async start(router: Host, lanIpv4: string, seed: number): Promise<UserspaceNat> {
    const program = await nativeProgram('userspace-nat');
    const [address = '', bits = ''] = lanIpv4.split('/');
    const args = [natDevice, router.ipv4, address, bits, `${seed}`];
    const { process, questions } = Questions.spawn(
      (onLine) =>
        router.spawn(program, args, { name: `NAT of ${router.name}`, stdin: true, onLine }),
      'userspace NAT',
    );
    await process.line(/^ready$/);
    await router.ip(
      `link set ${natDevice} up mtu 65535 txqueuelen 10000`,
      `route add default dev ${natDevice} table ${table}`,
      // Before what is for the router itself.
      `rule add pref 10 fwmark ${mark} lookup ${table}`,
      'rule add pref 20 lookup local',
      'rule del pref 0',
    );
    // What comes out of the device has the router's own address as its source.
    await router.sysctl({
      [`net.ipv4.conf.${natDevice}.accept_local`]: 1,
      [`net.ipv4.conf.${natDevice}.rp_filter`]: 0,
      'net.ipv4.conf.all.rp_filter': 0,
      [`net.ipv6.conf.${natDevice}.disable_ipv6`]: 1,
    });
    return new UserspaceNat(process, questions);
  }

  async set(settings: UserspaceNatSettings): Promise<void> {
    const { mapping, filtering, allocation, step, timeoutSeconds, hairpin } = settings;
    const pairs = {
      ...{ mapping, filtering, allocation, step, hairpin: hairpin ? 1 : 0 },
      ...{ 'block-first': portBlock.first, 'block-size': portBlock.size },
      'timeout-ms': timeoutSeconds * 1000,
      'foreign-per-second': settings.foreignPerSecond,
    };
    const words = Object.entries(pairs).map(([name, value]) => `${name}=${value}`);
    await this.#questions.order(`set ${words.join(' ')}`);
  }

  /** Forgets all mappings, and has this address from now on. */
  async setPublicAddress(ipv4: string): Promise<void> {
    await this.#questions.order(`public ${ipv4}`);
  }

  async forward(port: number, ipv4: string): Promise<void> {
    await this.#questions.order(`forward ${port} ${ipv4}`);
  }

  async flush(): Promise<void> {
    await this.#questions.order('flush');
  }

  async counters(): Promise<UserspaceNatCounters> {
    return JSON.parse(await this.#questions.ask('counters'));
  }

  /** Inside endpoint, public port, and the remote endpoint where the mapping depends on it (parts that do not matter are 0). */
  async mappings(): Promise<readonly (readonly [inside: string, port: number, remote: string])[]> {
    return JSON.parse(await this.#questions.ask('mappings'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}

/** Chains for the router's table: what goes to the program, and is not the kernel's to follow. */
export function divertRules(publicIpv4: string, lanIpv4: string): string {
  const ours = [
    `iifname "${bridge}" ip saddr ${lanIpv4} ip daddr != ${lanIpv4} meta l4proto udp`,
    `iifname "${uplink}" ip daddr ${publicIpv4} meta l4proto udp`,
  ];
  // Errors about what the router itself could not send on come from itself.
  const errors = [
    `iifname { "${uplink}", "lo" } ip daddr ${publicIpv4}`,
    'icmp type { destination-unreachable, time-exceeded, parameter-problem }',
    'ct state != { established, related }',
  ].join(' ');
  return `chain untracked {
      type filter hook prerouting priority raw; policy accept;
      iifname { "${bridge}", "${uplink}", "${natDevice}" } meta nfproto ipv4 meta l4proto udp notrack
    }
    chain divert {
      type filter hook prerouting priority mangle; policy accept;
      ${ours.map((rule) => `${rule} meta mark set ${mark}`).join('\n')}
      ${errors} meta mark set ${mark}
    }`;
}
