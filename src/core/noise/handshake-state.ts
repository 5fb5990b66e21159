import type { Crypto } from '#core/crypto.ts';
import { assert } from '#core/errors.ts';
import { CipherState, maximumMessageBytes, tagLengthBytes } from './cipher-state.ts';
import {
  type HandshakePattern,
  type PatternName,
  patterns,
  protocolName,
  type Token,
} from './patterns.ts';
import { SymmetricState } from './symmetric-state.ts';

export const dhLengthBytes = 32;

export interface KeyPair {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

export type Role = 'initiator' | 'responder';

export interface HandshakeOptions {
  readonly pattern: PatternName;
  readonly role: Role;
  /** What both ends must have seen alike. Empty by default. */
  readonly prologue?: Uint8Array;
  /** Local static key pair. */
  readonly s?: KeyPair;
  /** Local ephemeral key pair: for test vectors only, made at random when absent. */
  readonly e?: KeyPair;
  /** Remote static public key, where the pattern knows it beforehand. */
  readonly rs?: Uint8Array;
  /** Pre-shared key of a psk pattern; `setPsk` gives it later. */
  readonly psk?: Uint8Array;
}

/** Makes a key pair of 32 random bytes, clamped by X25519 itself. */
export function generateKeyPair(crypto: Crypto): KeyPair {
  const privateKey = crypto.random(dhLengthBytes);
  return { privateKey, publicKey: crypto.x25519PublicKey(privateKey) };
}

/**
 * A handshake of one end (Noise §5.3).
 *
 *   handshaking ──last message──► finished
 *        └──── bad message, or a low-order key ────► failed
 *
 * Bad input from outside is `undefined`, after which the handshake has failed. A call out of turn, or without a key that
 * the pattern needs, is an assertion.
 */
export class HandshakeState {
  readonly #crypto: Crypto;
  readonly #patternName: PatternName;
  readonly #pattern: HandshakePattern;
  readonly #isPsk: boolean;
  readonly #role: Role;
  readonly #symmetric: SymmetricState;
  #s: KeyPair | undefined;
  #e: KeyPair | undefined;
  #rs: Uint8Array | undefined;
  #re: Uint8Array | undefined;
  #psk: Uint8Array | undefined;
  #turn = 0;
  #state: 'handshaking' | 'finished' | 'failed' = 'handshaking';

  constructor(crypto: Crypto, options: HandshakeOptions, cloneOf?: HandshakeState) {
    this.#crypto = crypto;
    this.#patternName = options.pattern;
    this.#pattern = patterns[options.pattern];
    this.#isPsk = this.#pattern.messages.some((tokens) => tokens.includes('psk'));
    this.#role = options.role;
    this.#s = options.s;
    this.#e = options.e;
    this.#rs = options.rs;
    this.#psk = options.psk;
    if (cloneOf !== undefined) {
      this.#symmetric = cloneOf.#symmetric.clone();
      return;
    }
    this.#symmetric = new SymmetricState(crypto, protocolName(options.pattern));
    this.#symmetric.mixHash(options.prologue ?? new Uint8Array(0));
    const [initiator, responder] = this.#pattern.preMessages;
    if (initiator.length > 0) this.#symmetric.mixHash(this.#staticOf('initiator'));
    if (responder.length > 0) this.#symmetric.mixHash(this.#staticOf('responder'));
  }

