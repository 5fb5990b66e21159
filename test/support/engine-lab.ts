/** Packet engines in network namespaces, for tests: hosts on one cable, with keys installed by hand. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { AeadSuite } from '#core/crypto.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type {
  DeviceMode,
  Engine,
  EngineCounters,
  SocketInfo,
  TransportKeys,
} from '#engine/engine.ts';
import type { PacketEngineOptions } from '#engine/packet-engine.ts';
import { TransportKey } from '#engine/twin/transport.ts';
import {
  inside,
  insideMeanwhile,
  makePair,
  type Pair,
  removePair,
} from '../../bench/namespaces.ts';
import type { HostCall, HostMessage } from './engine-host.ts';

const HOST = fileURLToPath(new URL('./engine-host.ts', import.meta.url));

export interface HostEvent {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** One process in a namespace. */
export class Host {
  readonly namespace: string;
  readonly events: HostEvent[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve(value: unknown): void; reject(error: Error): void }
  >();
  #nextId = 1;

  /** @param wrapper a command that runs the host, such as one that takes rights away. */
  constructor(namespace: string, wrapper: readonly string[] = []) {
    this.namespace = namespace;
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', HOST];
    this.#child = spawn('ip', ['netns', 'exec', namespace, ...wrapper, ...node], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#child.on('message', (message: HostMessage) => this.#onMessage(message));
    this.#child.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('the host ended'));
    });
  }

  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#child.send({ id, method, args } satisfies HostCall);
    });
  }

  /** A method of the engine. */
  engine<M extends keyof Engine>(
    method: M,
    ...args: Engine[M] extends (...args: infer A) => unknown ? A : never
  ): Promise<Engine[M] extends (...args: never[]) => infer R ? Awaited<R> : never> {
    return this.call(method as string, ...args);
  }

  counters(): Promise<EngineCounters> {
    return this.engine('counters');
  }

  /** Waits until a counter has grown to a value. */
  async counter(name: string, atLeast: number): Promise<number> {
    let value = 0;
    await until(`${name} ≥ ${atLeast}`, async () => {
      value = (await this.counters())[name] ?? 0;
      return value >= atLeast;
    });
    return value;
  }

  /** Waits until its UDP socket has been given so many datagrams: a packet that left the interface is not there yet. */
  async datagrams(atLeast: number): Promise<Uint8Array[]> {
    const received: Uint8Array[] = [];
    await until(`${atLeast} datagrams`, async () => {
      for (const bytes of await this.call<Uint8Array[]>('udpReceived'))
        received.push(new Uint8Array(bytes));
      return received.length >= atLeast;
    });
    return received;
  }

  /** Waits for an event and takes it out of the list. */
  async event(name: string, matches: (args: readonly unknown[]) => boolean = () => true) {
    let found: HostEvent | undefined;
    await until(`event ${name}`, async () => {
      const at = this.events.findIndex((e) => e.name === name && matches(e.args));
      if (at >= 0) [found] = this.events.splice(at, 1);
      return at >= 0;
    });
    return found!.args;
  }

  run(...command: readonly string[]): string {
    return inside(this.namespace, ...command);
  }

  /** Beside something else; its output. */
  runMeanwhile(...command: readonly string[]): Promise<string> {
    return insideMeanwhile(this.namespace, ...command);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }

  #onMessage(message: HostMessage): void {
    if (message.type === 'event') {
      this.events.push(message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'result') waiting?.resolve(message.value);
    else waiting?.reject(Object.assign(new Error(message.message), { code: message.code }));
  }
}

/** Waits for a condition, never for time alone. */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 10_000; !(await condition()); await sleep(10)) {
    assert.ok(performance.now() < end, `waited 10 s for: ${what}`);
  }
}

export const INNER = { a: '10.9.0.1', b: '10.9.0.2' } as const;
export const INNER6 = { a: 'fd00:9::1', b: 'fd00:9::2' } as const;
export const OUTER = { a: '192.0.2.1', b: '192.0.2.2' } as const;
export type Side = 'a' | 'b';
export const otherSide = (side: Side): Side => (side === 'a' ? 'b' : 'a');
export const indexOf = (side: Side): number => (side === 'a' ? 0xa0000001 : 0xb0000001);

