/**
 * Seals and opens probes, and remembers which requests are in flight. A datagram that nobody sealed for us costs one
 * look at its key id, and at most one AEAD open.
 */
import type { Crypto } from '#core/crypto.ts';
import type { MonotonicMs, Now } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import {
  openProbe,
  type ProbeBody,
  probeBytes,
  probeNonceBytes,
  probeTransactionBytes,
  readProbeHeader,
  sealProbe,
} from '#wire/probe.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathCounter } from './context.ts';
import type { PathOutput } from './io.ts';
import { maxTransactions, requestLifetimeMs, transactionLifetimeMs } from './limits.ts';
import type { Path } from './path.ts';
import type { ProbeKeys } from './probe-keys.ts';
import { onPath } from './relay-path.ts';

/** A request in flight. */
export interface Transaction {
  readonly peer: number;
  readonly pair: CandidatePair;
  /** Of the pair's probes; 0 for a padded one, which is none of them. */
  readonly number: number;
  readonly sizeBytes: number;
  readonly sentAt: MonotonicMs;
}

export type Arrived =
  | { readonly type: 'request'; readonly peer: number; readonly body: ProbeBody }
  | {
      readonly type: 'response';
      readonly peer: number;
      readonly body: ProbeBody;
      readonly transaction: Transaction;
    }
  | { readonly type: 'dropped'; readonly reason: PathCounter };

export class ProbeExchange {
  readonly #crypto: Crypto;
  readonly #emit: (output: PathOutput) => void;
  readonly #keys = new Map<number, ProbeKeys>();
  readonly #peerOfKeyId = new Map<bigint, number>();
  /** In the order they were sent, which is the order they expire in. */
  readonly #transactions = new Map<string, Transaction>();
  /** Server time at a moment of the monotonic clock, so that a jump of the wall clock does not matter. */
  #serverTime: { readonly ms: number; readonly at: MonotonicMs } | undefined;

  constructor(crypto: Crypto, emit: (output: PathOutput) => void) {
    this.#crypto = crypto;
    this.#emit = emit;
  }

  /** False when another peer has the same key: then the two cannot be told apart. */
  addPeer(peer: number, keys: ProbeKeys): boolean {
    if (this.#peerOfKeyId.has(keys.receive.keyId)) return false;
    this.#keys.set(peer, keys);
    this.#peerOfKeyId.set(keys.receive.keyId, peer);
    return true;
  }

  removePeer(peer: number): void {
    const keys = this.#keys.get(peer);
    if (keys === undefined) return;
    this.#keys.delete(peer);
    this.#peerOfKeyId.delete(keys.receive.keyId);
    for (const [id, transaction] of this.#transactions) {
      if (transaction.peer === peer) this.#transactions.delete(id);
    }
  }

  setTimeOffset(offsetMs: number, now: Now): void {
    this.#serverTime = { ms: now.wall + offsetMs, at: now.monotonic };
  }

  sendRequest(peer: number, pair: CandidatePair, using: boolean, now: Now, ttl?: number): void {
    this.#send(peer, pair, pair.probeSent(now.monotonic), using, now, ttl);
  }

  /** The same, but it says nothing of whether the pair is alive when it gets lost. */
  sendMeasuring(peer: number, pair: CandidatePair, using: boolean, now: Now): void {
    this.#send(peer, pair, pair.quality.sent(now.monotonic), using, now);
  }

  #send(
    peer: number,
    pair: CandidatePair,
    number: number,
    using: boolean,
    now: Now,
    ttl?: number,
  ): void {
    const body = this.#begin({ peer, pair, number, sizeBytes: probeBytes }, using, now);
    this.#seal(peer, 'request', body, pair.path, ttl === undefined ? {} : { ttl });
  }

  /** A request padded to `sizeBytes`, the relay's header included, on the pair in use, which nobody may fragment. */
  sendPadded(peer: number, pair: CandidatePair, sizeBytes: number, now: Now): void {
    const body = this.#begin({ peer, pair, number: 0, sizeBytes }, true, now);
    this.#seal(peer, 'request', body, pair.path, { sizeBytes });
  }

  /** Remembers a request that is about to leave. */
  #begin(request: Omit<Transaction, 'sentAt'>, using: boolean, now: Now): ProbeBody {
    const at = now.monotonic;
    const transaction = this.#crypto.random(probeTransactionBytes);
    this.#makeRoom(at);
    this.#transactions.set(transactionText(transaction), { ...request, sentAt: at });
    const proven = request.pair.state.name === 'answered';
    return { transaction, proven, using, time: this.#bestTime(now) };
  }

