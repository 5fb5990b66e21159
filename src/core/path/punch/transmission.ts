/** The sockets of the attempt that goes on, and its packets as they leave: as fast as the rate of all probes allows. */
import { after, type MonotonicMs, type Now } from '#core/time.ts';
import type { LocalSocket } from '../io.ts';
import type { Attempt } from './attempt.ts';
import type { PunchHost } from './host.ts';
import * as limits from './limits.ts';
import type { Run } from './run.ts';

export class Transmission {
  readonly #host: PunchHost;
  /** Sockets that are open for the attempt, and how many were asked for. */
  #opened = 0;
  #asked = 0;
  /** Not before this, since the rate of all probes was spent. */
  #pacedAt: MonotonicMs | undefined;

  constructor(host: PunchHost) {
    this.#host = host;
  }

  get opened(): number {
    return this.#opened;
  }

  open(count: number): void {
    this.#asked = Math.min(count, limits.maxPunchSockets);
    this.#host.emit({ type: 'punch-open', count: this.#asked });
  }

  /** So many are open now; no more can be. */
  setOpened(count: number): void {
    this.#opened = count;
  }

  /** The others may go: the winner has been taken over. */
  closeLosers(): void {
    this.#host.emit({ type: 'punch-close' });
    this.#opened = 0;
  }

  close(): void {
    if (this.#asked > 0) this.#host.emit({ type: 'punch-close' });
    this.#asked = 0;
    this.#opened = 0;
    this.#pacedAt = undefined;
  }

  /** Sends what is due of a run. */
  send(attempt: Attempt, run: Run, now: Now): void {
    const at = now.monotonic;
    if (this.#pacedAt !== undefined && this.#pacedAt > at) return;
    this.#pacedAt = undefined;
    for (;;) {
      const dueAt = run.dueAt(this.#opened);
      if (dueAt === undefined || dueAt > at) return;
      if (!this.#host.gate.enterSpare(at)) {
        this.#pacedAt = after(at, limits.paceMs);
        return;
      }
      this.#sendOne(attempt, run, now);
    }
  }

  /** When something of the run is due: the next packet, or its end. */
  deadline(run: Run): MonotonicMs {
    const sendAt = run.dueAt(this.#opened);
    if (sendAt === undefined) return run.endAt;
    const next = Math.max(sendAt, this.#pacedAt ?? sendAt);
    return Math.min(next, run.endAt) as MonotonicMs;
  }

  #sendOne(attempt: Attempt, run: Run, now: Now): void {
    const packet = run.take();
    const bytes = this.#host.seal(attempt.peer, now);
    if (packet === undefined || bytes === undefined) return;
    this.#host.count('hardProbes', 1);
    const { by, remote, opens } = packet;
    if (by === 'main') {
      const isMain = ({ family, isPunched }: LocalSocket) => family === 4 && isPunched !== true;
      const main = this.#host.local().sockets.find(isMain);
      if (main !== undefined) {
        this.#host.emit({ type: 'send', socket: main.socket, remote, bytes });
      }
      return;
    }
    const ttl = opens ? limits.openerTtls[attempt.before % limits.openerTtls.length] : undefined;
    const lifetime = ttl === undefined ? {} : { ttl };
    this.#host.emit({ type: 'punch-send', index: by, remote, bytes, ...lifetime });
  }
}
