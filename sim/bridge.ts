import type { Endpoint } from '#wire/endpoint.ts';
import type { VirtualClock } from './clock.ts';
import type { RelayHost } from './relay-host.ts';

/** Setting up TCP and WebSocket, and each message one way. */
const connectMs = 60;
const delayMs = 21;
const againMs = 1000;

export interface BridgeOptions {
  readonly clock: VirtualClock;
  /** Of the client. */
  readonly name: string;
  readonly relays: () => ReadonlyMap<string, RelayHost>;
  /** The bridge is there, or not any more. */
  readonly ready: (relay: string, endpoint: Endpoint | undefined) => void;
  readonly receive: (bytes: Uint8Array, from: Endpoint) => void;
  /** Whether TCP passes now. */
  readonly passes: (relay: RelayHost) => boolean;
}

interface Connection {
  readonly relay: RelayHost;
  readonly number: number;
}

/** What a daemon does about `bridge-wanted`: datagrams at a loopback port go to a relay in a stream that loses nothing. */
export class Bridge {
  readonly #options: BridgeOptions;
  readonly #ports = new Map<number, Connection>();
  readonly #wanted = new Set<string>();
  #nextPort = 20_000;

  constructor(options: BridgeOptions) {
    this.#options = options;
  }

  want(relay: string): void {
    this.#wanted.add(relay);
    this.#connect(relay);
  }

  unwant(id: string): void {
    this.#wanted.delete(id);
    for (const [port, { relay }] of this.#ports) if (relay.id === id) this.#close(port);
  }

  close(): void {
    this.#wanted.clear();
    for (const port of this.#ports.keys()) this.#close(port);
  }

  /** A datagram to the loopback interface. */
  send(port: number, bytes: Uint8Array): void {
    const connection = this.#ports.get(port);
    const { clock, passes } = this.#options;
    if (connection === undefined || !passes(connection.relay)) return;
    const { relay, number } = connection;
    const endpoint = { address: '127.0.0.1', port };
    clock.in(delayMs, () => relay.receive(bytes, { kind: 'ws', connection: number, endpoint }));
  }

  #close(port: number): void {
    const connection = this.#ports.get(port);
    connection?.relay.disconnect(connection.number);
    this.#ports.delete(port);
  }

  #connect(id: string): void {
    const { clock, relays, passes } = this.#options;
    clock.in(connectMs, () => {
      const relay = relays().get(id);
      if (!this.#wanted.has(id) || relay === undefined) return;
      if (relay.up && passes(relay)) this.#open(relay);
      else clock.in(againMs, () => this.#connect(id));
    });
  }

  #open(relay: RelayHost): void {
    const { clock, ready, passes, receive } = this.#options;
    const port = this.#nextPort++;
    const remote = { address: '127.0.0.1', port };
    const isOpen = () => this.#ports.has(port);
    const number = relay.connect({
      receive: (bytes) => {
        clock.in(delayMs, () => {
          if (isOpen() && passes(relay)) receive(bytes, remote);
        });
      },
      broken: () => {
        clock.in(delayMs, () => {
          if (!isOpen()) return;
          this.#ports.delete(port);
          ready(relay.id, undefined);
          clock.in(againMs, () => this.#connect(relay.id));
        });
      },
    });
    this.#ports.set(port, { relay, number });
    ready(relay.id, remote);
  }
}
