import type { Socket } from 'node:net';
import { prefixesOf } from './prefix.ts';

/**
 * TCP connections that have not become WebSockets yet, by address prefix: somebody who only opens them holds a bounded number,
 * and none for long: Node counts no time against who never sends a
 * byte.
 */
export class Lobby {
  readonly #maxPerPrefix: number;
  readonly #patienceMs: number;
  readonly #waiting = new Map<string, Map<string, NodeJS.Timeout>>();

  constructor(maxPerPrefix: number, patienceMs: number) {
    this.#maxPerPrefix = maxPerPrefix;
    this.#patienceMs = patienceMs;
  }

  /** Takes a new connection in, or cuts it. */
  enter(socket: Socket): void {
    const prefix = prefixesOf(socket.remoteAddress ?? '').narrow;
    const key = keyOf(socket);
    let waiting = this.#waiting.get(prefix);
    if (waiting === undefined) {
      waiting = new Map();
      this.#waiting.set(prefix, waiting);
    }
    if (waiting.size >= this.#maxPerPrefix) {
      socket.destroy();
      return;
    }
    waiting.set(
      key,
      setTimeout(() => socket.destroy(), this.#patienceMs),
    );
    socket.once('close', () => this.#remove(prefix, key));
  }

  /** It is a WebSocket now, and counted elsewhere. TLS wraps the socket that entered: the address tells. */
  leave(socket: Socket): void {
    this.#remove(prefixesOf(socket.remoteAddress ?? '').narrow, keyOf(socket));
  }

  #remove(prefix: string, key: string): void {
    const waiting = this.#waiting.get(prefix);
    clearTimeout(waiting?.get(key));
    waiting?.delete(key);
    if (waiting?.size === 0) this.#waiting.delete(prefix);
  }
}

const keyOf = ({ remoteAddress, remotePort, localPort }: Socket) =>
  `${remoteAddress} ${remotePort} ${localPort}`;
