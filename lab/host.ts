/** A machine: a namespace with, when attached, one cable `eth0` to the Internet or to a LAN. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ExecOptions, type ExecResult, exec } from './exec.ts';
import type { Lab } from './lab.ts';
import { type Counters, interfaceCounters, type Link } from './link.ts';
import { enter, filesOf, ip, nft, runIn, sysctl } from './netns.ts';
import type { LabProcess, SpawnOptions } from './process.ts';
import { UdpAgent, type UdpEndpoint } from './udp.ts';

export const uplink = 'eth0';

/** What a network gives a host that is plugged into it, and how to take it back. */
export interface Attachment {
  readonly link: Link;
  readonly ipv4: string;
  readonly ipv6: string | undefined;
  /** (Re)applies addresses and routes at both ends: for the start, and after the link was down. */
  configure(): Promise<void>;
  /** Changes the addresses under the same cable. */
  readdress(): Promise<void>;
  detach(): Promise<void>;
}

/** Something to plug a host into: the Internet, a LAN. */
export interface Network {
  attach(host: Host): Promise<void>;
}

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  /** Undefined when nothing came back. */
  readonly averageRttMs: number | undefined;
  readonly output: string;
}

export class Host {
  readonly lab: Lab;
  readonly name: string;
  readonly namespace: string;
  #attachment: Attachment | undefined;
  #agent: UdpAgent | undefined;

  private constructor(lab: Lab, name: string, namespace: string) {
    this.lab = lab;
    this.name = name;
    this.namespace = namespace;
  }

  static async create(lab: Lab, name: string): Promise<Host> {
    return new Host(lab, name, await lab.namespace(name));
  }

  /** Its address on `eth0`. Throws while it is not attached. */
  get ipv4(): string {
    return this.#attached().ipv4;
  }

  /** Its global address on `eth0`. Throws while there is none. */
  get ipv6(): string {
    const { ipv6 } = this.#attached();
    if (ipv6 === undefined) throw new Error(`${this.name} has no IPv6 address`);
    return ipv6;
  }

  get hasIpv6(): boolean {
    return this.#attachment?.ipv6 !== undefined;
  }

  /** The cable, for faults, MTU and counters. */
  get link(): Link {
    return this.#attached().link;
  }

  /** Unplugs it from where it is and plugs it in here, with a new address: how a laptop roams. */
  async plug(network: Network): Promise<void> {
    await this.unplug();
    await network.attach(this);
  }

  async unplug(): Promise<void> {
    const attachment = this.#attachment;
    this.#attachment = undefined;
    await attachment?.detach();
  }

