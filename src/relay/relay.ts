/** A relay as a whole: the switchboard's decisions over UDP sockets and WebSockets, its timer, and a clean end. */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Crypto } from '#core/crypto.ts';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import type { OffloadName } from '#engine/offloads.ts';
import { deliveredPrefix, isDeliveredBare, relayPrefixBytes, relayType } from '#wire/relay.ts';
import type { RelayRevocation } from '#wire/relay-control.ts';
import { drainMs } from './limits.ts';
import type { Source, UdpSource, WebSocketSource } from './source.ts';
import { Switchboard } from './switchboard.ts';
import type { Ticket } from './tickets.ts';
import {
  RELAY_ADDRESS,
  RELAY_COUNT,
  RELAY_DESTINATION,
  RELAY_FROM,
  RELAY_LENGTH,
  RELAY_TOKEN,
  RELAY_WORDS,
} from './udp/layout.ts';
import { UdpPlane } from './udp/plane.ts';
import { WebSockets } from './web-sockets.ts';

export interface RelayOptions {
  readonly crypto: Crypto;
  /** Ed25519 key that signs tickets. */
  readonly clusterKey: Uint8Array;
  readonly keys: KeyPair;
  readonly maxAllocations?: number;
  readonly withoutOffloads?: readonly OffloadName[];
}

