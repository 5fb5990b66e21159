/**
 * Who may begin a handshake now, who waits for that, and who is to come back later. After an outage all clients come at once: as
 * many as the server carries are let in, in order, and nobody's work is begun that would be given up before its end.
 *
 *   newcomer ──a place is free──► handshake ──logged in, or gone──► the next one's turn
 *       └──none──► queue ──8 s──► told when to come back
 */
import { Holdings } from '#core/holdings.ts';
import {
  handshakePatienceMs,
  leastRetryMs,
  maxHandshakes,
  maxHandshakesPerPrefix,
  maxQueuedNewcomers,
  maxQueuedPerPrefix,
  mostRetryMs,
} from './limits.ts';

export interface Newcomer {
  /** Address prefix: no crowd behind one takes all places. */
  readonly prefix: string;
  readonly begin: (release: () => void) => void;
  readonly giveUp: (retryMs: number) => void;
}

/** Over which the rate of logins is averaged. */
const averageMs = 2_000;

export class AdmissionQueue {
  readonly #perPrefix = new Holdings(maxHandshakesPerPrefix);
  readonly #waiting = new Map<Newcomer, NodeJS.Timeout>();
  readonly #waitingPerPrefix = new Holdings(maxQueuedPerPrefix);
  readonly #random: () => number;
  #handshakes = 0;
  /** Logins a second of late, and when that was reckoned. */
  #rate = 0;
  #ratedAt = performance.now();

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  get length(): number {
    return this.#waiting.size;
  }

  /**
   * Calls `begin` when it is this newcomer's turn, with what gives its place free (and may be called again), or `giveUp` with the
   * time after which to come back.
   */
  enter(newcomer: Newcomer): void {
    const { prefix } = newcomer;
    if (this.#hasPlace(prefix)) {
      this.#begin(newcomer);
      return;
    }
    if (this.#waiting.size >= maxQueuedNewcomers || !this.#waitingPerPrefix.hasRoom(prefix)) {
      newcomer.giveUp(this.#retryMs());
      return;
    }
    const timer = setTimeout(() => this.#giveUp(newcomer), handshakePatienceMs);
    this.#waiting.set(newcomer, timer);
    this.#waitingPerPrefix.add(prefix);
  }

  /** It is not there any more. */
  leave(newcomer: Newcomer): void {
    clearTimeout(this.#waiting.get(newcomer));
    if (this.#waiting.delete(newcomer)) this.#waitingPerPrefix.remove(newcomer.prefix);
  }

  /** Nobody's turn comes any more. */
  close(): void {
    for (const newcomer of [...this.#waiting.keys()]) this.#giveUp(newcomer);
  }

  #giveUp(newcomer: Newcomer): void {
    this.leave(newcomer);
    newcomer.giveUp(this.#retryMs());
  }

  #hasPlace(prefix: string): boolean {
    return this.#handshakes < maxHandshakes && this.#perPrefix.hasRoom(prefix);
  }

  #begin({ prefix, begin }: Newcomer): void {
    this.#handshakes++;
    this.#perPrefix.add(prefix);
    let isHeld = true;
    begin(() => {
      if (!isHeld) return;
      isHeld = false;
      this.#release(prefix);
    });
  }

  #release(prefix: string): void {
    this.#handshakes--;
    this.#perPrefix.remove(prefix);
    this.#count();
    for (const newcomer of this.#waiting.keys()) {
      if (this.#handshakes >= maxHandshakes) return;
      if (!this.#hasPlace(newcomer.prefix)) continue;
      this.leave(newcomer);
      this.#begin(newcomer);
      return;
    }
  }

  #count(): void {
    const now = performance.now();
    const passed = (now - this.#ratedAt) / averageMs;
    this.#rate = this.#rate * Math.exp(-passed) + 1000 / averageMs;
    this.#ratedAt = now;
  }

  /** When those before it will have been served, at the rate of late; a little later, each at a moment of its own. */
  #retryMs(): number {
    const servedMs = (1000 * (this.#waiting.size + 1)) / Math.max(this.#rate, 1);
    const bounded = Math.min(mostRetryMs, Math.max(leastRetryMs, servedMs));
    return Math.ceil(bounded * (1 + this.#random()));
  }
}