  /** An independent copy at the same point, to try the next message with another psk. */
  clone(psk: Uint8Array): HandshakeState {
    const options = { pattern: this.#patternName, role: this.#role, psk };
    const copy = new HandshakeState(this.#crypto, options, this);
    copy.#s = this.#s;
    copy.#e = this.#e && { ...this.#e, privateKey: this.#e.privateKey.slice() };
    copy.#rs = this.#rs;
    copy.#re = this.#re;
    copy.#turn = this.#turn;
    copy.#state = this.#state;
    return copy;
  }

  get isFinished(): boolean {
    return this.#state === 'finished';
  }

  /** The remote static public key: given, or known since the message that carried it. */
  get remoteStatic(): Uint8Array | undefined {
    return this.#rs;
  }

  /** Identifies the session for channel binding (§11.2), once finished. */
  get handshakeHash(): Uint8Array {
    assert(this.isFinished, 'only a finished handshake has a hash');
    return this.#symmetric.handshakeHash;
  }

  setPsk(psk: Uint8Array): void {
    this.#psk = psk;
  }

  /** The next message, carrying `payload`. Undefined when a remote key is a low-order point. */
  writeMessage(payload: Uint8Array): Uint8Array | undefined {
    const tokens = this.#takeTurn('write');
    const parts: Uint8Array[] = [];
    for (const token of tokens) {
      if (token === 'e') parts.push(this.#writeEphemeral());
      else if (token === 's') parts.push(this.#symmetric.encryptAndHash(this.#local().publicKey));
      else if (!this.#mix(token)) return this.#fail();
    }
    parts.push(this.#symmetric.encryptAndHash(payload));
    this.#endTurn();
    const message = concat(parts);
    assert(message.length <= maximumMessageBytes, 'a Noise message fits its bound');
    return message;
  }

  /** The payload of the next message from the other end. Undefined when it is forged, garbled or too long. */
  readMessage(message: Uint8Array): Uint8Array | undefined {
    const tokens = this.#takeTurn('read');
    if (message.length > maximumMessageBytes) return this.#fail();
    let rest = message;
    for (const token of tokens) {
      if (token === 'e') {
        if (rest.length < dhLengthBytes) return this.#fail();
        this.#re = rest.slice(0, dhLengthBytes);
        this.#mixEphemeral(this.#re);
        rest = rest.subarray(dhLengthBytes);
      } else if (token === 's') {
        const length = dhLengthBytes + (this.#symmetric.hasKey ? tagLengthBytes : 0);
        if (rest.length < length) return this.#fail();
        this.#rs = this.#symmetric.decryptAndHash(rest.subarray(0, length));
        if (this.#rs === undefined) return this.#fail();
        rest = rest.subarray(length);
      } else if (!this.#mix(token)) return this.#fail();
    }
    const payload = this.#symmetric.decryptAndHash(rest);
    if (payload === undefined) return this.#fail();
    this.#endTurn();
    return payload;
  }

  /** The transport states of this end, once. After a one-way pattern the initiator only sends. */
  split(): { readonly send: CipherState; readonly receive: CipherState } {
    const { sendKey, receiveKey } = this.splitKeys();
    return {
      send: new CipherState(this.#crypto, sendKey),
      receive: new CipherState(this.#crypto, receiveKey),
    };
  }

  /** The bare transport keys of this end, once; the handshake's own secrets are erased. */
  splitKeys(): { readonly sendKey: Uint8Array; readonly receiveKey: Uint8Array } {
    assert(this.isFinished, 'only a finished handshake is split');
    const [k1, k2] = this.#symmetric.split();
    this.erase();
    return this.#role === 'initiator'
      ? { sendKey: k1, receiveKey: k2 }
      : { sendKey: k2, receiveKey: k1 };
  }

  /** Erases the ephemeral key and the chaining key. The static key belongs to the caller. */
  erase(): void {
    if (this.#state === 'handshaking') this.#state = 'failed';
    this.#e?.privateKey.fill(0);
    this.#symmetric.erase();
  }

  #takeTurn(operation: 'write' | 'read'): readonly Token[] {
    const writer: Role = this.#turn % 2 === 0 ? 'initiator' : 'responder';
    assert(this.#state === 'handshaking', 'the handshake is under way');
    assert((writer === this.#role) === (operation === 'write'), `it is the turn to ${operation}`);
    return this.#pattern.messages[this.#turn]!;
  }

  #endTurn(): void {
    this.#turn++;
    if (this.#turn === this.#pattern.messages.length) this.#state = 'finished';
  }

  #fail(): undefined {
    this.#state = 'failed';
    this.erase();
    return undefined;
  }

  #writeEphemeral(): Uint8Array {
    this.#e ??= generateKeyPair(this.#crypto);
    this.#mixEphemeral(this.#e.publicKey);
    return this.#e.publicKey;
  }

  /** In psk patterns an ephemeral key is mixed into the key as well (§9.2). */
  #mixEphemeral(publicKey: Uint8Array): void {
    this.#symmetric.mixHash(publicKey);
    if (this.#isPsk) this.#symmetric.mixKey(publicKey);
  }

  #mix(token: 'ee' | 'es' | 'se' | 'ss' | 'psk'): boolean {
    if (token === 'psk') {
      assert(this.#psk?.length === 32, 'a psk pattern has its psk by the time it is used');
      this.#symmetric.mixKeyAndHash(this.#psk);
      return true;
    }
    const ours = this.#role === 'initiator' ? token[0] : token[1];
    const theirs = this.#role === 'initiator' ? token[1] : token[0];
    const local = ours === 'e' ? this.#e : this.#local();
    const remote = theirs === 'e' ? this.#re : this.#rs;
    assert(local !== undefined && remote !== undefined, 'a pattern mixes keys it has');
    const shared = this.#crypto.x25519(local.privateKey, remote);
    if (shared === undefined) return false;
    this.#symmetric.mixKey(shared);
    shared.fill(0);
    return true;
  }

  #local(): KeyPair {
    assert(this.#s !== undefined, 'the pattern needs a local static key');
    return this.#s;
  }

  #staticOf(role: Role): Uint8Array {
    const key = role === this.#role ? this.#local().publicKey : this.#rs;
    assert(key?.length === dhLengthBytes, 'the pattern needs a remote static key');
    return key;
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
