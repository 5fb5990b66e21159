/** AES-256-GCM of native/aesgcm.c against NIST's vectors and OpenSSL: every length, alignment and overlap, every forgery. */
import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  loadAddon,
  SUITE_AES_256_GCM,
  SUITE_AES_256_GCM_EVP,
  SUITE_CHACHA20_POLY1305,
  suiteOf,
} from '#engine/addon.ts';
import { offloadBits } from '#engine/offloads.ts';
import { seededRandom } from '../support/packets.ts';

type Vector = [key: string, iv: string, plaintext: string | null, ciphertext: string, tag: string];
const VECTORS = JSON.parse(
  readFileSync(new URL('../../src/crypto/vectors/aes-256-gcm.json', import.meta.url), 'utf8'),
) as Record<'encrypt' | 'decrypt', Vector[]>;

const TAG = 16;
/** Around what the code treats apart: blocks, vectors, the first chunk, whole chunks. */
const EDGES = [
  0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 96, 128, 160, 192, 207, 208, 209, 223, 224, 225,
  239, 240, 241, 255, 256, 257, 463, 464, 465, 479, 480, 481, 735, 736, 737, 1_400, 1_420,
];
const SEED = 20_260_102;

const { aesgcm } = loadAddon();
const random = seededRandom(SEED);
const isThere = aesgcm(true, randomBytes(32), randomBytes(12), new Uint8Array(16), 0, 0, 0);
const skip = isThere === undefined && 'this processor has no VAES and VPCLMULQDQ';

