/**
 * Control messages (protocol §11). What one leads to is a verdict: it is served, answered by a challenge or an error, or dropped. A
 * signature is looked at only when the sender has shown that it receives where it sends from, and never more of them than a bound.
 */

import { Limiter } from '#core/limiter.ts';
import type { Now } from '#core/time.ts';
import { clientNumber } from '#wire/client-number.ts';
import type { Allocate, Refresh, RelayErrorCode, Release } from '#wire/relay.ts';
import { relayMacIsValid } from '#wire/relay.ts';
import type { Board } from './board.ts';
import type { RelayCounter } from './counters.ts';
import * as limits from './limits.ts';
import { isSame, type Source } from './source.ts';
import { openTicket, type Ticket, type TicketFault } from './tickets.ts';

type DropCounter = Extract<RelayCounter, `dropped-${string}`>;
export type Verdict = 'served' | 'challenge' | RelayErrorCode | DropCounter;

export class Desk {
  readonly #board: Board;
  readonly #tickets = new Limiter(limits.ticketsPerSecond, 1);

  constructor(board: Board) {
    this.#board = board;
  }

  allocate(from: Source, message: Allocate, bytes: Uint8Array, now: Now): Verdict {
    const board = this.#board;
    const { transaction, cookie, ticket, time } = message;
    const hasProven = board.hasProven(from, transaction, cookie, now);
    if (!hasProven || ticket.length === 0) return 'challenge';
    if (board.isDraining) return 'draining';
    if (this.#isOff(time, now)) return 'wrong-time';
    if (this.#tickets.tryTake('', now.monotonic) > 0) return 'dropped-ticket-rate';
    const opened = this.#openTicket(ticket, now);
    if (typeof opened === 'string') return opened;
    if (!relayMacIsValid(board.crypto, opened.macKey, bytes)) return 'dropped-forged';
    const slot = board.allocations.ofClient(opened.client);
    const serial = slot === undefined ? 0 : board.allocations.holder(slot)!.ticket.serial;
    if (opened.serial < serial || board.isRevoked(opened)) return 'revoked-ticket';
    return slot === undefined
      ? this.#begin(from, opened, message, now)
      : this.#renew(slot, from, opened, message, now);
  }

  refresh(from: Source, message: Refresh, bytes: Uint8Array, now: Now): Verdict {
    const board = this.#board;
    const { transaction, cookie, time, token } = message;
    const slot = board.allocations.ofTokenNumber(token);
    if (slot === undefined) return 'unknown-token';
    const holder = board.allocations.holder(slot)!;
    if (!relayMacIsValid(board.crypto, holder.ticket.macKey, bytes)) return 'dropped-forged';
    const isHere = isSame(holder.source, from);
    if (!isHere && !board.hasProven(from, transaction, cookie, now)) return 'challenge';
    if (this.#isOff(time, now)) return 'wrong-time';
    const verdict = holder.requests.judge(transaction, time);
    if (verdict === 'replayed' || (verdict === 'repeat' && !isHere)) return 'dropped-replayed';
    if (!isHere) {
      if (!board.move(slot, from, now.monotonic)) return 'full';
      board.counters.add('roamed');
    }
    if (verdict === 'new') holder.requests.remember(transaction, time);
    board.counters.add('refreshed');
    board.allocations.heardAt[slot] = now.monotonic;
    board.seal(holder, { type: 'refreshed', transaction, observed: from.endpoint });
    return 'served';
  }

  release(message: Release, bytes: Uint8Array, now: Now): Verdict {
    const board = this.#board;
    const { token, transaction, time } = message;
    const slot = board.allocations.ofTokenNumber(token);
    if (slot === undefined) return 'dropped-unknown-token';
    const holder = board.allocations.holder(slot)!;
    if (!relayMacIsValid(board.crypto, holder.ticket.macKey, bytes)) return 'dropped-forged';
    const isNew = holder.requests.judge(transaction, time) === 'new';
    if (this.#isOff(time, now) || !isNew) return 'dropped-replayed';
    holder.requests.remember(transaction, time);
    board.counters.add('released');
    board.end(slot, now.monotonic);
    return 'served';
  }

  #openTicket(bytes: Uint8Array, now: Now): Ticket | TicketFault {
    const board = this.#board;
    return openTicket(board.options, bytes, board.timeMs(now), ({ clientId, serial }) => {
      // Who holds an allocation by this very ticket may go on with it as long as the allocation may.
      const slot = board.allocations.ofClient(clientNumber(clientId) ?? -1);
      const holds = slot !== undefined && board.allocations.holder(slot)!.ticket.serial === serial;
      return holds ? board.graceMs(now) : 0;
    });
  }

  #begin(from: Source, ticket: Ticket, message: Allocate, now: Now): Verdict {
    const board = this.#board;
    const { transaction, time } = message;
    const requests = board.requestsOf(ticket.client);
    if (requests.judge(transaction, time) !== 'new') return 'dropped-replayed';
    if (board.allocations.isFull || !board.hasRoom(from)) return 'full';
    const slot = board.add(ticket, from, requests);
    requests.remember(transaction, time);
    return this.#confirm(slot, transaction, now);
  }

  /** The client comes again: with a newer ticket, after a restart, from elsewhere. */
  #renew(slot: number, from: Source, ticket: Ticket, message: Allocate, now: Now): Verdict {
    const { allocations, crypto } = this.#board;
    const holder = allocations.holder(slot)!;
    const { transaction, time } = message;
    const verdict = holder.requests.judge(transaction, time);
    const isHere = isSame(holder.source, from);
    if (verdict === 'replayed' || (verdict === 'repeat' && !isHere)) return 'dropped-replayed';
    if (verdict === 'new') {
      if (!isHere) {
        if (!this.#board.move(slot, from, now.monotonic)) return 'full';
        allocations.newToken(crypto, slot);
      }
      if (holder.ticket.serial !== ticket.serial) allocations.setRates(slot, ticket);
      holder.ticket = ticket;
      holder.requests.remember(transaction, time);
    }
    return this.#confirm(slot, transaction, now);
  }

  #confirm(slot: number, transaction: Uint8Array, now: Now): Verdict {
    const { allocations, counters } = this.#board;
    const holder = allocations.holder(slot)!;
    allocations.heardAt[slot] = now.monotonic;
    counters.add('allocated');
    this.#board.seal(holder, {
      ...{ type: 'allocated', transaction, token: holder.token },
      ...{ lifetimeSeconds: limits.lifetimeMs / 1000, observed: holder.source.endpoint },
    });
    return 'served';
  }

  #isOff(time: number, now: Now): boolean {
    return Math.abs(time - this.#board.timeMs(now)) > limits.maxSkewMs;
  }
}
