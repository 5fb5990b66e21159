import { maxSignalBytes } from '#wire/control.ts';
import { decodeSignal, encodeSignal, type SignalPayload, signalLifetimeMs } from '#wire/signal.ts';
import type { Crypto } from '../crypto.ts';
import { HandshakeState, type KeyPair } from '../noise/handshake-state.ts';

/** Why a signal had no effect. Names are stable: they are counters. */
export type SignalFault =
  | 'signal-forged'
  | 'signal-malformed'
  | 'signal-expired'
  | 'signal-postdated'
  | 'signal-replayed';

export interface SignalPeer {
  readonly clientId: string;
  readonly tunnelKey: Uint8Array;
}

/** Clocks on the two ways to the server are that far apart at most. */
const clockToleranceMs = 30_000;

/**
 * Seals and opens signals (protocol §6): one Noise_K message between the tunnel keys, so that only the two of them know and
 * only the other one can have said it.
 */
export class Signals {
  readonly #crypto: Crypto;
  readonly #tunnel: KeyPair;
  readonly #ownId: string;
  readonly #sent = new Map<string, number>();
  readonly #seen = new Map<string, number>();

  constructor(crypto: Crypto, tunnel: KeyPair, ownId: string) {
    this.#crypto = crypto;
    this.#tunnel = tunnel;
    this.#ownId = ownId;
  }

  /** Undefined when the peer's tunnel key is a low-order point. */
  seal(
    peer: SignalPeer,
    content: Omit<SignalPayload, 'counter' | 'expiresAt'>,
    serverTimeMs: number,
  ): Uint8Array | undefined {
    // Begins at the time, so that it goes up over restarts without being kept on disk.
    const counter = Math.max((this.#sent.get(peer.clientId) ?? 0) + 1, serverTimeMs);
    this.#sent.set(peer.clientId, counter);
    const payload = encodeSignal({
      ...content,
      counter,
      expiresAt: serverTimeMs + signalLifetimeMs,
    });
    return this.#noise('initiator', peer).writeMessage(payload);
  }

  /** Whether the peer made it lately. It counts as not seen yet. */
  isGenuine(peer: SignalPeer, sealed: Uint8Array, serverTimeMs: number): boolean {
    return typeof this.#read(peer, sealed, serverTimeMs) !== 'string';
  }

  open(peer: SignalPeer, sealed: Uint8Array, serverTimeMs: number): SignalPayload | SignalFault {
    const payload = this.#read(peer, sealed, serverTimeMs);
    if (typeof payload !== 'string') this.#seen.set(peer.clientId, payload.counter);
    return payload;
  }

  /** Forgets the counters of clients that are nobody's peer any more. */
  retain(clientIds: { has(clientId: string): boolean }): void {
    for (const counters of [this.#sent, this.#seen]) {
      for (const clientId of counters.keys()) {
        if (!clientIds.has(clientId)) counters.delete(clientId);
      }
    }
  }

  #read(peer: SignalPeer, sealed: Uint8Array, serverTimeMs: number): SignalPayload | SignalFault {
    if (sealed.length > maxSignalBytes) return 'signal-malformed';
    const bytes = this.#noise('responder', peer).readMessage(sealed);
    if (bytes === undefined) return 'signal-forged';
    const payload = decodeSignal(bytes);
    if (payload === undefined) return 'signal-malformed';
    if (payload.expiresAt + clockToleranceMs < serverTimeMs) return 'signal-expired';
    if (payload.expiresAt > serverTimeMs + signalLifetimeMs + clockToleranceMs) {
      return 'signal-postdated';
    }
    if (payload.counter <= (this.#seen.get(peer.clientId) ?? -1)) return 'signal-replayed';
    return payload;
  }

  #noise(role: 'initiator' | 'responder', peer: SignalPeer): HandshakeState {
    const [from, to] =
      role === 'initiator' ? [this.#ownId, peer.clientId] : [peer.clientId, this.#ownId];
    return new HandshakeState(this.#crypto, {
      pattern: 'K',
      role,
      prologue: new TextEncoder().encode(`buri signal 1${from}${to}`),
      s: this.#tunnel,
      rs: peer.tunnelKey,
    });
  }
}
