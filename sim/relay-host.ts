/**
 * A relay in the simulated network: the real switchboard, with virtual UDP and wires that stand for WebSockets. Tickets are signed and
 * sealed as the server does it.
 */
import type { Crypto } from '#core/crypto.ts';
import { generateKeyPair, type KeyPair } from '#core/noise/handshake-state.ts';
import { sealTicketKey } from '#core/relay/ticket-key.ts';
import { drainMs } from '#relay/limits.ts';
import { isSame, SOURCE_WORDS, type Source, writeSource } from '#relay/source.ts';
import { Switchboard } from '#relay/switchboard.ts';
import {
  RELAY_COUNT,
  RELAY_DESTINATION,
  RELAY_FAMILY,
  RELAY_FROM,
  RELAY_LENGTH,
  RELAY_TOKEN,
  RELAY_WORDS,
} from '#relay/udp/layout.ts';
import { type Endpoint, familyOf, formatEndpoint } from '#wire/endpoint.ts';
import {
  deliveredPrefix,
  isDeliveredBare,
  relayPrefixBytes,
  relayType,
  type SealedRelayMessage,
  sealRelay,
} from '#wire/relay.ts';
import type { RelayEntry } from '#wire/relay-control.ts';
import { signDocument } from '#wire/signed.ts';
import type { Scheduled, VirtualClock } from './clock.ts';
import type { Host } from './network.ts';

export const relayPort = 3480;
const maxAllocations = 256;
const ticketMs = 6 * 3_600_000;
/** Of every client: more than any simulated one sends. */
const rates = { bytesPerSecond: 100_000_000, packetsPerSecond: 100_000 };

/** The client's end of a WebSocket. */
export interface RelayWire {
  readonly receive: (bytes: Uint8Array) => void;
  /** The relay's process has ended. */
  readonly broken: () => void;
}

/** What a relay that lies does with what it is about to send. */
export type Meddle = (bytes: Uint8Array, to: Source) => readonly Uint8Array[];

export class RelayHost {
  readonly id: string;
  readonly host: Host;
  /** False: it takes nothing and says nothing. */
  up = true;
  meddle: Meddle | undefined;
  readonly #clock: VirtualClock;
  readonly #crypto: Crypto;
  readonly #keys: KeyPair;
  readonly #clusterSeed: Uint8Array;
  readonly #row = new Int32Array(RELAY_WORDS);
  readonly #wires = new Map<number, RelayWire>();
  #connections = 0;
  #serial = 0;
  #board: Switchboard;
  #timer: Scheduled | undefined;

  constructor(id: string, host: Host, clock: VirtualClock, crypto: Crypto) {
    this.id = id;
    this.host = host;
    this.#clock = clock;
    this.#crypto = crypto;
    this.#keys = generateKeyPair(crypto);
    this.#clusterSeed = crypto.random(32);
    this.#board = this.#start();
    host.bind(relayPort, (bytes, endpoint) => {
      this.receive(bytes, { kind: 'udp', socket: 0, endpoint });
    });
  }

  get endpoint(): Endpoint {
    return { address: this.host.addresses[0]!, port: relayPort };
  }

  get allocations(): number {
    return this.#board.allocations.size;
  }

  get forwarded(): number {
    return this.#board.counters.get('forwarded-packets');
  }

  get counters(): Switchboard['counters'] {
    return this.#board.counters;
  }