/** Bytes from which a side's receive key is made. */
const receiveKey = (side: Side): Uint8Array => nodeCrypto.sha256(new TextEncoder().encode(side));

export const keysOf = (side: Side, suite: AeadSuite): TransportKeys => ({
  peer: 0,
  suite,
  localIndex: indexOf(side),
  remoteIndex: indexOf(otherSide(side)),
  sendKey: receiveKey(otherSide(side)),
  receiveKey: receiveKey(side),
});

/** Seals as the other end of `side`'s tunnel does. */
export const sealerTo = (side: Side, suite: AeadSuite, counter = 0n): TransportKey =>
  new TransportKey(
    nodeCrypto,
    suite,
    indexOf(side),
    receiveKey(side),
    receiveKey(otherSide(side)),
    counter,
  );

export interface EndOptions extends PacketEngineOptions {
  readonly suite?: AeadSuite;
  readonly mtuBytes?: number;
  readonly mode?: DeviceMode;
  /** Of the other end, as its member told. */
  readonly otherMode?: DeviceMode;
}

export interface End {
  readonly host: Host;
  readonly socket: SocketInfo;
}

let made = 0;

/** A pair of namespaces and the hosts in it; disposing ends all. */
export class EngineLab implements AsyncDisposable {
  readonly pair: Pair;
  readonly #hosts: Host[] = [];

  constructor(segmenting = false) {
    this.pair = makePair(`eng${process.pid}x${made++}`, segmenting ? 'segmenting' : 'plain');
  }

  host(side: Side, wrapper: readonly string[] = []): Host {
    const host = new Host(this.pair[side], wrapper);
    this.#hosts.push(host);
    return host;
  }

  /** An engine with device and socket, its peer known, a path to the other side, and no keys. */
  async end(side: Side, options: EndOptions = {}, host = this.host(side)): Promise<End> {
    const {
      suite: _,
      mtuBytes = 1_400,
      mode = 'tun',
      otherMode = 'tun',
      ...engineOptions
    } = options;
    await host.call('create', engineOptions);
    const addresses = [INNER[side], INNER6[side]];
    const pools = ['10.9.0.0/24', 'fd00:9::/64'];
    const reached = { addresses, pools, broadcasts: ['10.9.0.255'] };
    await host.engine('openDevice', { name: `buri-${side}`, mode, mtuBytes, ...reached });
    host.run('ip', 'addr', 'add', `${INNER[side]}/24`, 'dev', `buri-${side}`);
    host.run('ip', 'addr', 'add', `${INNER6[side]}/64`, 'dev', `buri-${side}`, 'nodad');
    // As the client does in TUN mode: what the system sends comes from our address, not from one that it made up.
    if (mode === 'tun') host.run('ip', 'link', 'set', `buri-${side}`, 'addrgenmode', 'none');
    host.run('ip', 'link', 'set', `buri-${side}`, 'up');
    const socket = await host.engine('openSocket', { family: 4, port: 41_641 });
    const other = otherSide(side);
    await host.engine('setPeer', 0, { innerPrefixes: [INNER[other], `${INNER6[other]}/128`] });
    await host.engine('setLan', 0, { ethernet: otherMode === 'tap', groups: 'all' });
    await host.engine('setPath', 0, {
      socket: socket.socket,
      remote: { address: OUTER[other], port: 41_641 },
    });
    return { host, socket };
  }

  /** An engine that is ready to send. */
  async liveEnd(side: Side, options: EndOptions = {}, host = this.host(side)): Promise<End> {
    const end = await this.end(side, options, host);
    await end.host.engine('installKeys', keysOf(side, options.suite ?? 'aes256gcm'));
    await end.host.engine('activateKeys', indexOf(side));
    return end;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.stop()));
    removePair(this.pair);
  }
}

/** Moves bytes over TCP from one host to an address of the other, and compares the checksums. */
export async function transfer(
  from: Host,
  to: Host,
  address: string,
  megabytes: number,
): Promise<void> {
  await to.call('tcpServe', address, 5_001);
  const [sent, received] = await from.call<[string, string]>('tcpSend', address, 5_001, megabytes);
  assert.equal(received, sent, 'checksum of the transfer');
}

export function ping(host: Host, address: string, ...options: readonly string[]): void {
  host.run('ping', '-c', '3', '-i', '0.05', '-W', '5', '-q', ...options, address);
}
