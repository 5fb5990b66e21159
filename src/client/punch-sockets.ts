import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { closeSync } from 'node:fs';
import type { PathInput, PunchOutput } from '#core/path/io.ts';
import type { Engine } from '#engine/engine.ts';
import { openUdpDescriptor } from '#engine/udp-descriptor.ts';
import type { Endpoint } from '#wire/endpoint.ts';

/** Descriptors that an attempt leaves to the rest of the program. */
const mostSockets = 256;

const ordinaryTtl = 64;

type PunchInput = Extract<PathInput, { type: 'punch-opened' | 'punch-datagram' | 'punch-adopted' }>;

interface PunchSocket {
  readonly socket: Socket;
  readonly descriptor: number;
}

export interface PunchSocketsOptions {
  readonly engine: Pick<Engine, 'adoptSocket' | 'closeSocket'>;
  readonly report: (input: PunchInput) => void;
  /** For tests: opens descriptors. */
  readonly open?: () => number;
}

/**
 * The sockets of an attempt at a hard NAT (`core/path/punch`), outside the engine: they carry a packet or two each. The one that
 * is met goes to the engine with its descriptor, so that nothing that is on its way gets lost; the others are closed.
 */
export class PunchSockets {
  readonly #engine: PunchSocketsOptions['engine'];
  readonly #report: PunchSocketsOptions['report'];
  readonly #openDescriptor: () => number;
  #sockets: (PunchSocket | undefined)[] = [];
  /** Counts attempts, so that what belongs to one before is told apart. */
  #attempt = 0;
  /** The engine's handles of those that it took over. */
  readonly #adopted = new Set<number>();
  #closed = false;

  constructor({ engine, report, open = openUdpDescriptor }: PunchSocketsOptions) {
    this.#engine = engine;
    this.#report = report;
    this.#openDescriptor = open;
  }

  get size(): number {
    return this.#sockets.filter((socket) => socket !== undefined).length;
  }

  handle(output: PunchOutput): void {
    switch (output.type) {
      case 'punch-open':
        this.#open(output.count);
        break;
      case 'punch-send':
        this.#send(output.index, output.remote, output.bytes, output.ttl);
        break;
      case 'punch-adopt':
        void this.#adopt(output.index);
        break;
      case 'punch-close':
        this.#closeAll();
        break;
      case 'drop-socket':
        this.#drop(output.socket);
        break;
      default:
        output satisfies never;
    }
  }

  close(): void {
    this.#closed = true;
    this.#closeAll();
    for (const socket of this.#adopted) this.#drop(socket);
  }

  /** Opens until there are `count`, or no more can be; then tells how many there are. */
  #open(count: number): void {
    while (this.#sockets.length < Math.min(count, mostSockets)) {
      if (!this.#openOne()) break;
    }
    const attempt = this.#attempt;
    // Not from within the output that asked for it.
    setImmediate(() => {
      if (attempt !== this.#attempt || this.#closed) return;
      this.#report({ type: 'punch-opened', count: this.#sockets.length });
    });
  }

  #openOne(): boolean {
    let descriptor: number;
    try {
      descriptor = this.#openDescriptor();
    } catch {
      return false; // as many as there are descriptors for
    }
    const socket = createSocket('udp4');
    const attempt = this.#attempt;
    const index = this.#sockets.length;
    socket.on('message', (bytes: Uint8Array, { address, port }: RemoteInfo) => {
      if (attempt !== this.#attempt) return;
      this.#report({ type: 'punch-datagram', index, bytes, remote: { address, port } });
    });
    // One that fails hears nothing more; the others go on.
    socket.on('error', () => {});
    try {
      socket.bind({ fd: descriptor });
    } catch {
      closeSync(descriptor);
      socket.close();
      return false;
    }
    this.#sockets.push({ socket, descriptor });
    return true;
  }

  #send(index: number, remote: Endpoint, bytes: Uint8Array, ttl = ordinaryTtl): void {
    const socket = this.#sockets[index]?.socket;
    if (socket === undefined) return;
    try {
      socket.setTTL(ttl);
      socket.send(bytes, remote.port, remote.address, () => {}); // what cannot be sent is lost, as on any network
    } catch {
      // A socket that failed.
    }
  }

  async #adopt(index: number): Promise<void> {
    const known = this.#sockets[index];
    // It stays open until the engine has its copy, whatever happens to the others.
    this.#sockets[index] = undefined;
    const adopted = await this.#takeOver(known);
    known?.socket.close();
    if (!this.#closed) this.#report({ type: 'punch-adopted', index, ...adopted });
    else if (adopted.socket !== undefined) this.#drop(adopted.socket.socket);
  }

  #drop(socket: number): void {
    if (!this.#adopted.delete(socket)) return;
    this.#engine.closeSocket(socket).catch(() => {}); // the engine ended meanwhile
  }

  async #takeOver(known: PunchSocket | undefined) {
    if (known === undefined) return { reason: 'the socket is gone' };
    try {
      known.socket.setTTL(ordinaryTtl);
      const { socket, port } = await this.#engine.adoptSocket(known.descriptor);
      this.#adopted.add(socket);
      return { socket: { socket, family: 4, localPort: port } } as const;
    } catch (error) {
      return { reason: error instanceof Error ? error.message : String(error) };
    }
  }

  #closeAll(): void {
    this.#attempt += 1;
    for (const socket of this.#sockets) socket?.socket.close();
    this.#sockets = [];
  }
}
