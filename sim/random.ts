import type { Crypto } from '#core/crypto.ts';

/**
 * A seeded generator (sfc32, by Chris Doty-Humphrey; passes PractRand). The same seed gives the same run; `fork` gives
 * an independent stream, so that one more draw in one part does not shift all the others.
 */
export class Random {
  readonly seed: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number | string) {
    this.seed = String(seed);
    [this.#a, this.#b, this.#c] = hashSeed(this.seed);
    for (let i = 0; i < 12; i++) this.uint32();
  }

  uint32(): number {
    const result = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + result;
    this.#c |= 0;
    return result >>> 0;
  }

  /** From 0 up to, not including, 1. */
  float(): number {
    return this.uint32() / 2 ** 32;
  }

  /** An integer from 0 up to, not including, `bound`. */
  below(bound: number): number {
    return Math.floor(this.float() * bound);
  }

  /** An integer from `minimum` to `maximum`, both included. */
  between(minimum: number, maximum: number): number {
    return minimum + this.below(maximum - minimum + 1);
  }

  chance(probability: number): boolean {
    return this.float() < probability;
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error('nothing to pick from');
    return items[this.below(items.length)]!;
  }

  /** A new array in another order. */
  shuffle<T>(items: readonly T[]): T[] {
    const shuffled = [...items];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
    }
    return shuffled;
  }

  bytes(lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    for (let i = 0; i < lengthBytes; i++) bytes[i] = this.uint32() >>> 24;
    return bytes;
  }

  /** An independent stream that is named, and depends on the seed and the name only. */
  fork(name: string | number): Random {
    return new Random(`${this.seed}/${name}`);
  }
}

/** The given primitives with a seeded `random`: keys and nonces repeat, everything else is real. */
export function deterministicCrypto(crypto: Crypto, random: Random): Crypto {
  return { ...crypto, random: (lengthBytes) => random.bytes(lengthBytes) };
}

/** Three words from a text (FNV-1a with three offsets, mixed as in murmur3). */
function hashSeed(text: string): [number, number, number] {
  const word = (offset: number): number => {
    let hash = offset;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  };
  return [word(0x811c9dc5), word(0x9e3779b9), word(0x6a09e667)];
}