  /** What a server tells a client of it. */
  entryFor(clientId: string): RelayEntry {
    const crypto = this.#crypto;
    const key = crypto.random(32);
    const wall = Math.floor(this.#clock.now.wall);
    this.#serial += 1;
    const ticket = {
      ...{ relay: this.id, relayKey: this.#keys.publicKey, identity: crypto.random(32), clientId },
      ...{ serial: this.#serial, notBefore: wall, notAfter: wall + ticketMs, ...rates },
      sealedKey: sealTicketKey(crypto, this.#keys.publicKey, key)!,
    };
    const sign = (message: Uint8Array) => crypto.ed25519Sign(this.#clusterSeed, message);
    const udp = this.host.addresses.map((address) => formatEndpoint({ address, port: relayPort }));
    const ws = [`ws://${this.host.addresses[0]}:8443/v1/relay`];
    return {
      ...{ id: this.id, kind: 'server', udp, ws, key },
      ticket: signDocument('relay-ticket', ticket, sign),
    };
  }

  /** The process dies. */
  kill(): void {
    this.up = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    const wires = [...this.#wires.values()];
    this.#wires.clear();
    for (const { broken } of wires) broken();
  }

  /** The process dies and another one starts: allocations are gone. */
  restart(): void {
    this.kill();
    this.#board = this.#start();
    this.up = true;
  }

  /** As `Relay.close`: tells the clients, goes on for a while, and ends. */
  drain(): void {
    const board = this.#board;
    board.drain();
    this.#carryOut();
    this.#clock.in(drainMs, () => {
      if (this.#board === board) this.kill();
    });
  }

  /** A WebSocket from this address. Its number. */
  connect(wire: RelayWire): number {
    this.#connections += 1;
    this.#wires.set(this.#connections, wire);
    return this.#connections;
  }

  disconnect(connection: number): void {
    this.#wires.delete(connection);
  }

  receive(bytes: Uint8Array, from: Source): void {
    if (!this.up || (from.kind === 'ws' && !this.#wires.has(from.connection))) return;
    if (relayType(bytes) === 'data') this.#forward(bytes, from);
    else {
      this.#board.handle(from, bytes, this.#clock.now);
      this.#carryOut();
    }
  }

  /** Whatever it wants to whomever it knows. */
  deliver(to: Source, bytes: Uint8Array): void {
    if (to.kind === 'ws') this.#wires.get(to.connection)?.receive(bytes);
    else this.host.send(relayPort, to.endpoint, bytes);
  }

  /** Where the clients are that hold an allocation, by their number. */
  get places(): Map<number, Source> {
    const { allocations } = this.#board;
    return new Map(
      [...allocations.slots()].map((slot) => [
        allocations.clients[slot]!,
        allocations.holder(slot)!.source,
      ]),
    );
  }

  /** What it says to who holds an allocation there, with the MAC that only the two can make. False: nobody does. */
  say(to: Source, message: (token: bigint) => SealedRelayMessage): boolean {
    const holder = this.#holderAt(to);
    if (holder === undefined) return false;
    this.deliver(to, sealRelay(this.#crypto, holder.ticket.macKey, message(holder.token)));
    return true;
  }

  tokenAt(place: Source): bigint | undefined {
    return this.#holderAt(place)?.token;
  }

  #holderAt(place: Source) {
    const { allocations } = this.#board;
    for (const slot of allocations.slots()) {
      const holder = allocations.holder(slot)!;
      if (isSame(holder.source, place)) return holder;
    }
    return undefined;
  }

  #start(): Switchboard {
    const clusterKey = this.#crypto.ed25519PublicKey(this.#clusterSeed);
    return new Switchboard({ crypto: this.#crypto, clusterKey, relay: this.#keys, maxAllocations });
  }

  /** A run of one datagram, as C would describe it. */
  #forward(bytes: Uint8Array, from: Source): void {
    if (bytes.length <= relayPrefixBytes) return;
    const row = this.#row;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const words = new Int32Array(SOURCE_WORDS);
    writeSource(words, 0, from);
    row.fill(0);
    row.set(words, RELAY_FAMILY);
    row[RELAY_FAMILY] = from.kind === 'ws' ? 0 : familyOf(from.endpoint.address);
    row[RELAY_COUNT] = 1;
    row[RELAY_LENGTH] = bytes.length;
    row[RELAY_TOKEN] = view.getInt32(8, true);
    row[RELAY_TOKEN + 1] = view.getInt32(12, true);
    row[RELAY_DESTINATION] = view.getInt32(16, true);
    const slot = this.#board.route(row, 0, 0, this.#clock.monotonic);
    if (slot < 0) {
      this.#carryOut();
      return;
    }
    const payload = bytes.subarray(relayPrefixBytes);
    const sender = row[RELAY_FROM]!;
    const to = this.#board.allocations.holder(slot)!.source;
    this.#send(
      to,
      isDeliveredBare(payload) ? payload : Buffer.concat([deliveredPrefix(sender), payload]),
    );
  }

  #carryOut(): void {
    for (const output of this.#board.takeOutputs()) {
      if (output.type === 'send') this.#send(output.to, output.bytes);
    }
    const deadline = this.#board.deadline(this.#clock.now);
    if (this.#timer !== undefined || deadline === undefined) return;
    this.#timer = this.#clock.at(deadline, () => {
      this.#timer = undefined;
      this.#board.tick(this.#clock.now);
      this.#carryOut();
    });
  }

  #send(to: Source, bytes: Uint8Array): void {
    for (const sent of this.meddle?.(bytes, to) ?? [bytes]) this.deliver(to, sent);
  }
}
