/** UDP sockets inside namespaces, driven from the test (see `udp-agent.ts`). */
import { fileURLToPath } from 'node:url';
import { pinnedNode } from './exec.ts';
import type { LabProcess, SpawnOptions } from './process.ts';
import { type WaitOptions, waitFor, withinMs } from './wait.ts';

const agentProgram = fileURLToPath(new URL('udp-agent.ts', import.meta.url));
const maxKept = 10_000;

export interface UdpAddress {
  readonly address: string;
  readonly port: number;
}

export interface Datagram {
  readonly data: string;
  readonly from: UdpAddress;
}

export type Spawn = (command: string, args: string[], options: SpawnOptions) => LabProcess;

export class UdpEndpoint {
  readonly port: number;
  /** Received so far, oldest first; the oldest go when there are too many. */
  readonly datagrams: Datagram[] = [];
  onDatagram: ((datagram: Datagram) => void) | undefined;
  readonly #say: (message: object) => void;
  readonly #id: number;

  /** @internal by {@link UdpAgent.open} */
  constructor(id: number, port: number, say: (message: object) => void) {
    this.#id = id;
    this.port = port;
    this.#say = say;
  }

  send(data: string, { address, port }: UdpAddress): void {
    this.#say({ send: this.#id, data: Buffer.from(data).toString('base64'), port, address });
  }

  /** True when a datagram with this content has come. */
  has(data: string): boolean {
    return this.datagrams.some((datagram) => datagram.data === data);
  }

  /** Waits for a datagram with this content. */
  received(data: string, options?: WaitOptions): Promise<Datagram> {
    return waitFor(
      `datagram '${data}' on port ${this.port}`,
      () => this.datagrams.find((datagram) => datagram.data === data),
      { intervalMs: 5, ...options },
    );
  }

  close(): void {
    this.#say({ close: this.#id });
  }

  /** @internal */
  accept(datagram: Datagram): void {
    this.datagrams.push(datagram);
    if (this.datagrams.length > maxKept) this.datagrams.shift();
    this.onDatagram?.(datagram);
  }
}

export class UdpAgent {
  readonly #process: LabProcess;
  readonly #endpoints = new Map<number, UdpEndpoint>();
  readonly #opening = new Map<number, PromiseWithResolvers<UdpEndpoint>>();
  #nextId = 1;

  constructor(hostName: string, spawn: Spawn) {
    this.#process = spawn(pinnedNode, ['--disable-warning=ExperimentalWarning', agentProgram], {
      name: `UDP agent of ${hostName}`,
      stdin: true,
      onLine: (line, stream) => stream === 'stdout' && this.#hear(JSON.parse(line)),
    });
    void this.#process.ended.then(() => {
      for (const { reject } of this.#opening.values()) reject(new Error(this.#process.tail));
    });
  }

  async open(local: UdpAddress): Promise<UdpEndpoint> {
    const id = this.#nextId++;
    const opening = Promise.withResolvers<UdpEndpoint>();
    this.#opening.set(id, opening);
    this.#say({ open: id, ...local });
    return withinMs(`opening a UDP socket (${this.#process.name})`, 10_000, opening.promise);
  }

  #say = (message: object): void => {
    if (!this.#process.running) throw new Error(`the agent is gone\n${this.#process.tail}`);
    this.#process.stdin?.write(`${JSON.stringify(message)}\n`);
  };

  #hear(message: Record<string, unknown>): void {
    const { opened, failed, received } = message;
    if (typeof opened === 'number') {
      const endpoint = new UdpEndpoint(opened, Number(message.port), this.#say);
      this.#endpoints.set(opened, endpoint);
      this.#opening.get(opened)?.resolve(endpoint);
      this.#opening.delete(opened);
    } else if (typeof failed === 'number') {
      this.#opening.get(failed)?.reject(new Error(`UDP socket: ${message.error}`));
      this.#opening.delete(failed);
    } else if (typeof received === 'number') {
      const from = { address: String(message.address), port: Number(message.port) };
      const data = Buffer.from(String(message.data), 'base64').toString();
      this.#endpoints.get(received)?.accept({ data, from });
    }
  }
}
