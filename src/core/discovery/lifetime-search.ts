import { after, type MonotonicMs } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { LifetimeQuestion, Question } from './question.ts';
import type { StunClient, StunResult } from './stun-client.ts';

/** What is tried first: a lifetime of 30 s is common, and so is one of 2 minutes or more. */
const firstMs = 30_000;
/** Nobody needs to know of longer ones. */
const mostMs = 240_000;
const leastMs = 4_000;
/** Linux gives a mapping its long life when it is used both ways and older than two seconds. */
const useAfterMs = 3_000;
/** The search ends when the answer is this close: of what was found, and at least. */
const closeShare = 0.15;
const closeMs = 2_000;
/** A silent server is asked again after this. */
const pauseMs = 120_000;
const checkRequests = 3;

export interface LifetimeOptions {
  readonly stun: StunClient<Question>;
  /** Its mapping is left idle; nobody else may use it. */
  readonly testSocket: number;
  /** Asks on its behalf. */
  readonly mainSocket: number;
}

/** An interval of milliseconds: `atLeast` was survived, `lessThan` was not. */
interface Bounds {
  readonly atLeastMs: number;
  readonly lessThanMs: number;
}

/**
 * How long the NAT remembers an idle mapping (RFC 5780 §4.6), by halving: the test socket makes a mapping, then another socket
 * has the server answer to it. Six to ten rounds of about five requests, in the background, once for each network.
 *
 * ```
 *  open ──► 3 s ──► use ──► idle for the time in question ──► check: answer to the mapping of the test socket
 *   ▲                                                          ├─ arrives: lives longer ──┐
 *   │                                                          └─ silence ──► open again ─┤ answered: lives shorter
 *   │                                                                          └─ silence: the server is down, pause
 *   └──────────────────────── the next time in question ◄─────────────────────────────────┘
 * ```
 */
export class LifetimeSearch {
  readonly #options: LifetimeOptions;
  #run = 0;
  #server: Endpoint | undefined;
  #bounds: Bounds = { atLeastMs: 0, lessThanMs: Number.POSITIVE_INFINITY };
  #state: 'idle' | 'open' | 'used' | 'waiting' | 'checking' | 'paused' | 'done' = 'idle';
  #mapped: Endpoint | undefined;
  #usedAt: MonotonicMs | undefined;
  /** What silence would prove, once the server is heard again. */
  #suspectMs: number | undefined;
  #dueAt: MonotonicMs | undefined;

  constructor(options: LifetimeOptions) {
    this.#options = options;
  }

  /** What was survived so far; undefined until anything was. */
  get lifetimeMs(): number | undefined {
    const { atLeastMs } = this.#bounds;
    return atLeastMs > 0 ? atLeastMs : undefined;
  }

  get isDone(): boolean {
    return this.#state === 'done';
  }

  /** Begins, or goes on with another round of what was begun. */
  start(server: Endpoint, now: MonotonicMs): void {
    if (this.#state === 'done') return;
    this.pause();
    this.#server = server;
    this.#open(now);
  }

  /** The round in work is void: the test socket is used for something else. */
  pause(): void {
    if (this.#state === 'done' || this.#state === 'idle') return;
    this.#run += 1;
    this.#options.stun.cancel((question) => question.part === 'lifetime');
    this.#state = 'idle';
    this.#suspectMs = undefined;
    this.#dueAt = undefined;
  }

  /** Of another NAT nothing is known. */
  forget(): void {
    this.pause();
    this.#state = 'idle';
    this.#bounds = { atLeastMs: 0, lessThanMs: Number.POSITIVE_INFINITY };
  }

  result({ run, kind }: LifetimeQuestion, result: StunResult, now: MonotonicMs): void {
    if (run !== this.#run) return;
    if (kind === 'check') {
      this.#checked(result, now);
    } else if (result.type !== 'answered') {
      this.#suspectMs = undefined;
      this.#state = 'paused';
      this.#dueAt = after(now, pauseMs);
    } else {
      this.#mapped = result.mapped;
      this.#usedAt = now;
      if (kind === 'open') this.#opened(now);
      else this.#wait(now);
    }
  }

  wake(now: MonotonicMs): void {
    if (this.#dueAt === undefined || this.#dueAt > now) return;
    this.#dueAt = undefined;
    if (this.#state === 'used') this.#ask('use', now);
    else if (this.#state === 'waiting') this.#check(now);
    else this.#open(now);
  }

  deadline(): MonotonicMs | undefined {
    return this.#dueAt;
  }

  #open(now: MonotonicMs): void {
    this.#state = 'open';
    this.#ask('open', now);
  }

  #opened(now: MonotonicMs): void {
    const suspectMs = this.#suspectMs;
    this.#suspectMs = undefined;
    if (suspectMs !== undefined) {
      this.#bounds = { ...this.#bounds, lessThanMs: suspectMs };
      if (this.#isFound) {
        this.#state = 'done';
        return;
      }
    }
    this.#state = 'used';
    this.#dueAt = after(now, useAfterMs);
  }

  #wait(now: MonotonicMs): void {
    this.#state = 'waiting';
    this.#dueAt = after(now, this.#questionMs);
  }

  #check(now: MonotonicMs): void {
    // After a sleep of the machine another time has passed than was meant.
    if (now - this.#usedAt! > 1.25 * this.#questionMs) {
      this.#open(now);
      return;
    }
    this.#state = 'checking';
    this.#ask('check', now);
  }

  #checked(result: StunResult, now: MonotonicMs): void {
    if (result.type === 'refused') {
      // The server cannot do it: unknown it stays.
      this.#state = 'done';
      return;
    }
    if (result.type === 'silent') {
      this.#suspectMs = this.#questionMs;
      this.#open(now);
      return;
    }
    this.#bounds = { ...this.#bounds, atLeastMs: this.#questionMs };
    if (this.#isFound) this.#state = 'done';
    else this.#open(now);
  }

  get #isFound(): boolean {
    const { atLeastMs, lessThanMs } = this.#bounds;
    if (atLeastMs >= mostMs || lessThanMs <= leastMs) return true;
    return lessThanMs - atLeastMs <= Math.max(closeMs, closeShare * atLeastMs);
  }

  get #questionMs(): number {
    const { atLeastMs, lessThanMs } = this.#bounds;
    if (lessThanMs === Number.POSITIVE_INFINITY) {
      return atLeastMs === 0 ? firstMs : Math.min(mostMs, 2 * atLeastMs);
    }
    return Math.round((atLeastMs + lessThanMs) / 2);
  }

  #ask(kind: LifetimeQuestion['kind'], now: MonotonicMs): void {
    const { stun, testSocket, mainSocket } = this.#options;
    const server = this.#server!;
    const question = { part: 'lifetime', run: this.#run, kind } as const;
    if (kind !== 'check') {
      stun.ask(question, { socket: testSocket, server }, now);
      return;
    }
    const answerTo = { port: this.#mapped!.port, socket: testSocket };
    stun.ask(question, { socket: mainSocket, server, answerTo, requests: checkRequests }, now);
  }
}
