import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import { type CookieReply, encodeCookieReply, macLengthBytes, macOffset } from '#wire/wireguard.ts';

/** The two macs at the end of a handshake message and the cookies behind the second (whitepaper §5.3, §5.4.4, §5.4.7). */

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const mac1Label = encode('mac1----');
const cookieLabel = encode('cookie--');
const cookieNonceLengthBytes = 24;

const mac1Key = (crypto: Crypto, publicKey: Uint8Array) => crypto.blake2s(mac1Label, publicKey);
const cookieKey = (crypto: Crypto, publicKey: Uint8Array) => crypto.blake2s(cookieLabel, publicKey);

const mac1Of = (bytes: Uint8Array): Uint8Array => {
  const offset = macOffset(bytes.length);
  return bytes.subarray(offset, offset + macLengthBytes);
};
const beforeMac1 = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, macOffset(bytes.length));
const mac2Of = (bytes: Uint8Array): Uint8Array => bytes.subarray(bytes.length - macLengthBytes);
const beforeMac2 = (bytes: Uint8Array): Uint8Array =>
  bytes.subarray(0, bytes.length - macLengthBytes);

/** Receiving side, one for all peers: checks macs, makes cookies. */
export class CookieChecker {
  readonly #crypto: Crypto;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #lifetimeMs: number;
  #secret: { readonly bytes: Uint8Array; readonly until: MonotonicMs } | undefined;

  constructor(crypto: Crypto, localPublicKey: Uint8Array, lifetimeMs: number) {
    this.#crypto = crypto;
    this.#mac1Key = mac1Key(crypto, localPublicKey);
    this.#cookieKey = cookieKey(crypto, localPublicKey);
    this.#lifetimeMs = lifetimeMs;
  }

  /** Whether the sender knows our public key at least. */
  isMac1Valid(message: Uint8Array): boolean {
    const mac = this.#crypto.blake2sMac(this.#mac1Key, 16, beforeMac1(message));
    return this.#crypto.equal(mac, mac1Of(message));
  }

  /** Whether the sender got a cookie of ours at this source lately, so that it is where it says it is. */
  isMac2Valid(message: Uint8Array, source: Uint8Array, now: MonotonicMs): boolean {
    if (this.#secret === undefined || now >= this.#secret.until) return false;
    const cookie = this.#cookie(this.#secret.bytes, source);
    const mac = this.#crypto.blake2sMac(cookie, 16, beforeMac2(message));
    return this.#crypto.equal(mac, mac2Of(message));
  }

  /** The answer to a message with a valid mac1 while under load. */
  reply(
    message: Uint8Array,
    receiverIndex: number,
    source: Uint8Array,
    now: MonotonicMs,
  ): Uint8Array {
    if (this.#secret === undefined || now >= this.#secret.until) {
      this.#secret = { bytes: this.#crypto.random(32), until: after(now, this.#lifetimeMs) };
    }
    const nonce = this.#crypto.random(cookieNonceLengthBytes);
    const cookie = this.#cookie(this.#secret.bytes, source);
    const sealedCookie = this.#crypto.xSeal(this.#cookieKey, nonce, cookie, mac1Of(message));
    return encodeCookieReply({ receiverIndex, nonce, sealedCookie });
  }

  #cookie(secret: Uint8Array, source: Uint8Array): Uint8Array {
    return this.#crypto.blake2sMac(secret, 16, source);
  }
}

/**
 * Sending side, one for each peer: fills in macs, remembers the peer's cookie. The two keys are a hash each and rarely wanted, so they are
 * not kept: a client may have thousands of peers.
 */
export class CookieHolder {
  readonly #crypto: Crypto;
  readonly #remotePublicKey: Uint8Array;
  readonly #lifetimeMs: number;
  #lastMac1: Uint8Array | undefined;
  #cookie: { readonly bytes: Uint8Array; readonly until: MonotonicMs } | undefined;

  constructor(crypto: Crypto, remotePublicKey: Uint8Array, lifetimeMs: number) {
    this.#crypto = crypto;
    this.#remotePublicKey = remotePublicKey;
    this.#lifetimeMs = lifetimeMs;
  }

  /** Writes mac1, and mac2 when a cookie is held, into a handshake message. */
  addMacs(message: Uint8Array, now: MonotonicMs): void {
    const key = mac1Key(this.#crypto, this.#remotePublicKey);
    mac1Of(message).set(this.#crypto.blake2sMac(key, 16, beforeMac1(message)));
    this.#lastMac1 = mac1Of(message).slice();
    if (this.#cookie === undefined || now >= this.#cookie.until) return;
    const mac = this.#crypto.blake2sMac(this.#cookie.bytes, 16, beforeMac2(message));
    mac2Of(message).set(mac);
  }

  /** Takes the cookie for the next message. False when the reply is not to the last message sent, or forged. */
  accept(reply: CookieReply, now: MonotonicMs): boolean {
    if (this.#lastMac1 === undefined) return false;
    const { nonce, sealedCookie } = reply;
    const key = cookieKey(this.#crypto, this.#remotePublicKey);
    const bytes = this.#crypto.xOpen(key, nonce, sealedCookie, this.#lastMac1);
    if (bytes === undefined) return false;
    // Once: a reply that is replayed must not keep an old cookie alive.
    this.#lastMac1 = undefined;
    this.#cookie = { bytes, until: after(now, this.#lifetimeMs) };
    return true;
  }

  erase(): void {
    this.#cookie?.bytes.fill(0);
    this.#cookie = undefined;
    this.#lastMac1 = undefined;
  }
}
