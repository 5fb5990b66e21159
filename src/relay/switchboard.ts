/**
 * The decisions of a relay (protocol §11) without input or output: who holds an allocation, and where a run of datagrams goes.
 *
 *   none ──allocate with cookie and ticket──► held(source) ◄──refresh from another address, with its cookie── (roam)
 *     ▲                                         │ ▲  │
 *     │                                         │ └──┘ refresh, data, allocate with a newer ticket
 *     └── release, 90 s of silence, end of the ticket, revocation
 *
 * Forwarding is decided once for each run, from arrays of numbers.
 */
import { after, type MonotonicMs, monotonicMs, type Now } from '#core/time.ts';
import { clientNumber } from '#wire/client-number.ts';
import {
  challengeBytes,
  decodeRelay,
  encodePlainRelay,
  movedTransaction,
  type RelayErrorCode,
} from '#wire/relay.ts';
import type { Allocations } from './allocations.ts';
import { Board, type SwitchboardOptions, type SwitchboardOutput } from './board.ts';
import type { RelayCounter, RelayCounters } from './counters.ts';
import { Desk, type Verdict } from './desk.ts';
import { Gate } from './gate.ts';
import * as limits from './limits.ts';
import { Shares } from './shares.ts';
import { addressOf, SOURCE_WORDS, type Source, socketAndFamily } from './source.ts';
import type { Ticket } from './tickets.ts';
import {
  RELAY_ADDRESS,
  RELAY_COUNT,
  RELAY_DATA_HEADER,
  RELAY_DESTINATION,
  RELAY_FAMILY,
  RELAY_FROM,
  RELAY_LENGTH,
  RELAY_PORT,
  RELAY_TOKEN,
} from './udp/layout.ts';

const tickMs = 1000;

export class Switchboard {
  readonly counters: RelayCounters;
  readonly allocations: Allocations;
  readonly shares: Shares;
  readonly #board: Board;
  readonly #desk: Desk;
  readonly #gate: Gate;
  #tickedAt: MonotonicMs | undefined;

  constructor(options: SwitchboardOptions) {
    this.#board = new Board(options);
    this.#desk = new Desk(this.#board);
    this.#gate = new Gate(this.#board);
    this.counters = this.#board.counters;
    this.allocations = this.#board.allocations;
    this.shares = new Shares(this.allocations.capacity);
  }

  /** `route`, too, may have something to be sent. */
  get hasOutputs(): boolean {
    return this.#board.hasOutputs;
  }

  /** What is to be done, in order. */
  takeOutputs(): SwitchboardOutput[] {
    return this.#board.takeOutputs();
  }

