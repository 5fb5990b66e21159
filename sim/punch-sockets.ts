/** The sockets of attempts at hard NATs on a simulated host, as `src/client/punch-sockets.ts` has them on a real one. */
import type { PathInput } from '#core/path/io.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { Host } from './network.ts';

const firstPort = 50_000;
const firstAdopted = 100;

export class SimPunchSockets {
  /** How many the system has descriptors for. */
  most = 1000;
  /** Set: the engine takes none, and says so. */
  adoptionFails: string | undefined;
  /** Ports of the sockets that the engine took over, by its handle. */
  readonly adopted = new Map<number, number>();
  /** The most that were open at once, and when they sent something. */
  openedMost = 0;
  readonly sentAt: number[] = [];
  readonly #host: Host;
  readonly #report: (input: PathInput) => void;
  readonly #now: () => number;
  #ports: (number | undefined)[] = [];
  #next = firstPort;
  #nextAdopted = firstAdopted;

  constructor(host: Host, now: () => number, report: (input: PathInput) => void) {
    this.#host = host;
    this.#now = now;
    this.#report = report;
  }

  get size(): number {
    return this.#ports.length;
  }

  open(count: number): void {
    while (this.#ports.length < Math.min(count, this.most)) {
      const port = this.#next++;
      if (this.#next > 64_000) this.#next = firstPort;
      const index = this.#ports.push(port) - 1;
      this.#host.bind(port, (bytes, remote) =>
        this.#report({ type: 'punch-datagram', index, bytes, remote }),
      );
    }
    this.openedMost = Math.max(this.openedMost, this.#ports.length);
    this.#report({ type: 'punch-opened', count: this.#ports.length });
  }

  send(index: number, remote: Endpoint, bytes: Uint8Array, ttl?: number): void {
    const port = this.#ports[index];
    if (port === undefined) return;
    this.sentAt.push(this.#now());
    this.#host.send(port, remote, bytes, ttl);
  }

  adopt(
    index: number,
    receive: (bytes: Uint8Array, socket: number, remote: Endpoint) => void,
  ): void {
    const port = this.#ports[index];
    if (port === undefined || this.adoptionFails !== undefined) {
      const reason = this.adoptionFails ?? 'no such socket';
      this.#report({ type: 'punch-adopted', index, reason });
      return;
    }
    const socket = this.#nextAdopted++;
    this.adopted.set(socket, port);
    this.#ports[index] = undefined;
    this.#host.close(port);
    this.#host.bind(port, (bytes, remote) => receive(bytes, socket, remote));
    this.#report({ type: 'punch-adopted', index, socket: { socket, family: 4, localPort: port } });
  }

  close(): void {
    for (const port of this.#ports) if (port !== undefined) this.#host.close(port);
    this.#ports = [];
  }

  drop(socket: number): void {
    const port = this.adopted.get(socket);
    if (port !== undefined) this.#host.close(port);
    this.adopted.delete(socket);
  }
}
