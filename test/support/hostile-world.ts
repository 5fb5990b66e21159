/**
 *              server 198.51.100.10
 *                ║
 *   ═════════ Internet ═════════
 *     ║          ║          ║
 *    anna       bert     mallory       anna and bert share the network 'home'; mallory has a cable
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { pinnedNode } from '../../lab/exec.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { waitFor } from '../../lab/wait.ts';
import type { Flood } from './datagram-flood.ts';

const floodProgram = fileURLToPath(new URL('datagram-flood.ts', import.meta.url));
export const homePassword = 'correct horse battery staple';

export class HostileWorld implements AsyncDisposable {
  readonly lab: Lab;
  readonly internet: Internet;
  readonly server: BuriServer;
  readonly url: string;
  readonly token: string;
  readonly mallory: Host;

  private constructor(
    lab: Lab,
    internet: Internet,
    server: BuriServer,
    access: { readonly url: string; readonly token: string },
    mallory: Host,
  ) {
    this.lab = lab;
    this.internet = internet;
    this.server = server;
    this.url = access.url;
    this.token = access.token;
    this.mallory = mallory;
  }

  static async create(): Promise<HostileWorld> {
    const lab = await Lab.create();
    try {
      const internet = await Internet.create(lab);
      // No relay of the server's own: anna and bert then shake hands where the attacks hear and repeat it.
      const args = ['--log-level', 'debug', '--grace', '5', '--roles', 'control,stun'];
      const server = await BuriServer.start(await internet.host('server'), { args });
      const [url, token] = [await server.url(), await server.createToken(['--uses', '20'])];
      const mallory = await internet.host('mallory');
      return new HostileWorld(lab, internet, server, { url, token }, mallory);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A machine that is reached by IPv4 alone, so that there is one way to it. */
  async host(name: string): Promise<Host> {
    const host = await this.internet.host(name);
    await host.sysctl({ 'net.ipv6.conf.eth0.disable_ipv6': 1 });
    return host;
  }

  /** A machine with a daemon that is logged in. */
  async device(name: string, host?: Host, token = this.token): Promise<BuriDaemon> {
    const daemon = await BuriDaemon.start(host ?? (await this.host(name)));
    await daemon.verb('login', [this.url, '--nick', name, '--token', token, '--wait', '20']);
    return daemon;
  }

  /** The daemon that has ended, again: on its directory, and online by itself when it can be. */
  async restart({ host, directory }: BuriDaemon, online = true): Promise<BuriDaemon> {
    const daemon = await BuriDaemon.start(host, { directory });
    if (!online) return daemon;
    await waitFor(
      `${host.name} to be online`,
      async () => (await daemon.verb('status')).state === 'online',
      { timeoutMs: 20_000 },
    );
    return daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

export async function counters(daemon: BuriDaemon): Promise<Record<string, number>> {
  return (await daemon.verb('status')).counters;
}

/** What is added to the counters of a daemon while something goes on. */
export async function counted(
  daemon: BuriDaemon,
  during: () => Promise<void>,
): Promise<(name: string) => number> {
  const before = await counters(daemon);
  await during();
  const now = await counters(daemon);
  return (name) => {
    assert.ok(name in now, `there is a counter ${name}: ${Object.keys(now).join(' ')}`);
    return now[name]! - (before[name] ?? 0);
  };
}

export async function virtualAddress(daemon: BuriDaemon): Promise<string> {
  const { ipv4 } = await daemon.verb('status');
  assert.ok(ipv4, 'it is logged in');
  return ipv4;
}

export async function tunnelPort(daemon: BuriDaemon): Promise<number> {
  const { port } = await daemon.verb('status');
  assert.ok(port, 'it has a port');
  return port;
}

/** Waits until a ping passes. */
export function reaches(from: BuriDaemon, address: string, timeoutMs = 20_000): Promise<true> {
  return waitFor(
    `${from.host.name} to reach ${address}`,
    async () => (await from.host.ping(address, { timeoutMs: 500 })).received === 1,
    { timeoutMs },
  );
}

/** Resident memory in MB. */
export function memoryMb({ process }: BuriDaemon | BuriServer): number {
  const status = readFileSync(`/proc/${process.pid}/status`, 'latin1');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

export async function flood(host: Host, order: Flood, timeoutMs = 60_000): Promise<void> {
  const args = ['--disable-warning=ExperimentalWarning', floodProgram];
  await host.check(pinnedNode, args, { input: JSON.stringify(order), timeoutMs });
}

/** The three private keys of a daemon, as its owner could read them. */
export function privateKeys({ directory }: BuriDaemon) {
  const text = readFileSync(join(directory, 'identity.key'), 'utf8');
  const { identity, control, tunnel } = JSON.parse(text) as Record<string, string>;
  const key = (base64: string | undefined) => new Uint8Array(Buffer.from(base64!, 'base64url'));
  return { identity: key(identity), control: key(control), tunnel: key(tunnel) };
}
