/** Sockets of attempts that won and that the engine has taken over: kept while a path lives on them. */
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { LocalSocket } from '../io.ts';
import type { PunchHost } from './host.ts';
import { adoptedIdleMs, maxAdopted } from './limits.ts';

const checkEveryMs = adoptedIdleMs / 4;

export class AdoptedSockets {
  readonly #usedAt = new Map<LocalSocket, MonotonicMs>();
  #checkAt: MonotonicMs | undefined;

  get list(): readonly LocalSocket[] {
    return [...this.#usedAt.keys()];
  }

  /** Whether another one may be taken over, perhaps instead of one that no path is on. */
  hasRoom(host: PunchHost): boolean {
    return this.#usedAt.size < maxAdopted || this.list.some(({ socket }) => !host.isInUse(socket));
  }

  /** Right before another one is taken over: when all places are taken, the one that no path has used for longest goes. */
  makeRoom(host: PunchHost, now: Now): void {
    if (this.#usedAt.size < maxAdopted) return;
    const idle = [...this.#usedAt].filter(([{ socket }]) => !host.isInUse(socket));
    const [oldest] = idle.sort(([, a], [, b]) => a - b);
    if (oldest === undefined) return;
    this.#drop([oldest[0]], host, now);
  }

  add(socket: LocalSocket, now: MonotonicMs): void {
    this.#usedAt.set(socket, now);
    this.#checkAt ??= after(now, checkEveryMs);
  }

  deadline(): MonotonicMs | undefined {
    return this.#checkAt;
  }

  /** Drops those that no path has used for a while. */
  dropIdle(host: PunchHost, now: Now): void {
    const at = now.monotonic;
    if (this.#checkAt === undefined || this.#checkAt > at) return;
    const idle: LocalSocket[] = [];
    for (const [socket, usedAt] of this.#usedAt) {
      if (host.isInUse(socket.socket)) this.#usedAt.set(socket, at);
      else if (at - usedAt >= adoptedIdleMs) idle.push(socket);
    }
    this.#drop(idle, host, now);
    this.#checkAt = this.#usedAt.size > 0 ? after(at, checkEveryMs) : undefined;
  }

  #drop(sockets: readonly LocalSocket[], host: PunchHost, now: Now): void {
    for (const socket of sockets) this.#usedAt.delete(socket);
    if (sockets.length > 0) host.socketsChanged(now);
    for (const { socket } of sockets) host.emit({ type: 'drop-socket', socket });
  }
}