  /** For networks: notes what it is plugged into, and applies it. */
  async attached(attachment: Attachment): Promise<void> {
    if (this.#attachment !== undefined) throw new Error(`${this.name} is attached already`);
    this.#attachment = attachment;
    await attachment.configure();
  }

  /** It gets other addresses where it is, as by a new lease. */
  async changeAddress(): Promise<void> {
    await this.#attached().readdress();
  }

  /** For networks: what it is plugged into, as one of their kind. */
  attachmentAs<T extends Attachment>(kind: abstract new (...args: never[]) => T): T {
    const attachment = this.#attached();
    if (attachment instanceof kind) return attachment;
    throw new Error(`${this.name} is plugged into another kind of network`);
  }

  /** Pulls the cable or puts it back: the carrier is lost, addresses stay. */
  async setCarrier(on: boolean): Promise<void> {
    await this.link.carrier(on);
    if (on) await this.#attached().configure();
  }

  /**
   * Sets `eth0` down or up, as an administrator does: its routes and IPv6 addresses go and come.
   */
  async setInterface(up: boolean): Promise<void> {
    await ip(this.namespace, `link set ${uplink} ${up ? 'up' : 'down'}`);
    if (up) await this.#attached().configure();
  }

  /** Programs that start from now on resolve the name here. */
  knows(name: string, addresses: readonly string[]): void {
    const directory = filesOf(this.namespace);
    mkdirSync(directory, { recursive: true });
    const lines = addresses.map((address) => `${address} ${name}\n`);
    writeFileSync(
      join(directory, 'hosts'),
      `127.0.0.1 localhost\n::1 localhost\n${lines.join('')}`,
    );
  }

  /** Runs a command here to its end, in bounded time. Its exit code is returned, not thrown. */
  run(command: string, args: readonly string[] = [], options?: ExecOptions): Promise<ExecResult> {
    return exec('ip', enter(this.namespace, command, args), options);
  }

  /** Runs a command here that must succeed. Returns its standard output. */
  check(command: string, args: readonly string[] = [], options?: ExecOptions): Promise<string> {
    return runIn(this.namespace, command, args, options);
  }

  /** Starts a program here; it ends with the laboratory. */
  spawn(command: string, args: readonly string[] = [], options: SpawnOptions = {}): LabProcess {
    const name = options.name ?? `${command} on ${this.name}`;
    return this.lab.spawn(this.namespace, command, args, { ...options, name });
  }

  /** `ip` commands, one each, without the word `ip`. */
  ip(...lines: string[]): Promise<void> {
    return ip(this.namespace, ...lines);
  }

  nft(ruleset: string): Promise<void> {
    return nft(this.namespace, ruleset);
  }

  sysctl(settings: Record<string, number | string>): Promise<void> {
    return sysctl(this.namespace, settings);
  }

  /** Pings from here, waiting at most `timeoutMs` for each answer; IPv4 or IPv6 by the address. */
  async ping(
    target: string,
    {
      count = 1,
      intervalMs = 50,
      timeoutMs = 2_000,
      sizeBytes = 56,
      dontFragment = false,
    }: {
      readonly count?: number;
      readonly intervalMs?: number;
      readonly timeoutMs?: number;
      readonly sizeBytes?: number;
      readonly dontFragment?: boolean;
    } = {},
  ): Promise<PingResult> {
    const args = ['-n', '-c', `${count}`, '-i', `${intervalMs / 1000}`, '-s', `${sizeBytes}`];
    args.push('-W', `${timeoutMs / 1000}`, ...(dontFragment ? ['-M', 'do'] : []), target);
    const boundMs = count * intervalMs + timeoutMs + 10_000;
    const { stdout, stderr } = await this.run('ping', args, { timeoutMs: boundMs });
    const received = Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
    const average = /= [\d.]+\/([\d.]+)\//.exec(stdout)?.[1];
    return {
      sent: count,
      received,
      averageRttMs: average === undefined ? undefined : Number(average),
      output: `${stdout}${stderr}`,
    };
  }

  /** Opens a UDP socket here; without a port, any free one. */
  async udp(
    options: { readonly port?: number; readonly address?: string } = {},
  ): Promise<UdpEndpoint> {
    this.#agent ??= new UdpAgent(this.name, (command, args, spawn) =>
      this.spawn(command, args, spawn),
    );
    return this.#agent.open({ port: options.port ?? 0, address: options.address ?? '0.0.0.0' });
  }

  /** A UDP socket that sends back what it receives. */
  async udpEcho(options: { readonly port?: number; readonly address?: string } = {}) {
    const endpoint = await this.udp(options);
    endpoint.onDatagram = ({ data, from }) => endpoint.send(data, from);
    return endpoint;
  }

  /** What an interface has received and sent. */
  counters(device = uplink): Promise<Counters> {
    return interfaceCounters(this.namespace, device);
  }

  /**
   * A firewall on the host itself, as desktops have: what it did not ask for is dropped silently,
   * UDP flows being remembered for `timeoutSeconds`. Tunnel interfaces are not filtered.
   */
  async setFirewall(on: boolean, { timeoutSeconds = 30 } = {}): Promise<void> {
    const none = 'table inet host_firewall {}\ndelete table inet host_firewall\n';
    if (!on) return this.nft(none);
    await this.sysctl(udpTimeouts(timeoutSeconds));
    await this.nft(`${none}
      table inet host_firewall {
        counter unsolicited { }
        chain input {
          type filter hook input priority filter; policy accept;
          ct state established,related accept
          icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
          iifname "${uplink}" counter name unsolicited drop
        }
      }`);
  }

  #attached(): Attachment {
    if (this.#attachment === undefined) throw new Error(`${this.name} is not attached`);
    return this.#attachment;
  }
}

/**
 * After the first packet and for a flow with answers alike: the mapping lifetime of cheap routers
 * is one number.
 */
export function udpTimeouts(seconds: number): Record<string, number> {
  return {
    'net.netfilter.nf_conntrack_udp_timeout': seconds,
    'net.netfilter.nf_conntrack_udp_timeout_stream': seconds,
  };
}