const unhex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Ciphertext and tag by OpenSSL. */
function reference(key: Uint8Array, nonce: Uint8Array, text: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

interface Place {
  readonly out: number;
  readonly from: number;
}

/** Seals or opens at these offsets of fresh memory and returns what lies at `out`; all other bytes must be as before. */
function at(
  { out, from }: Place,
  seal: boolean,
  key: Uint8Array,
  nonce: Uint8Array,
  input: Uint8Array,
): { authentic: boolean; output: Uint8Array } {
  const length = input.length - (seal ? 0 : TAG);
  const written = length + (seal ? TAG : 0);
  const bytes = new Uint8Array(Math.max(out, from) + length + TAG + 64).fill(0xa5);
  bytes.set(input, from);
  const before = bytes.slice();
  const authentic = aesgcm(seal, key, nonce, bytes, out, from, length);
  assert.notEqual(authentic, undefined);
  const output = bytes.slice(out, out + written);
  bytes.set(before.subarray(out, out + written), out);
  assert.ok(Buffer.compare(bytes, before) === 0, 'writes nothing but its output');
  return { authentic: authentic === true, output };
}

/** Both directions against OpenSSL. */
function compare(text: Uint8Array, place: Place, what: string): void {
  const key = random.bytes(32);
  const nonce = random.bytes(12);
  const expected = reference(key, nonce, text);
  const sealed = at(place, true, key, nonce, text);
  assert.ok(Buffer.compare(sealed.output, expected) === 0, `seals as OpenSSL: ${what}`);
  const opened = at(place, false, key, nonce, expected);
  assert.ok(opened.authentic, `opens what OpenSSL sealed: ${what}`);
  assert.ok(Buffer.compare(opened.output, text) === 0, `opens to the plaintext: ${what}`);
}

test("seals and opens NIST's vectors", { skip }, () => {
  for (const [key, iv, plaintext, ciphertext, tag] of VECTORS.encrypt) {
    const { output } = at({ out: 0, from: 0 }, true, unhex(key), unhex(iv), unhex(plaintext!));
    assert.equal(hex(output), ciphertext + tag);
  }
  for (const [key, iv, plaintext, ciphertext, tag] of VECTORS.decrypt) {
    const input = unhex(ciphertext + tag);
    const { authentic, output } = at({ out: 0, from: 0 }, false, unhex(key), unhex(iv), input);
    assert.equal(authentic, plaintext !== null);
    assert.equal(hex(output), plaintext ?? '00'.repeat(ciphertext.length / 2));
  }
  const refused = VECTORS.decrypt.filter(([, , plaintext]) => plaintext === null);
  assert.deepEqual([VECTORS.encrypt.length, VECTORS.decrypt.length, refused.length], [75, 75, 33]);
});

test('is OpenSSL at every length to 4,096 and at random ones to 65,535', { skip }, () => {
  for (let length = 0; length <= 4_096; length++) {
    compare(random.bytes(length), { out: 0, from: 0 }, `${length} bytes`);
  }
  for (const length of [
    65_534,
    65_535,
    ...Array.from({ length: 300 }, () => random.below(65_536)),
  ]) {
    compare(random.bytes(length), { out: 0, from: 0 }, `${length} bytes`);
  }
});

test('is OpenSSL at every alignment of input and output', { skip }, () => {
  for (let out = 0; out < 64; out++) {
    for (let from = 0; from < 64; from++) {
      const length = EDGES[(out * 64 + from) % EDGES.length]!;
      const apart = { out: out + 2_048, from };
      compare(random.bytes(length), apart, `${length} bytes from ${from} to ${apart.out}`);
    }
  }
});

test('takes an output that is its input, or lies below it by any distance', { skip }, () => {
  for (let distance = 0; distance <= 600; distance++) {
    for (const length of [EDGES[distance % EDGES.length]!, 1_400, 1_000 + distance]) {
      const place = { out: distance % 32, from: (distance % 32) + distance };
      compare(random.bytes(length), place, `${length} bytes, ${distance} down`);
    }
  }
});

test('refuses every flipped bit of ciphertext, tag, nonce and key, and shows zeros', {
  skip,
}, () => {
  let refused = 0;
  for (const length of [0, 1, 16, 40, 223, 224, 256, 481, 1_400]) {
    const text = random.bytes(length);
    const good = [random.bytes(32), random.bytes(12)] as const;
    const sealed = Uint8Array.from(reference(...good, text));
    const expectRefusal = (key: Uint8Array, nonce: Uint8Array, input: Uint8Array): void => {
      const { authentic, output } = at({ out: 0, from: 0 }, false, key, nonce, input);
      assert.equal(authentic, false);
      assert.ok(output.every((byte) => byte === 0));
      refused++;
    };
    const flipped = (bytes: Uint8Array, bit: number): Uint8Array => {
      const other = bytes.slice();
      other[bit >> 3]! ^= 1 << (bit & 7);
      return other;
    };
    for (let bit = 0; bit < sealed.length * 8; bit++) expectRefusal(...good, flipped(sealed, bit));
    for (let bit = 0; bit < 96; bit++) expectRefusal(good[0], flipped(good[1], bit), sealed);
    for (let bit = 0; bit < 256; bit++) expectRefusal(flipped(good[0], bit), good[1], sealed);
    // The text is longer, or shorter, than what was sealed.
    expectRefusal(...good, Uint8Array.of(...sealed, 0));
    expectRefusal(...good, Uint8Array.of(0, ...sealed));
    if (length > 0) expectRefusal(...good, sealed.slice(1));
    if (length > 0) expectRefusal(...good, sealed.slice(0, -1));
    assert.ok(at({ out: 0, from: 0 }, false, ...good, sealed).authentic);
  }
  assert.ok(refused > 20_000);
});

test('refuses buffers that are too short for what is asked', { skip }, () => {
  const call = (bytes: number, out: number, from: number, length: number, key = 32, nonce = 12) =>
    aesgcm(
      true,
      new Uint8Array(key),
      new Uint8Array(nonce),
      new Uint8Array(bytes),
      out,
      from,
      length,
    );
  assert.equal(call(32, 0, 0, 16), true);
  for (const bad of [
    [31, 0, 0, 16],
    [32, 1, 0, 16],
    [32, 0, 1, 16],
    [32, -1, 0, 16],
    [32, 0, -1, 16],
    [32, 0, 0, -1],
    [2 ** 16, 0, 0, 0x7fffffff],
    [32, 0, 0, 16, 31],
    [32, 0, 0, 16, 32, 11],
  ] as const) {
    assert.throws(() => call(...(bad as unknown as [number, number, number, number])), TypeError);
  }
});

test('is what the engine asks for, unless it goes without vaes', () => {
  assert.equal(suiteOf('aes256gcm', 0), SUITE_AES_256_GCM);
  assert.equal(suiteOf('aes256gcm', offloadBits(['udp-gro'])), SUITE_AES_256_GCM);
  assert.equal(suiteOf('aes256gcm', offloadBits(['udp-gro', 'vaes'])), SUITE_AES_256_GCM_EVP);
  assert.equal(suiteOf('chacha20poly1305', 0), SUITE_CHACHA20_POLY1305);
});