export class Relay implements AsyncDisposable {
  readonly switchboard: Switchboard;
  readonly #plane: UdpPlane;
  readonly #webSockets: WebSockets;
  readonly #used = new Map<number, number>();
  readonly #row = new Int32Array(RELAY_WORDS);
  #timer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: RelayOptions) {
    const { crypto, clusterKey, keys: relay, maxAllocations, withoutOffloads } = options;
    this.switchboard = new Switchboard({
      ...{ crypto, clusterKey, relay },
      ...(maxAllocations === undefined ? {} : { maxAllocations }),
    });
    const { allocations, shares } = this.switchboard;
    this.#webSockets = new WebSockets({
      onDatagram: (from, bytes) => this.#onWebSocket(from, bytes),
      isUsed: (connection) => this.#used.has(connection),
      onSlowReader: () => this.switchboard.counters.add('dropped-slow-reader'),
      limitUnsent: (fd, bytes) => this.#plane.limitUnsent(fd, bytes),
    });
    this.#plane = new UdpPlane(
      {
        route: (rows, at, socket, nowMs) => this.switchboard.route(rows, at, socket, nowMs),
        onControl: (from, bytes) => this.#onControl(from, bytes),
        connectionOf: (slot) => allocations.connections[slot]!,
        udpOf: (slot) => udpOf(allocations.holder(slot)?.source),
        toWebSocket: (connection, header, payload) =>
          this.#webSockets.send(connection, header, payload),
        onTurn: (overloaded) => {
          shares.setOverloaded(overloaded);
          if (this.switchboard.hasOutputs) this.#carryOut();
        },
      },
      withoutOffloads === undefined ? {} : { withoutOffloads },
    );
  }

  /** Binds a UDP address. BuriError: port-in-use, port-forbidden, address-unavailable. Returns the port. */
  listenUdp(address: string, port: number): number {
    return this.#plane.open(address, port).port;
  }

  /** Takes over an HTTP upgrade for `/v1/relay`; turns away whom there is no room for. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#webSockets.upgrade(request, socket, head);
  }

  /** What the server says: tickets that are void. */
  revoke(revoked: readonly RelayRevocation[]): void {
    for (const { clientId, serial } of revoked) this.switchboard.revoke(clientId, serial, now());
    this.#carryOut();
  }

  /** Whether there is a connection to the server, and its time less the wall clock. */
  setServer(isReachable: boolean, offsetMs?: number): void {
    this.switchboard.setServer(isReachable, now(), offsetMs);
  }

  /** An allocation without a request: for measurements. Returns its token. */
  admit(ticket: Ticket, source: Source): bigint {
    const token = this.switchboard.admit(ticket, source, now());
    this.#carryOut();
    return token;
  }

  /** For an operator. */
  status(): object {
    const counters = this.switchboard.counters.all();
    return {
      allocations: this.switchboard.allocations.size,
      webSockets: this.#webSockets.size,
      counters,
      system: this.#plane.counters,
    };
  }

  /** Tells the clients, goes on forwarding while any is left, for `drainMs` at most, and ends. */
  close(withinMs = drainMs): Promise<void> {
    this.#closing ??= this.#close(withinMs);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close(0);
  }

  async #close(withinMs: number): Promise<void> {
    const until = performance.now() + withinMs;
    if (withinMs > 0) this.switchboard.drain();
    this.#carryOut();
    while (this.switchboard.allocations.size > 0 && performance.now() < until) await sleep(50);
    clearTimeout(this.#timer);
    this.#plane[Symbol.dispose]();
    this.#webSockets.close();
  }

  #onControl(from: Source, bytes: Uint8Array): void {
    this.switchboard.handle(from, bytes, now());
    this.#carryOut();
  }

  #onWebSocket(from: WebSocketSource, bytes: Uint8Array): void {
    if (this.#closing !== undefined && this.switchboard.allocations.size === 0) return;
    if (relayType(bytes) !== 'data') {
      this.#onControl(from, bytes);
      return;
    }
    if (bytes.length <= relayPrefixBytes) {
      this.switchboard.counters.add('dropped-malformed');
      return;
    }
    const row = this.#row;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    row.fill(0);
    row[RELAY_COUNT] = 1;
    row[RELAY_LENGTH] = bytes.length;
    row[RELAY_TOKEN] = view.getInt32(8, true);
    row[RELAY_TOKEN + 1] = view.getInt32(12, true);
    row[RELAY_DESTINATION] = view.getInt32(16, true);
    row[RELAY_ADDRESS] = from.connection;
    const slot = this.switchboard.route(row, 0, 0, performance.now());
    if (slot >= 0) this.#deliver(slot, row[RELAY_FROM]!, bytes.subarray(relayPrefixBytes));
  }

  #deliver(slot: number, from: number, payload: Uint8Array): void {
    const to = this.switchboard.allocations.holder(slot)!.source;
    const header = isDeliveredBare(payload) ? undefined : deliveredPrefix(from);
    if (to.kind === 'ws') this.#webSockets.send(to.connection, header, payload);
    else {
      const bytes = header === undefined ? payload : Buffer.concat([header, payload]);
      this.#plane.send(to.socket, to.endpoint, bytes);
    }
  }

  /** Does what the switchboard has decided, and arms its timer. */
  #carryOut(): void {
    for (const output of this.switchboard.takeOutputs()) {
      switch (output.type) {
        case 'send':
          this.#send(output.to, output.bytes);
          break;
        case 'placed':
          this.#place(output.slot, output.source);
          break;
        case 'gone':
          this.#leave(output.slot);
          this.#plane.forget(output.slot);
          break;
        default:
          output satisfies never;
      }
    }
    this.#rearm();
  }

  #send(to: Source, bytes: Uint8Array): void {
    if (to.kind === 'ws') this.#webSockets.send(to.connection, undefined, bytes);
    else this.#plane.send(to.socket, to.endpoint, bytes);
  }

  #place(slot: number, source: Source): void {
    this.#leave(slot);
    if (source.kind === 'udp') this.#plane.place(slot, source);
    else {
      this.#plane.forget(slot);
      this.#used.set(source.connection, slot);
    }
  }

  /** The WebSocket of a slot serves it no more. */
  #leave(slot: number): void {
    for (const [connection, user] of this.#used) {
      if (user === slot) this.#used.delete(connection);
    }
  }

  #rearm(): void {
    if (this.#timer !== undefined) return;
    const deadline = this.switchboard.deadline(now());
    if (deadline === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.switchboard.tick(now());
        this.#carryOut();
      },
      Math.max(0, Math.ceil(deadline - performance.now())),
    );
  }
}

const udpOf = (source: Source | undefined): UdpSource | undefined =>
  source?.kind === 'udp' ? source : undefined;

const now = (): Now => ({ monotonic: monotonicMs(performance.now()), wall: wallMs(Date.now()) });
