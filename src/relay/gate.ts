/**
 * How many control messages are looked at. What anybody can send in somebody else's name is counted by address; what only the one who
 * receives there can send, because it has a token or a cookie from there, is counted apart. So a flood with a spoofed source costs its victim
 * neither the allocation nor, once it has a cookie, the way to a new one.
 */

import { Limiter, type Rate } from '#core/limiter.ts';
import { prefixesOf } from '#core/prefixes.ts';
import type { Now } from '#core/time.ts';
import type { RelayMessage } from '#wire/relay.ts';
import type { Board } from './board.ts';
import * as limits from './limits.ts';
import { isSame, type Source } from './source.ts';

const limiter = (rate: Rate) => new Limiter(rate, limits.maxLimiterKeys);

export class Gate {
  readonly #board: Board;
  readonly #anybody = [
    limiter(limits.controlPerPrefix),
    limiter(limits.controlPerWidePrefix),
  ] as const;
  readonly #proven = [
    limiter(limits.controlPerPrefix),
    limiter(limits.controlPerWidePrefix),
  ] as const;
  readonly #holders = limiter(limits.controlPerHolder);

  constructor(board: Board) {
    this.#board = board;
  }

  lets(from: Source, message: RelayMessage | undefined, now: Now): boolean {
    const at = now.monotonic;
    const slot = this.#slotOf(from, message);
    if (slot !== undefined) return this.#holders.tryTake(`${slot}`, at) === 0;
    const [one, around] = this.#isProven(from, message, now) ? this.#proven : this.#anybody;
    const { narrow, wide } = prefixesOf(from.endpoint.address);
    return one.tryTake(narrow, at) === 0 && around.tryTake(wide, at) === 0;
  }

  /** Of the allocation that the message is about, if it comes from where that is. */
  #slotOf(from: Source, message: RelayMessage | undefined): number | undefined {
    if (message?.type !== 'refresh' && message?.type !== 'release') return undefined;
    const { allocations } = this.#board;
    const slot = allocations.ofTokenNumber(message.token);
    if (slot === undefined || !isSame(allocations.holder(slot)!.source, from)) return undefined;
    return slot;
  }

  #isProven(from: Source, message: RelayMessage | undefined, now: Now): boolean {
    if (message?.type !== 'refresh' && message?.type !== 'allocate') return false;
    return this.#board.hasProven(from, message.transaction, message.cookie, now);
  }
}