  /** When `tick` is due, if ever. */
  deadline(now: Now): MonotonicMs | undefined {
    if (this.#board.isIdle) return undefined;
    return after(this.#tickedAt ?? now.monotonic, tickMs);
  }

  /** Whether there is a connection to the server. It says the time, too: its own less the wall clock. */
  setServer(isReachable: boolean, now: Now, offsetMs?: number): void {
    this.#board.setServer(isReachable, now, offsetMs);
  }

  /**
   * Where a run goes: the slot of its destination, or -1 and a counter. `rows` is the table of `udp/layout.ts`, `at` the row's first word;
   * a run from a WebSocket has the family 0 and its number for an address. Fills in the sender.
   */
  route(rows: Int32Array, at: number, socket: number, nowMs: number): number {
    const { allocations, counters } = this;
    const packets = rows[at + RELAY_COUNT]!;
    const slot = allocations.ofToken(rows[at + RELAY_TOKEN]!, rows[at + RELAY_TOKEN + 1]!);
    if (slot === undefined) return this.#drop('dropped-unknown-token', packets);
    if (!isFrom(allocations.sources, slot, rows, at, socket)) {
      if (!this.#wasUnderWay(slot, rows, at, socket, nowMs)) {
        return this.#elsewhere(slot, rows, at, socket, nowMs);
      }
      counters.add('accepted-late', packets);
    }
    allocations.heardAt[slot] = nowMs;
    const destination = allocations.ofClient(rows[at + RELAY_DESTINATION]!);
    if (destination === undefined) return this.#drop('dropped-no-destination', packets);
    if (!this.shares.take(slot, packets, nowMs)) return this.#drop('dropped-share', packets);
    const bytes = rows[at + RELAY_LENGTH]! - packets * RELAY_DATA_HEADER;
    const empty = allocations.take(slot, packets, bytes, nowMs);
    if (empty === 'bytes') return this.#drop('dropped-byte-rate', packets);
    if (empty === 'packets') return this.#drop('dropped-packet-rate', packets);
    if (allocations.takeReceived(destination, packets, bytes, nowMs) !== 0) {
      return this.#drop('dropped-received-rate', packets);
    }
    rows[at + RELAY_FROM] = allocations.clients[slot]!;
    counters.add('forwarded-packets', packets);
    counters.add('forwarded-bytes', bytes);
    return destination;
  }

  /** A control message. The bytes are not kept. */
  handle(from: Source, bytes: Uint8Array, now: Now): void {
    const message = decodeRelay(bytes);
    if (!this.#gate.lets(from, message, now)) {
      this.counters.add('dropped-control-rate');
      return;
    }
    switch (message?.type) {
      case 'allocate': {
        const verdict = this.#desk.allocate(from, message, bytes, now);
        this.#answer(from, message.transaction, verdict, now);
        break;
      }
      case 'refresh': {
        const verdict = this.#desk.refresh(from, message, bytes, now);
        this.#answer(from, message.transaction, verdict, now);
        break;
      }
      case 'release': {
        const verdict = this.#desk.release(message, bytes, now);
        this.#answer(from, message.transaction, verdict, now);
        break;
      }
      default:
        this.counters.add('dropped-malformed');
    }
  }

  /** Ends the client's allocation, and refuses its tickets up to this serial. */
  revoke(clientId: string, serial: number, now: Now): void {
    const client = clientNumber(clientId);
    if (client === undefined) return;
    this.#board.revoke(client, serial);
    const slot = this.allocations.ofClient(client);
    if (slot === undefined || this.allocations.holder(slot)!.ticket.serial > serial) return;
    this.counters.add('revoked');
    this.#board.end(slot, now.monotonic);
  }

  /** An allocation without a request: for simulations and measurements. Returns its token. */
  admit(ticket: Ticket, source: Source, now: Now): bigint {
    const slot = this.#board.add(ticket, source, this.#board.requestsOf(ticket.client));
    this.allocations.heardAt[slot] = now.monotonic;
    return this.allocations.holder(slot)!.token;
  }

  /** Tells everybody that the relay is about to end; from now on nobody comes in. */
  drain(): void {
    const board = this.#board;
    board.isDraining = true;
    for (const slot of this.allocations.slots()) {
      const holder = this.allocations.holder(slot)!;
      const graceSeconds = limits.drainMs / 1000;
      board.seal(holder, { type: 'draining', token: holder.token, graceSeconds });
    }
  }

  /** Ends what has fallen silent or whose ticket has ended. */
  tick(now: Now): void {
    const board = this.#board;
    this.#tickedAt = now.monotonic;
    const timeMs = board.timeMs(now);
    const graceMs = board.graceMs(now);
    for (const slot of [...this.allocations.slots()]) {
      const isSilent = now.monotonic - this.allocations.heardAt[slot]! >= limits.lifetimeMs;
      const hasEnded = timeMs >= this.allocations.holder(slot)!.ticket.notAfter + graceMs;
      if (!isSilent && !hasEnded) continue;
      this.counters.add(isSilent ? 'expired' : 'ticket-ended');
      board.end(slot, now.monotonic);
    }
    board.prune(now.monotonic);
  }

  #answer(to: Source, transaction: Uint8Array, verdict: Verdict, now: Now): void {
    if (verdict === 'served') return;
    if (verdict === 'challenge') {
      this.counters.add('challenged');
      this.#board.challenge(to, transaction, now.monotonic);
    } else if (isDrop(verdict)) {
      this.counters.add(verdict);
    } else {
      this.counters.add(`refused-${verdict}`);
      this.#board.send(to, encodePlainRelay({ type: 'error', transaction, code: verdict }));
    }
  }

  /**
   * Data that its owner sent before the allocation moved, or knew of it: by a slower way, or behind packets that wait. Its old place has been
   * proven as the new one has, and gets nothing any more.
   */
  #wasUnderWay(slot: number, rows: Int32Array, at: number, socket: number, nowMs: number): boolean {
    const { previous, leftAt } = this.allocations;
    return nowMs - leftAt[slot]! < limits.lingerMs && isFrom(previous, slot, rows, at, socket);
  }

  /**
   * Data with the token of an allocation that is somewhere else: most likely its owner's, whose NAT has given it another port without its
   * noticing. It is told, by a cookie for a refresh from there, with no more bytes than came and not often; if the sender was spoofed,
   * whoever receives that drops it.
   */
  #elsewhere(slot: number, rows: Int32Array, at: number, socket: number, nowMs: number): -1 {
    const { movedAt } = this.allocations;
    const family = rows[at + RELAY_FAMILY]!;
    const isShort = rows[at + RELAY_LENGTH]! < challengeBytes;
    if (family !== 0 && !isShort && nowMs - movedAt[slot]! >= limits.movedMs) {
      movedAt[slot] = nowMs;
      const address = addressOf(rows, family, at + RELAY_ADDRESS);
      const endpoint = { address, port: rows[at + RELAY_PORT]! };
      const { crypto } = this.#board;
      const transaction = movedTransaction(crypto, this.allocations.holder(slot)!.token);
      this.counters.add('told-moved');
      this.#board.challenge({ kind: 'udp', socket, endpoint }, transaction, monotonicMs(nowMs));
    }
    return this.#drop('dropped-wrong-source', rows[at + RELAY_COUNT]!);
  }

  #drop(counter: RelayCounter, packets: number): -1 {
    this.counters.add(counter, packets);
    return -1;
  }
}

/** Whether a row has come from the source that these words hold for the slot. */
function isFrom(
  sources: Int32Array,
  slot: number,
  rows: Int32Array,
  at: number,
  socket: number,
): boolean {
  const own = slot * SOURCE_WORDS;
  if (sources[own] !== socketAndFamily(socket, rows[at + RELAY_FAMILY]!)) return false;
  for (let i = 1; i < SOURCE_WORDS; i++) {
    if (sources[own + i] !== rows[at + RELAY_FAMILY + i]) return false;
  }
  return true;
}

const isDrop = (
  verdict: RelayErrorCode | Extract<Verdict, `dropped-${string}`>,
): verdict is Extract<Verdict, `dropped-${string}`> => verdict.startsWith('dropped-');
