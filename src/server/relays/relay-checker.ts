/** Sockets and timer for `relay-check.ts`: a bounded number of checks at once, the others wait their turn. */
import { createSocket, type Socket } from 'node:dgram';
import type { Crypto } from '#core/crypto.ts';
import { canonicalAddress } from '#core/prefixes.ts';
import type { Now } from '#core/time.ts';
import { familyOf } from '#wire/endpoint.ts';
import { maxRelayControlBytes } from '#wire/relay.ts';
import type { RelayCheckOrder } from '../coordinator/coordinator.ts';
import { RelayCheck } from './relay-check.ts';

const maxChecks = 64;
/** Beyond, an order is dropped: relays are asked again in a few minutes. */
const maxWaiting = 2_048;

export interface RelayCheckerOptions {
  readonly crypto: Crypto;
  readonly now: () => Now;
  readonly done: (order: RelayCheckOrder, unreachable: readonly string[]) => void;
}

export class RelayChecker implements AsyncDisposable {
  readonly #options: RelayCheckerOptions;
  readonly #checks = new Set<RelayCheck>();
  readonly #waiting: RelayCheckOrder[] = [];
  readonly #sockets = new Map<4 | 6, Socket>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RelayCheckerOptions) {
    this.#options = options;
  }

  check(order: RelayCheckOrder): void {
    if (this.#closed || this.#waiting.length >= maxWaiting) return;
    this.#waiting.push(order);
    this.#go();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#checks.clear();
    this.#waiting.length = 0;
    for (const socket of this.#sockets.values())
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    this.#sockets.clear();
  }

  #go(): void {
    if (this.#closed) return;
    const now = this.#options.now();
    for (const check of this.#checks) {
      check.tick(now);
      this.#flush(check);
    }
    while (this.#checks.size < maxChecks) {
      const order = this.#waiting.shift();
      if (order === undefined) break;
      const check = new RelayCheck(this.#options.crypto, order, now);
      this.#checks.add(check);
      this.#flush(check);
    }
    this.#arm(now);
  }

  #flush(check: RelayCheck): void {
    for (let out = check.poll(); out !== undefined; out = check.poll()) {
      const { address, port } = out.to;
      this.#socket(familyOf(address)).send(out.bytes, port, address, () => {});
    }
    const unreachable = check.unreachable();
    if (unreachable === undefined || !this.#checks.delete(check)) return;
    this.#options.done(check.order, unreachable);
  }

  #arm(now: Now): void {
    clearTimeout(this.#timer);
    let next = Number.POSITIVE_INFINITY;
    for (const check of this.#checks) next = Math.min(next, check.deadline() ?? next);
    if (next === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#go(), Math.max(0, Math.ceil(next - now.monotonic)));
    this.#timer.unref();
  }

  #socket(family: 4 | 6): Socket {
    const open = this.#sockets.get(family);
    if (open !== undefined) return open;
    const socket = createSocket({ type: family === 4 ? 'udp4' : 'udp6', ipv6Only: family === 6 });
    socket.on('error', () => {});
    socket.on('message', (bytes, remote) => {
      if (bytes.length > maxRelayControlBytes) return;
      const from = { address: canonicalAddress(remote.address), port: remote.port };
      for (const check of this.#checks)
        if (check.handle(bytes, from, this.#options.now())) {
          this.#flush(check);
          break;
        }
      if (this.#waiting.length > 0) this.#go();
    });
    this.#sockets.set(family, socket);
    return socket;
  }
}
