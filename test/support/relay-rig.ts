/** A switchboard with its clients, joined by hand under virtual time: tickets, requests as clients make them, and what comes back. */

import { generateKeyPair, type KeyPair } from '#core/noise/handshake-state.ts';
import { sealTicketKey } from '#core/relay/ticket-key.ts';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { SwitchboardOutput } from '#relay/board.ts';
import type { Source } from '#relay/source.ts';
import { SOURCE_WORDS, writeSource } from '#relay/source.ts';
import { Switchboard } from '#relay/switchboard.ts';
import {
  RELAY_COUNT,
  RELAY_DATA_HEADER,
  RELAY_DESTINATION,
  RELAY_FAMILY,
  RELAY_LENGTH,
  RELAY_TOKEN,
  RELAY_WORDS,
} from '#relay/udp/layout.ts';
import { clientIdOf } from '#wire/client-number.ts';
import { decodeRelay, type RelayMessage, type SealedRelayMessage, sealRelay } from '#wire/relay.ts';
import { type RelayTicket, signDocument } from '#wire/signed.ts';

export const hour = 3_600_000;
export const startWall = Date.UTC(2026, 10, 30);

export interface Credentials {
  readonly client: number;
  readonly ticket: Uint8Array;
  readonly key: Uint8Array;
}

/** A cluster that signs tickets for one relay. */
export class Issuer {
  readonly seed: Uint8Array;
  readonly clusterKey: Uint8Array;
  readonly relay: KeyPair;

  constructor(relay: KeyPair = generateKeyPair(crypto)) {
    this.seed = crypto.random(32);
    this.clusterKey = crypto.ed25519PublicKey(this.seed);
    this.relay = relay;
  }

  issue(client: number, changes: Partial<RelayTicket> = {}): Credentials {
    const key = crypto.random(32);
    const ticket: RelayTicket = {
      relay: 'r-0123456789abcdef',
      relayKey: this.relay.publicKey,
      identity: new Uint8Array(32).fill(client),
      clientId: clientIdOf(client)!,
      serial: 1,
      notBefore: startWall - hour,
      notAfter: startWall + 6 * hour,
      bytesPerSecond: 100_000_000,
      packetsPerSecond: 100_000,
      sealedKey: sealTicketKey(crypto, this.relay.publicKey, key)!,
      ...changes,
    };
    const sign = (message: Uint8Array) => crypto.ed25519Sign(this.seed, message);
    return { client, ticket: signDocument('relay-ticket', ticket, sign), key };
  }
}

export const udp = (address: string, port: number, socket = 0): Source => ({
  kind: 'udp',
  socket,
  endpoint: { address, port },
});

export const webSocket = (connection: number, address = '198.51.100.7'): Source => ({
  kind: 'ws',
  connection,
  endpoint: { address, port: 50_000 },
});

export class RelayRig {
  readonly issuer: Issuer;
  readonly board: Switchboard;
  ms = 1000;
  readonly #row = new Int32Array(RELAY_WORDS);

  constructor(options: { issuer?: Issuer; maxAllocations?: number } = {}) {
    this.issuer = options.issuer ?? new Issuer();
    const { clusterKey, relay } = this.issuer;
    const { maxAllocations } = options;
    this.board = new Switchboard({
      ...{ crypto, clusterKey, relay },
      ...(maxAllocations === undefined ? {} : { maxAllocations }),
    });
  }

  get now(): Now {
    return { monotonic: monotonicMs(this.ms), wall: wallMs(startWall + this.ms) };
  }

  get time(): number {
    return startWall + this.ms;
  }

  /** Lets time pass, as the timer would. */
  pass(ms: number): SwitchboardOutput[] {
    this.ms += ms;
    this.board.tick(this.now);
    return this.board.takeOutputs();
  }

  /** What it answers to a datagram. */
  give(from: Source, bytes: Uint8Array): RelayMessage[] {
    return this.outputs(from, bytes).flatMap((output) =>
      output.type === 'send' ? [decodeRelay(output.bytes)!] : [],
    );
  }

  outputs(from: Source, bytes: Uint8Array): SwitchboardOutput[] {
    this.board.handle(from, bytes, this.now);
    return this.board.takeOutputs();
  }

  /** What it has sent since, without being given a control message. */
  sent(): { to: Source; bytes: Uint8Array; message: RelayMessage }[] {
    return this.board
      .takeOutputs()
      .flatMap((output) =>
        output.type === 'send' ? [{ ...output, message: decodeRelay(output.bytes)! }] : [],
      );
  }

  allocate(
    { ticket, key }: Credentials,
    more: { transaction?: Uint8Array; cookie?: Uint8Array; time?: number } = {},
  ): Uint8Array {
    const { transaction = crypto.random(12), cookie, time = this.time } = more;
    const message = { type: 'allocate', transaction, time, ticket } as const;
    return sealRelay(crypto, key, cookie === undefined ? message : { ...message, cookie });
  }

  refresh(
    token: bigint,
    key: Uint8Array,
    more: { transaction?: Uint8Array; cookie?: Uint8Array; time?: number } = {},
  ): Uint8Array {
    const { transaction = crypto.random(12), cookie, time = this.time } = more;
    const message = { type: 'refresh', token, transaction, time } as const;
    return sealRelay(crypto, key, cookie === undefined ? message : { ...message, cookie });
  }

  seal(key: Uint8Array, message: SealedRelayMessage): Uint8Array {
    return sealRelay(crypto, key, message);
  }

  /** Through challenge and allocation; the token, and the request that brought it. */
  join(from: Source, credentials: Credentials): { token: bigint; request: Uint8Array } {
    const transaction = crypto.random(12);
    let request = this.allocate(credentials, { transaction });
    let [answer] = this.give(from, request);
    if (answer?.type === 'challenge') {
      request = this.allocate(credentials, { transaction, cookie: answer.cookie });
      [answer] = this.give(from, request);
    }
    if (answer?.type !== 'allocated') throw new Error(`no allocation: ${JSON.stringify(answer)}`);
    return { token: answer.token, request };
  }

  /** The client that a run of data reaches; undefined when it is dropped. */
  send(
    from: Source,
    token: bigint,
    destination: number,
    packets = 1,
    bytes = 100,
  ): number | undefined {
    const row = this.#row;
    row.fill(0);
    row[RELAY_COUNT] = packets;
    row[RELAY_LENGTH] = packets * (bytes + RELAY_DATA_HEADER);
    row[RELAY_TOKEN] = Number(BigInt.asIntN(32, token));
    row[RELAY_TOKEN + 1] = Number(BigInt.asIntN(32, token >> 32n));
    row[RELAY_DESTINATION] = destination;
    const words = new Int32Array(SOURCE_WORDS);
    writeSource(words, 0, from);
    row.set(words, RELAY_FAMILY);
    row[RELAY_FAMILY] = from.kind === 'ws' ? 0 : from.endpoint.address.includes(':') ? 6 : 4;
    const socket = from.kind === 'ws' ? 0 : from.socket;
    const slot = this.board.route(row, 0, socket, this.ms);
    return slot < 0 ? undefined : this.board.allocations.clients[slot];
  }

  count(counter: Parameters<Switchboard['counters']['get']>[0]): number {
    return this.board.counters.get(counter);
  }
}
