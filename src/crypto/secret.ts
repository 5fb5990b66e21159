import { timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';
import { assert } from '#core/errors.ts';

const lengthBytes = 32;
const redacted = '[secret]';

/**
 * A 32-byte key that shows itself to nobody who prints, logs or serialises it. `bytes()` is the one way to it, so that
 * a search for it finds every use.
 */
export class Secret {
  #bytes: Uint8Array | undefined;

  /** Takes a copy; the caller may erase its own. */
  constructor(bytes: Uint8Array) {
    assert(bytes.length === lengthBytes, 'a secret has 32 bytes');
    this.#bytes = bytes.slice();
  }

  /** The key itself, not a copy. An assertion fails after `erase`. */
  bytes(): Uint8Array {
    assert(this.#bytes !== undefined, 'a secret is not used after it was erased');
    return this.#bytes;
  }

  /** In constant time. An erased secret equals none. */
  equals(other: Secret): boolean {
    if (this.#bytes === undefined || other.#bytes === undefined) return false;
    return timingSafeEqual(this.#bytes, other.#bytes);
  }

  erase(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }

  get erased(): boolean {
    return this.#bytes === undefined;
  }

  toString(): string {
    return redacted;
  }

  toJSON(): string {
    return redacted;
  }

  [inspect.custom](): string {
    return redacted;
  }
}
