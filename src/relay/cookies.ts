/**
 * Stateless cookies (protocol §11): whoever echoes one receives at the address that it was made for, so that nothing is verified or
 * sent for a spoofed source. cookie = keyed BLAKE2s-128(secret, source ‖ minute ‖ transaction).
 */
import type { Crypto } from '#core/crypto.ts';
import type { MonotonicMs } from '#core/time.ts';
import { relayCookieBytes } from '#wire/relay.ts';
import { cookieMs } from './limits.ts';
import { SOURCE_WORDS, type Source, writeSource } from './source.ts';

export class Cookies {
  readonly #crypto: Crypto;
  readonly #secret: Uint8Array;
  readonly #words = new Int32Array(SOURCE_WORDS);
  readonly #minute = new DataView(new ArrayBuffer(8));

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
    this.#secret = crypto.random(32);
  }

  make(source: Source, transaction: Uint8Array, now: MonotonicMs): Uint8Array {
    return this.#cookie(source, transaction, Math.floor(now / cookieMs));
  }

  isGood(cookie: Uint8Array, source: Source, transaction: Uint8Array, now: MonotonicMs): boolean {
    const minute = Math.floor(now / cookieMs);
    return [minute, minute - 1].some((when) =>
      this.#crypto.equal(cookie, this.#cookie(source, transaction, when)),
    );
  }

  #cookie(source: Source, transaction: Uint8Array, minute: number): Uint8Array {
    writeSource(this.#words, 0, source);
    this.#minute.setFloat64(0, minute);
    return this.#crypto.blake2sMac(
      this.#secret,
      relayCookieBytes,
      new Uint8Array(this.#words.buffer),
      new Uint8Array(this.#minute.buffer),
      transaction,
    );
  }
}
