import { addressBytes } from '#wire/endpoint.ts';

/** An address or prefix as words of 32 bits, most significant first; IPv4 has one, the others are 0. */
export interface Prefix {
  readonly family: 4 | 6;
  readonly words: Int32Array;
  readonly lengthBits: number;
}

/** Parses `address` or `address/length`; undefined when it is neither. Host bits are cleared. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address = '', length, ...rest] = text.split('/');
  const bytes = addressBytes(address);
  if (bytes === undefined || rest.length > 0) return undefined;
  const most = bytes.length * 8;
  if (length !== undefined && !/^(0|[1-9][0-9]{0,2})$/.test(length)) return undefined;
  const lengthBits = length === undefined ? most : Number(length);
  if (lengthBits > most) return undefined;
  const words = new Int32Array(4);
  for (const [i, byte] of bytes.entries()) words[i >> 2]! |= byte << (24 - 8 * (i & 3));
  for (let i = 0; i < 4; i++) words[i]! &= maskWord(lengthBits, i);
  return { family: bytes.length === 4 ? 4 : 6, words, lengthBits };
}

/** Word `index` of the mask of a prefix length. */
function maskWord(lengthBits: number, index: number): number {
  const bits = lengthBits - 32 * index;
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : -1 << (32 - bits);
}

/** Words of an entry: tag (0: free), four address words, value. */
const ENTRY = 6;

/**
 * Longest-prefix match over a hash table: whole addresses come first because their length is the greatest, then the other lengths
 * that occur, longest first. A lookup allocates nothing, so that the data plane can ask once per super-packet.
 */
export class PrefixTable {
  #entries = new Int32Array(ENTRY * 16);
  #used = 0;
  /** Lengths that occur, longest first, and how often. */
  readonly #lengths = { 4: [] as number[], 6: [] as number[] };
  readonly #occurrences = new Map<number, number>();

  /** Maps the prefix to a value of at least 0, replacing what was there. */
  set(prefix: Prefix, value: number): void {
    if ((this.#used + 1) * ENTRY * 2 > this.#entries.length) this.#grow();
    const at = this.#find(tagOf(prefix.family, prefix.lengthBits), prefix.words, 0);
    if (this.#entries[at] === 0) this.#count(prefix, 1);
    this.#write(at, prefix, value);
  }

  /** Removes the prefix if it still has this value. */
  delete(prefix: Prefix, value: number): void {
    const at = this.#find(tagOf(prefix.family, prefix.lengthBits), prefix.words, 0);
    if (this.#entries[at] === 0 || this.#entries[at + 5] !== value) return;
    this.#count(prefix, -1);
    this.#entries[at] = 0;
    this.#rehash(this.#entries.length);
  }

  /** The value of the longest prefix that contains the address whose words start at `words[offset]`, or -1. */
  lookup(family: number, words: Int32Array, offset: number): number {
    const lengths = family === 4 ? this.#lengths[4] : this.#lengths[6];
    for (let i = 0; i < lengths.length; i++) {
      const at = this.#find(tagOf(family, lengths[i]!), words, offset);
      if (this.#entries[at] !== 0) return this.#entries[at + 5]!;
    }
    return -1;
  }

  /** Index of the entry of the address masked to the tag's length, or of the free one where it would be. */
  #find(tag: number, words: Int32Array, offset: number): number {
    const entries = this.#entries;
    const lengthBits = (tag & 0xff) - 1;
    const w0 = words[offset]! & maskWord(lengthBits, 0);
    const w1 = words[offset + 1]! & maskWord(lengthBits, 1);
    const w2 = words[offset + 2]! & maskWord(lengthBits, 2);
    const w3 = words[offset + 3]! & maskWord(lengthBits, 3);
    const slots = entries.length / ENTRY;
    let hash = Math.imul(w0 ^ tag, 0x9e3779b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ w1, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ w2, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16) ^ w3, 0x9e3779b1);
    let at = (hash ^ (hash >>> 16)) & (slots - 1);
    for (;;) {
      const e = at * ENTRY;
      if (entries[e] === 0) return e;
      if (
        entries[e] === tag &&
        entries[e + 1] === w0 &&
        entries[e + 2] === w1 &&
        entries[e + 3] === w2 &&
        entries[e + 4] === w3
      )
        return e;
      at = (at + 1) & (slots - 1);
    }
  }

  #write(at: number, prefix: Prefix, value: number): void {
    this.#entries[at] = tagOf(prefix.family, prefix.lengthBits);
    this.#entries.set(prefix.words, at + 1);
    this.#entries[at + 5] = value;
  }

  #count(prefix: Prefix, by: 1 | -1): void {
    const tag = tagOf(prefix.family, prefix.lengthBits);
    const count = (this.#occurrences.get(tag) ?? 0) + by;
    const lengths = this.#lengths[prefix.family];
    this.#used += by;
    this.#occurrences.set(tag, count);
    if (count === 0) lengths.splice(lengths.indexOf(prefix.lengthBits), 1);
    else if (by === 1 && count === 1) {
      lengths.push(prefix.lengthBits);
      lengths.sort((a, b) => b - a);
    }
  }

  #grow(): void {
    this.#rehash(this.#entries.length * 2);
  }

  #rehash(length: number): void {
    const old = this.#entries;
    this.#entries = new Int32Array(length);
    for (let e = 0; e < old.length; e += ENTRY) {
      if (old[e] === 0) continue;
      const at = this.#find(old[e]!, old, e + 1);
      this.#entries.set(old.subarray(e, e + ENTRY), at);
    }
  }
}

/** Family in bit 8 and up, length + 1 below (129 at most), so that no tag is 0. */
function tagOf(family: number, lengthBits: number): number {
  return (family << 8) | (lengthBits + 1);
}
