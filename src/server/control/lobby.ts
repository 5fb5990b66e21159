import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { PrefixHoldings } from '#core/holdings.ts';
import { Limiter } from '#core/limiter.ts';
import { type Prefixes, prefixesOf } from '#core/prefixes.ts';
import {
  connectionsPerPrefix,
  connectionsPerWidePrefix,
  maxWaitingPerPrefix,
  maxWaitingPerWidePrefix,
  requestTimeoutMs,
} from './limits.ts';

/**
 * TCP connections that have not become WebSockets yet, by address prefix: somebody who only opens them holds a bounded number,
 * and none for long: Node counts no time against who never sends a
 * byte. And how often somebody may come.
 */
export class Lobby {
  readonly #waiting = new Map<string, { readonly prefixes: Prefixes; timer: NodeJS.Timeout }>();
  readonly #perPrefix = new PrefixHoldings(maxWaitingPerPrefix, maxWaitingPerWidePrefix);
  readonly #narrow = new Limiter(connectionsPerPrefix);
  readonly #wide = new Limiter(connectionsPerWidePrefix);

  /** Takes a new connection in, or cuts it. */
  enter(socket: Socket): void {
    const prefixes = prefixesOf(socket.remoteAddress ?? '');
    const key = keyOf(socket);
    if (!this.#perPrefix.hasRoom(prefixes)) {
      socket.destroy();
      return;
    }
    const timer = setTimeout(() => socket.destroy(), requestTimeoutMs);
    this.#waiting.set(key, { prefixes, timer });
    this.#perPrefix.add(prefixes);
    socket.once('close', () => this.#remove(key));
  }

  /** It is a WebSocket now, and counted elsewhere. TLS wraps the socket that entered: the address tells. */
  leave(socket: Socket): void {
    this.#remove(keyOf(socket));
  }

  /** Milliseconds that somebody from there is to stay away; 0: it may become a WebSocket. */
  refusedForMs({ narrow, wide }: Prefixes): number {
    const nowMs = performance.now();
    return this.#narrow.tryTake(narrow, nowMs) || this.#wide.tryTake(wide, nowMs);
  }

  #remove(key: string): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(key);
    this.#perPrefix.remove(waiting.prefixes);
  }
}

const keyOf = ({ remoteAddress, remotePort, localPort }: Socket) =>
  `${remoteAddress} ${remotePort} ${localPort}`;

/** The HTTP answer to who comes too often, or finds no place. */
export const busy = (retryMs: number) => `503 Busy\r\nretry-after: ${Math.ceil(retryMs / 1000)}`;

/** Says why and lets go at once: HTTP's time limits end with the upgrade, so whoever keeps its side open would stay. */
export const turnAway = (socket: Duplex, answer: string): void => {
  socket.end(`HTTP/1.1 ${answer}\r\n\r\n`, () => socket.destroy());
};
