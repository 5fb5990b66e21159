/**
 * Who may begin a handshake now, who waits for that, and who is to come back later. After an outage all clients come at once: as
 * many as the server carries are let in, in order, and nobody's work is begun that would be given up before its end.
 *
 *   newcomer ──a place is free──► handshake ──logged in, or gone──► the next one's turn
 *       └──none──► queue ──8 s──► told when to come back
 */
import { PrefixHoldings } from '#core/holdings.ts';
import type { Prefixes } from '#core/prefixes.ts';
import {
  handshakePatienceMs,
  leastRetryMs,
  loginTimeoutMs,
  maxHandshakes,
  maxHandshakesPerPrefix,
  maxHandshakesPerWidePrefix,
  maxQueuedNewcomers,
  maxQueuedPerPrefix,
  maxQueuedPerWidePrefix,
  mostRetryMs,
} from './limits.ts';

export interface Newcomer {
  /** No crowd behind one address, or in one neighbourhood, takes all places. */
  readonly prefixes: Prefixes;
  readonly begin: (release: () => void) => void;
  readonly giveUp: (retryMs: number) => void;
}

/** Over which the rate of logins is averaged. */
const averageMs = 2_000;

export class AdmissionQueue {
  readonly #perPrefix = new PrefixHoldings(maxHandshakesPerPrefix, maxHandshakesPerWidePrefix);
  readonly #waiting = new Map<Newcomer, NodeJS.Timeout>();
  readonly #waitingPerPrefix = new PrefixHoldings(maxQueuedPerPrefix, maxQueuedPerWidePrefix);
  readonly #random: () => number;
  #handshakes = 0;
  /** Logins a second of late, and when that was reckoned. */
  #rate = 0;
  #ratedAt = performance.now();
  /** Whoever was told to come back has done so and logged in. */
  #expectedUntil = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Somebody waits, or was told to come back and has not had the time for that. */
  get isCrowded(): boolean {
    return this.#waiting.size > 0 || performance.now() < this.#expectedUntil;
  }

  get length(): number {
    return this.#waiting.size;
  }

  /**
   * Calls `begin` when it is this newcomer's turn, with what gives its place free (and may be called again), or `giveUp` with the
   * time after which to come back.
   */
  enter(newcomer: Newcomer): void {
    const { prefixes } = newcomer;
    if (this.#hasPlace(prefixes)) {
      this.#begin(newcomer);
      return;
    }
    if (this.#waiting.size >= maxQueuedNewcomers || !this.#waitingPerPrefix.hasRoom(prefixes)) {
      this.#sendAway(newcomer);
      return;
    }
    const timer = setTimeout(() => this.#giveUp(newcomer), handshakePatienceMs);
    this.#waiting.set(newcomer, timer);
    this.#waitingPerPrefix.add(prefixes);
  }

  /** It is not there any more. */
  leave(newcomer: Newcomer): void {
    clearTimeout(this.#waiting.get(newcomer));
    if (this.#waiting.delete(newcomer)) this.#waitingPerPrefix.remove(newcomer.prefixes);
  }

  /** Nobody's turn comes any more. */
  close(): void {
    for (const newcomer of [...this.#waiting.keys()]) this.#giveUp(newcomer);
  }

  #giveUp(newcomer: Newcomer): void {
    this.leave(newcomer);
    this.#sendAway(newcomer);
  }

  /** Who is told a time comes back after that and up to a half more (protocol §4). */
  #sendAway(newcomer: Newcomer): void {
    const retryMs = this.#retryMs();
    const backMs = performance.now() + 1.5 * retryMs + loginTimeoutMs;
    this.#expectedUntil = Math.max(this.#expectedUntil, backMs);
    newcomer.giveUp(retryMs);
  }

  #hasPlace(prefixes: Prefixes): boolean {
    return this.#handshakes < maxHandshakes && this.#perPrefix.hasRoom(prefixes);
  }

  #begin({ prefixes, begin }: Newcomer): void {
    this.#handshakes++;
    this.#perPrefix.add(prefixes);
    let isHeld = true;
    begin(() => {
      if (!isHeld) return;
      isHeld = false;
      this.#release(prefixes);
    });
  }

  #release(prefixes: Prefixes): void {
    this.#handshakes--;
    this.#perPrefix.remove(prefixes);
    this.#count();
    for (const newcomer of this.#waiting.keys()) {
      if (this.#handshakes >= maxHandshakes) return;
      if (!this.#hasPlace(newcomer.prefixes)) continue;
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
