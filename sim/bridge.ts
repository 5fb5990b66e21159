import type { Endpoint } from '#wire/endpoint.ts';
import type { VirtualClock } from './clock.ts';
import type { RelayHost } from './relay-host.ts';

/** Setting up TCP and WebSocket, and each message one way. */
const connectMs = 60;
const delayMs = 21;

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

/** What a daemon does about `bridge-wanted`: datagrams at a loopback port go to a relay in a stream that loses nothing. */
export class Bridge {
  readonly #options: BridgeOptions;
  readonly #ports = new Map<number, RelayHost>();
  readonly #wanted = new Set<string>();
  #nextPort = 20_000;

  constructor(options: BridgeOptions) {
    this.#options = options;
  }

  want(relay: string): void {
    this.#wanted.add(relay);
    this.#connect(relay);
  }

  unwant(relay: string): void {
    this.#wanted.delete(relay);
    for (const [port, { id }] of this.#ports) if (id === relay) this.#ports.delete(port);
  }

  close(): void {
    this.#wanted.clear();
    this.#ports.clear();
  }

  /** A datagram to the loopback interface. */
  send(port: number, bytes: Uint8Array): void {
    const relay = this.#ports.get(port);
    const { clock, passes } = this.#options;
    if (relay === undefined || !passes(relay)) return;
    const remote = { address: '127.0.0.1', port };
    const send = (answer: Uint8Array) =>
      clock.in(delayMs, () => {
        if (this.#ports.get(port) === relay) this.#options.receive(answer, remote);
      });
    const place = { text: `ws ${this.#options.name} ${port}`, remote, isWebSocket: true, send };
    clock.in(delayMs, () => relay.receive(bytes, place));
  }

  #connect(id: string): void {
    const { clock, relays, ready, passes } = this.#options;
    clock.in(connectMs, () => {
      const relay = relays().get(id);
      if (!this.#wanted.has(id) || relay === undefined) return;
      if (!relay.up || !passes(relay)) {
        clock.in(1000, () => this.#connect(id));
        return;
      }
      const port = this.#nextPort++;
      this.#ports.set(port, relay);
      ready(id, { address: '127.0.0.1', port });
    });
  }
}
