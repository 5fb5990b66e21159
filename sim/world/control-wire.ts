import type { VirtualClock } from '../clock.ts';
import type { Random } from '../random.ts';
import { maxMessagesInFlight } from './bounds.ts';
import { Violation } from './trace.ts';

type Side = 'client' | 'server';

/** What one side of a control connection is told. */
export interface WireEnd {
  /** @param sentAt when it was sent, in the time of the world. */
  onMessage(bytes: Uint8Array, sentAt: number): void;
  /** The connection ended, by a close frame (with its code) or by a reset (without). */
  onClosed(code: number | undefined): void;
  /** The answer to a `ping`, which the other side's WebSocket gives by itself. */
  onPong?(): void;
}

export interface WireOptions {
  readonly clock: VirtualClock;
  readonly random: Random;
  /** One way. */
  readonly delayMs: number;
  readonly jitterMs: number;
}

type Item =
  | { readonly kind: 'message'; readonly bytes: Uint8Array; readonly sentAt: number }
  | { readonly kind: 'close'; readonly code: number | undefined }
  | { readonly kind: 'ping' | 'pong' };

/**
 * A control connection below its messages: reliable and in order, as TCP is, until it is cut.
 *
 *   open ──stall──► stalled ──resume──► open       what was sent meanwhile arrives late
 *    └──close, reset──► closed                     the other side is told, in order
 *    └──vanish──► gone                             nobody is told anything
 */
export class ControlWire {
  readonly #options: WireOptions;
  readonly #ends: Record<Side, WireEnd | undefined> = { client: undefined, server: undefined };
  readonly #lastAt = { client: 0, server: 0 };
  readonly #inFlight = { client: 0, server: 0 };
  readonly #held: { readonly to: Side; readonly item: Item }[] = [];
  #stalled = false;
  #gone = false;

  constructor(options: WireOptions) {
    this.#options = options;
  }

  attach(side: Side, end: WireEnd): void {
    this.#ends[side] = end;
  }

  /** Whether this side still has the connection. */
  isOpen(side: Side): boolean {
    return this.#ends[side] !== undefined;
  }

  send(from: Side, bytes: Uint8Array): void {
    const sentAt = this.#options.clock.monotonic;
    if (this.#ends[from] !== undefined) this.#put(from, { kind: 'message', bytes, sentAt });
  }

  /** Asks whether the other side is there. */
  ping(from: Side): void {
    if (this.#ends[from] !== undefined) this.#put(from, { kind: 'ping' });
  }

  /** This side ends the connection; the other one hears of it after what was sent before. */
  close(from: Side, code: number | undefined): void {
    if (this.#ends[from] === undefined) return;
    this.#put(from, { kind: 'close', code });
    this.#ends[from] = undefined;
  }

  /** Both sides are told that the connection is lost, at once. */
  reset(): void {
    for (const side of ['client', 'server'] as const) this.#end(side, undefined);
  }

  /** Nothing arrives from now on, and nobody is told. */
  vanish(): void {
    this.#gone = true;
  }

  stall(): void {
    this.#stalled = true;
  }

  resume(): void {
    this.#stalled = false;
    for (const { to, item } of this.#held.splice(0)) this.#deliver(to, item);
  }

  #put(from: Side, item: Item): void {
    if (this.#gone) return;
    const to = from === 'client' ? 'server' : 'client';
    const { clock, random, delayMs, jitterMs } = this.#options;
    this.#inFlight[to] += 1;
    if (this.#inFlight[to] > maxMessagesInFlight) {
      throw new Violation(`more than ${maxMessagesInFlight} control messages on the way`);
    }
    const at = Math.max(this.#lastAt[to], clock.monotonic + delayMs + random.float() * jitterMs);
    this.#lastAt[to] = at;
    clock.at(at, () => this.#deliver(to, item));
  }

  #deliver(to: Side, item: Item): void {
    if (this.#stalled && !this.#gone) {
      this.#held.push({ to, item });
      return;
    }
    this.#inFlight[to] -= 1;
    if (this.#gone) return;
    const end = this.#ends[to];
    switch (item.kind) {
      case 'message':
        end?.onMessage(item.bytes, item.sentAt);
        break;
      case 'close':
        this.#end(to, item.code);
        break;
      case 'ping':
        if (end !== undefined) this.#put(to, { kind: 'pong' });
        break;
      case 'pong':
        end?.onPong?.();
        break;
      default:
        item satisfies never;
    }
  }

  #end(side: Side, code: number | undefined): void {
    const end = this.#ends[side];
    this.#ends[side] = undefined;
    end?.onClosed(code);
  }
}