  /** A request that nobody waits for an answer to: it opens a NAT, or knocks at a guessed port. */
  sealRequest(peer: number, now: Now): Uint8Array | undefined {
    const keys = this.#keys.get(peer);
    if (keys === undefined) return undefined;
    const transaction = this.#crypto.random(probeTransactionBytes);
    const body = { transaction, proven: false, using: false, time: this.#bestTime(now) };
    const nonce = this.#crypto.random(probeNonceBytes);
    return sealProbe(this.#crypto, keys.send, 'request', body, nonce, probeBytes);
  }

  /** Whose authentic and fresh request this is. */
  senderOf(bytes: Uint8Array, now: Now): number | undefined {
    const header = readProbeHeader(bytes);
    if (header?.type !== 'request') return undefined;
    const peer = this.#peerOfKeyId.get(header.keyId);
    const keys = peer === undefined ? undefined : this.#keys.get(peer);
    const body = keys === undefined ? undefined : openProbe(this.#crypto, keys.receive.key, bytes);
    if (body === undefined || this.#bestTime(now) - body.time > requestLifetimeMs) return undefined;
    return peer;
  }

  sendResponse(
    peer: number,
    request: ProbeBody,
    flags: { readonly proven: boolean; readonly using: boolean },
    from: Path,
    now: Now,
  ): void {
    const time = this.#bestTime(now);
    const body = { transaction: request.transaction, ...flags, observed: from.remote, time };
    this.#seal(peer, 'response', body, from);
  }

  /** @param relay over which it came; undefined: directly. */
  open(
    bytes: Uint8Array,
    from: {
      readonly socket: number;
      readonly remote: Endpoint;
      readonly relay?: string | undefined;
    },
    now: Now,
  ): Arrived {
    const header = readProbeHeader(bytes);
    if (header === undefined) return dropped('datagramsMalformed');
    const peer = this.#peerOfKeyId.get(header.keyId);
    const keys = peer === undefined ? undefined : this.#keys.get(peer);
    if (peer === undefined || keys === undefined) return dropped('keysUnknown');
    const body = openProbe(this.#crypto, keys.receive.key, bytes);
    if (body === undefined) return dropped('probesForged');
    if (header.type === 'request') {
      if (this.#bestTime(now) - body.time > requestLifetimeMs) return dropped('requestsStale');
      return { type: 'request', peer, body };
    }
    const transaction = this.#takeMatching(peer, body, from, now.monotonic);
    if (transaction === undefined) return dropped('responsesUnmatched');
    return { type: 'response', peer, body, transaction };
  }

  /**
   * A response counts where its request left, and from the relay that it went over. A direct one may come from another port than the
   * request went to, other than RFC 8445 §7.2.5.2.1 has it: a NAT that gives every destination another port answers from the one that is
   * ours. Only the peer can have made it, and only after the request had reached it by that pair.
   */
  #takeMatching(
    peer: number,
    body: ProbeBody,
    from: {
      readonly socket: number;
      readonly remote: Endpoint;
      readonly relay?: string | undefined;
    },
    at: MonotonicMs,
  ): Transaction | undefined {
    const id = transactionText(body.transaction);
    const transaction = this.#transactions.get(id);
    if (transaction === undefined || transaction.peer !== peer) return undefined;
    const { path, relay } = transaction.pair;
    const isHere =
      relay === undefined
        ? from.relay === undefined &&
          path.socket === from.socket &&
          path.remote.address === from.remote.address
        : from.relay === relay.relay;
    if (!isHere || at - transaction.sentAt > transactionLifetimeMs) return undefined;
    this.#transactions.delete(id);
    return transaction;
  }

  #seal(
    peer: number,
    type: 'request' | 'response',
    body: ProbeBody,
    path: Path,
    { sizeBytes, ttl }: { readonly sizeBytes?: number; readonly ttl?: number } = {},
  ): void {
    const keys = this.#keys.get(peer);
    if (keys === undefined) return;
    const nonce = this.#crypto.random(probeNonceBytes);
    const { socket, remote, prefix } = path;
    const probeSize = sizeBytes === undefined ? probeBytes : sizeBytes - (prefix?.length ?? 0);
    const probe = sealProbe(this.#crypto, keys.send, type, body, nonce, probeSize);
    const bytes = onPath(path, probe);
    const isPadded = probeSize > probeBytes;
    const how = { ...(isPadded && { dontFragment: true as const }), ...(ttl && { ttl }) };
    this.#emit({ type: 'send', socket, remote, bytes, ...how });
  }

  /** What has expired goes, and when that is not enough the oldest. */
  #makeRoom(at: MonotonicMs): void {
    for (const [id, { sentAt }] of this.#transactions) {
      const isFull = this.#transactions.size >= maxTransactions;
      if (!isFull && at - sentAt <= transactionLifetimeMs) return;
      this.#transactions.delete(id);
    }
  }

  #bestTime(now: Now): number {
    const server = this.#serverTime;
    return server === undefined ? now.wall : server.ms + (now.monotonic - server.at);
  }
}

const dropped = (reason: PathCounter): Arrived => ({ type: 'dropped', reason });

/** As a key of a map. */
export const transactionText = (bytes: Uint8Array): string => String.fromCharCode(...bytes);
