// The message is cut into chunks of 16 blocks of key stream, counted from 0, so that the counters of a chunk differ from its
// first in their last four bits alone and come by exclusive or. Block 0 is not used, block 1 masks the tag, and the text
// starts at block 2: the message stands behind a vector (two blocks) of zeros, which adds nothing to GHASH.
//
//     chunk 0                                      chunk 1                       tail
//     [ -, tag ][ text ] ... 7 vectors ... [ text ][ text ] ... 8 vectors ...     [ text, 0.. ][ lengths ]
//
// GHASH takes a chunk at a time: both halves of a vector are running sums of their own, multiplied by H^16 for each chunk,
// and only in the tail every block gets the power of its distance to the end, which brings the halves together.
// Sealing absorbs a chunk while it makes the key stream of the next one; opening while it makes that of the same.
//
// Blocks are byte-reversed, so that bit i of a register is the coefficient of x^(127-i). A product is then one bit too low,
// which the powers of H make good: they are stored divided by x. Reduction: Gueron and Kounavis, "Intel Carry-Less
// Multiplication Instruction and its Usage for Computing the GCM Mode".
//
// Time and addresses depend on lengths alone, never on key, nonce or text: there is no branch on them, no index made of
// them, and AES, carry-less multiplication and the rest take the same time for all values. The 32-bit block counter would
// wrap at 64 GiB; a datagram has 4,096 blocks at most.
#include "aesgcm.h"

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 7 : __GNUC__ >= 9)

#include <cpuid.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define INLINE static inline __attribute__((always_inline)) TARGET

enum { ROUNDS = 14, BLOCK = 16, VECTOR = 32, VECTORS = 8, CHUNK = VECTORS * VECTOR };
// H^17 to H^0: a tail has up to 16 blocks and the one of the lengths.
enum { GREATEST_POWER = 17, POWERS = GREATEST_POWER + 1 };

struct aesgcm {
  __m128i round_keys[ROUNDS + 1];
  __m128i powers[POWERS];  // descending, each divided by x
  __m128i folded[POWERS];  // the exclusive or of their halves, for Karatsuba's middle product
};

struct product {
  __m256i low, middle, high;
};

#define EACH_OF_8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

// What distinguishes the counter blocks of a chunk: the last byte of each.
static const uint8_t COUNTERS[VECTORS][VECTOR] __attribute__((aligned(32))) = {
#define COUNTER(i) {[15] = 2 * i, [31] = 2 * i + 1},
    EACH_OF_8(COUNTER)
#undef COUNTER
};

static const uint8_t ZEROS[VECTOR] __attribute__((aligned(32))) = {0};

// From here, less than a vector on: the mask of the first bytes of a vector.
static const uint8_t ONES_THEN_ZEROS[2 * VECTOR] __attribute__((aligned(32))) = {
    [0 ... VECTOR - 1] = 0xff,
};

INLINE __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }
INLINE void store(void *to, __m256i value) { _mm256_storeu_si256((__m256i *)to, value); }
INLINE __m256i twice(const __m128i *from) { return _mm256_broadcastsi128_si256(_mm_load_si128(from)); }

INLINE __m256i reversed(__m256i bytes) {
  const __m256i order = _mm256_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  //
                                         15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm256_shuffle_epi8(bytes, order);
}

// ---- GHASH

INLINE void multiply_add(struct product *sum, __m256i blocks, __m256i powers, __m256i folded) {
  __m256i halves = _mm256_xor_si256(blocks, _mm256_shuffle_epi32(blocks, 0x4e));
  sum->low = _mm256_xor_si256(sum->low, _mm256_clmulepi64_epi128(blocks, powers, 0x00));
  sum->high = _mm256_xor_si256(sum->high, _mm256_clmulepi64_epi128(blocks, powers, 0x11));
  sum->middle = _mm256_xor_si256(sum->middle, _mm256_clmulepi64_epi128(halves, folded, 0x00));
}

INLINE struct product no_product(void) {
  __m256i zero = _mm256_setzero_si256();
  return (struct product){zero, zero, zero};
}

// The sum modulo x^128 + x^7 + x^2 + x + 1, for both halves.
INLINE __m256i reduce(const struct product *sum) {
  const __m256i polynomial = _mm256_set1_epi64x((long long)0xc200000000000000);
  __m256i middle = _mm256_xor_si256(sum->middle, _mm256_xor_si256(sum->low, sum->high));
  __m256i fold = _mm256_clmulepi64_epi128(sum->low, polynomial, 0x00);
  middle = _mm256_xor_si256(middle, _mm256_shuffle_epi32(sum->low, 0x4e));
  middle = _mm256_xor_si256(middle, fold);
  fold = _mm256_clmulepi64_epi128(middle, polynomial, 0x00);
  __m256i high = _mm256_xor_si256(sum->high, _mm256_shuffle_epi32(middle, 0x4e));
  return _mm256_xor_si256(high, fold);
}

// Vector `i` of a chunk whose first vector lies at `first` and whose others lie at `others`.
INLINE __m256i chunk_vector(const uint8_t *first, const uint8_t *others, int i) {
  return reversed(load(i == 0 ? first : others + (i - 1) * VECTOR));
}

INLINE void absorb_vector(const struct aesgcm *key, struct product *sum, __m256i hash,
                          const uint8_t *first, const uint8_t *others, int i) {
  int power = GREATEST_POWER - (2 * VECTORS - 2 * i);
  __m256i blocks = chunk_vector(first, others, i);
  if (i == 0) blocks = _mm256_xor_si256(blocks, hash);
  multiply_add(sum, blocks, twice(&key->powers[power]), twice(&key->folded[power]));
}

INLINE __m256i absorb_chunk(const struct aesgcm *key, __m256i hash, const uint8_t *first,
                            const uint8_t *others) {
  struct product sum = no_product();
#define ABSORB(i) absorb_vector(key, &sum, hash, first, others, 7 - i);
  EACH_OF_8(ABSORB)
#undef ABSORB
  return reduce(&sum);
}

// Absorbs `count` blocks and ends: `blocks` has zeros behind them up to a whole vector.
INLINE __m128i absorb_tail(const struct aesgcm *key, __m256i hash, const __m256i *blocks, size_t count) {
  struct product sum = no_product();
  const __m128i *powers = &key->powers[GREATEST_POWER - count];
  const __m128i *folded = &key->folded[GREATEST_POWER - count];
  for (size_t i = 0; 2 * i < count; i++) {
    __m256i vector = _mm256_xor_si256(reversed(blocks[i]), hash);
    hash = _mm256_setzero_si256();
    multiply_add(&sum, vector, load(powers + 2 * i), load(folded + 2 * i));
  }
  __m256i both = reduce(&sum);
  return _mm_xor_si128(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
}

// ---- key stream

// The nonce as a counter block that counts 0, twice, with the first round key on it.
INLINE __m256i nonce_block(const struct aesgcm *key, const uint8_t *nonce) {
  uint8_t block[BLOCK] = {0};
  memcpy(block, nonce, AESGCM_NONCE);
  return _mm256_xor_si256(twice(&key->round_keys[0]),
                          _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)block)));
}

// The same at the first block of chunk `chunk`.
INLINE __m256i first_counter(__m256i nonce, size_t chunk) {
  uint32_t counter = __builtin_bswap32((uint32_t)(chunk * 2 * VECTORS));
  __m128i block = _mm_slli_si128(_mm_cvtsi32_si128((int)counter), AESGCM_NONCE);
  return _mm256_xor_si256(nonce, _mm256_broadcastsi128_si256(block));
}

#define START(i) \
  if (i < vectors) state[i] = _mm256_xor_si256(counter, load(COUNTERS[i]));
#define ENCRYPT(i) \
  if (i < vectors) state[i] = _mm256_aesenc_epi128(state[i], round_key);

// All rounds but the last. `vectors` is constant.
INLINE void encrypt(const struct aesgcm *key, __m256i counter, __m256i *state, int vectors) {
  EACH_OF_8(START)
#define ROUND(r)                                   \
  {                                                \
    __m256i round_key = twice(&key->round_keys[r]); \
    EACH_OF_8(ENCRYPT)                             \
  }
  ROUND(1) ROUND(2) ROUND(3) ROUND(4) ROUND(5) ROUND(6) ROUND(7)
  ROUND(8) ROUND(9) ROUND(10) ROUND(11) ROUND(12) ROUND(13)
}

// The same for a whole chunk, and absorbs one between the rounds.
INLINE __m256i encrypt_and_absorb(const struct aesgcm *key, __m256i counter, __m256i *state,
                                  __m256i hash, const uint8_t *first, const uint8_t *others) {
  const int vectors = VECTORS;
  struct product sum = no_product();
  EACH_OF_8(START)
#define BOTH(r) ROUND(r) absorb_vector(key, &sum, hash, first, others, 8 - r);
  BOTH(1) BOTH(2) BOTH(3) BOTH(4) BOTH(5) BOTH(6) BOTH(7) BOTH(8)
  ROUND(9) ROUND(10)
  hash = reduce(&sum);
  ROUND(11) ROUND(12) ROUND(13)
  return hash;
#undef BOTH
}
#undef ROUND
#undef ENCRYPT
#undef START

// The key stream of the first `vectors` vectors of a chunk, and perhaps of one more.
INLINE void key_stream(const struct aesgcm *key, __m256i counter, __m256i *stream, size_t vectors) {
  __m256i last = twice(&key->round_keys[ROUNDS]);
#define LAST(i) stream[i] = _mm256_aesenclast_epi128(stream[i], last);
  if (vectors <= 2) {
    encrypt(key, counter, stream, 2);
    LAST(0) LAST(1)
  } else if (vectors <= 4) {
    encrypt(key, counter, stream, 4);
    LAST(0) LAST(1) LAST(2) LAST(3)
  } else if (vectors <= 6) {
    encrypt(key, counter, stream, 6);
    LAST(0) LAST(1) LAST(2) LAST(3) LAST(4) LAST(5)
  } else {
    encrypt(key, counter, stream, 8);
    EACH_OF_8(LAST)
  }
#undef LAST
}

// The last round, with the text in the place of what it adds: one exclusive or less in the way of the state. The first
// vector of chunk 0 has no text (`from` is 1); returns what became of it.
INLINE __m256i add_text(const struct aesgcm *key, const __m256i *state, uint8_t *out, const uint8_t *in,
                        int from) {
  __m256i last = twice(&key->round_keys[ROUNDS]);
  __m256i text[VECTORS];
#define READ(i) text[i] = i < from ? last : _mm256_xor_si256(last, load(in + (i - from) * VECTOR));
  EACH_OF_8(READ)
#undef READ
#define WRITE(i)                                        \
  text[i] = _mm256_aesenclast_epi128(state[i], text[i]); \
  if (i >= from) store(out + (i - from) * VECTOR, text[i]);
  EACH_OF_8(WRITE)
#undef WRITE
  return text[0];
}

// ---- messages

// The block of lengths that ends GHASH, in bits: no associated data, then the text.
INLINE __m128i lengths(size_t length) {
  return _mm_set_epi64x((long long)__builtin_bswap64((uint64_t)length * 8), 0);
}

// Less than a vector of text: all that `vector` has beyond it becomes zero.
INLINE __m256i load_part(const uint8_t *from, size_t length) {
  uint8_t vector[VECTOR] = {0};
  memcpy(vector, from, length);
  return load(vector);
}

INLINE void store_part(uint8_t *to, __m256i value, size_t length) {
  uint8_t vector[VECTOR];
  store(vector, value);
  memcpy(to, vector, length);
}

// What is left when whole chunks are done, and what has not been absorbed of them is: `stream` is the key stream from the
// first vector of text on, `length` the bytes left, `total` those of the message. Returns the end of GHASH.
INLINE __m128i tail(const struct aesgcm *key, __m256i hash, const __m256i *stream, uint8_t *out,
                    const uint8_t *in, size_t length, size_t total, bool sealing) {
  __m256i text[VECTORS + 1];
  size_t vectors = length / VECTOR, part = length % VECTOR, blocks = (length + BLOCK - 1) / BLOCK;
  for (size_t i = 0; i < vectors; i++) {
    __m256i from = load(in + i * VECTOR), to = _mm256_xor_si256(from, stream[i]);
    store(out + i * VECTOR, to);
    text[i] = sealing ? to : from;
  }
  text[vectors] = _mm256_setzero_si256();
  if (part > 0) {
    __m256i from = load_part(in + vectors * VECTOR, part), to = _mm256_xor_si256(from, stream[vectors]);
    store_part(out + vectors * VECTOR, to, part);
    text[vectors] = sealing ? _mm256_and_si256(to, load(ONES_THEN_ZEROS + VECTOR - part)) : from;
    if (blocks % 2 == 0) text[vectors + 1] = _mm256_setzero_si256();
  }
  _mm_store_si128((__m128i *)text + blocks, lengths(total));
  return absorb_tail(key, hash, text, blocks + 1);
}

// Seals or opens (`sealing` is constant) and returns the tag.
INLINE __m128i crypt(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                     size_t length, bool sealing) {
  __m256i state[VECTORS], stream[VECTORS], hash = _mm256_setzero_si256(), mask = hash;
  const __m256i start = nonce_block(key, nonce);
  const uint8_t *first = ZEROS, *others = out;  // the chunk sealed last
  size_t left = length, chunk = 0, lead = VECTOR;
  if (left >= CHUNK - VECTOR) {
    if (sealing) encrypt(key, first_counter(start, 0), state, VECTORS);
    else hash = encrypt_and_absorb(key, first_counter(start, 0), state, hash, ZEROS, in);
    mask = add_text(key, state, out, in, 1);
    in += CHUNK - VECTOR;
    out += CHUNK - VECTOR;
    left -= CHUNK - VECTOR;
    lead = 0;
    for (chunk = 1; left >= CHUNK; chunk++) {
      hash = encrypt_and_absorb(key, first_counter(start, chunk), state, hash, sealing ? first : in,
                                sealing ? others : in + VECTOR);
      add_text(key, state, out, in, 0);
      first = out;
      others = out + VECTOR;
      in += CHUNK;
      out += CHUNK;
      left -= CHUNK;
    }
  }
  key_stream(key, first_counter(start, chunk), stream, (lead + left + VECTOR - 1) / VECTOR);
  if (lead > 0) mask = stream[0];
  else if (sealing) hash = absorb_chunk(key, hash, first, others);
  __m128i end = tail(key, hash, stream + lead / VECTOR, out, in, left, length, sealing);
  const __m128i order = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm_xor_si128(_mm_shuffle_epi8(end, order), _mm256_extracti128_si256(mask, 1));
}

TARGET void aesgcm_seal(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                        size_t length) {
  __m128i tag = crypt(key, nonce, out, in, length, true);
  _mm_storeu_si128((__m128i *)(out + length), tag);
}

TARGET bool aesgcm_open(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                        size_t length) {
  __m128i given = _mm_loadu_si128((const __m128i *)(in + length));
  __m128i difference = _mm_xor_si128(crypt(key, nonce, out, in, length, false), given);
  bool authentic = _mm_testz_si128(difference, difference) != 0;
  if (!authentic) memset(out, 0, length);
  return authentic;
}

// ---- keys

// FIPS 197, 5.2, eight words at a time: each word is the one before exclusive or the one eight before.
INLINE __m128i running_xor(__m128i words, __m128i first) {
  words = _mm_xor_si128(words, _mm_slli_si128(words, 4));
  words = _mm_xor_si128(words, _mm_slli_si128(words, 8));
  return _mm_xor_si128(words, first);
}

INLINE void expand(struct aesgcm *key, const uint8_t *secret) {
  __m128i *words = key->round_keys;
  words[0] = _mm_loadu_si128((const __m128i *)secret);
  words[1] = _mm_loadu_si128((const __m128i *)(secret + BLOCK));
#define EVEN(i, constant)                                                                  \
  words[i] = running_xor(                                                                  \
      words[i - 2], _mm_shuffle_epi32(_mm_aeskeygenassist_si128(words[i - 1], constant), 0xff));
#define ODD(i) \
  words[i] =   \
      running_xor(words[i - 2], _mm_shuffle_epi32(_mm_aeskeygenassist_si128(words[i - 1], 0), 0xaa));
  EVEN(2, 1) ODD(3) EVEN(4, 2) ODD(5) EVEN(6, 4) ODD(7) EVEN(8, 8) ODD(9)
  EVEN(10, 16) ODD(11) EVEN(12, 32) ODD(13) EVEN(14, 64)
#undef ODD
#undef EVEN
}

// The powers of H, the cipher of the zero block.
INLINE void raise(struct aesgcm *key) {
  __m128i block = key->round_keys[0];
  for (int i = 1; i < ROUNDS; i++) block = _mm_aesenc_si128(block, key->round_keys[i]);
  block = _mm_aesenclast_si128(block, key->round_keys[ROUNDS]);
  __m128i h = _mm256_castsi256_si128(reversed(_mm256_castsi128_si256(block)));
  // Division by x: one bit up, and the polynomial without x^128, divided by x, when a one falls out.
  const __m128i one = _mm_set_epi64x((long long)0xc200000000000000, 1);
  __m128i carries = _mm_srli_epi64(h, 63);
  __m128i out = _mm_shuffle_epi32(_mm_sub_epi64(_mm_setzero_si128(), carries), 0xee);
  h = _mm_or_si128(_mm_slli_epi64(h, 1), _mm_slli_si128(carries, 8));
  h = _mm_xor_si128(h, _mm_and_si128(out, one));
  // It is also what 1 is when divided by x.
  key->powers[GREATEST_POWER] = one;
  key->powers[GREATEST_POWER - 1] = h;
  __m256i folded = _mm256_castsi128_si256(_mm_xor_si128(h, _mm_shuffle_epi32(h, 0x4e)));
  for (int i = GREATEST_POWER - 2; i >= 0; i--) {
    struct product product = no_product();
    multiply_add(&product, _mm256_castsi128_si256(key->powers[i + 1]), _mm256_castsi128_si256(h), folded);
    key->powers[i] = _mm256_castsi256_si128(reduce(&product));
  }
  for (int i = 0; i < POWERS; i++) {
    __m128i power = key->powers[i];
    key->folded[i] = _mm_xor_si128(power, _mm_shuffle_epi32(power, 0x4e));
  }
}

TARGET static void schedule(struct aesgcm *key, const uint8_t *secret) {
  expand(key, secret);
  raise(key);
}

struct aesgcm *aesgcm_new(const uint8_t *secret) {
  if (!aesgcm_usable()) return NULL;
  enum { LINE = 64, SIZE = (sizeof(struct aesgcm) + LINE - 1) / LINE * LINE };
  struct aesgcm *key = aligned_alloc(LINE, SIZE);
  if (key != NULL) schedule(key, secret);
  return key;
}

void aesgcm_free(struct aesgcm *key) {
  if (key == NULL) return;
  explicit_bzero(key, sizeof *key);
  free(key);
}

bool aesgcm_usable(void) {
  const unsigned first = bit_AES | bit_PCLMUL | bit_OSXSAVE | bit_AVX;
  const unsigned seventh = 1u << 9 | 1u << 10;  // VAES, VPCLMULQDQ
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & first) != first) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if ((b & bit_AVX2) == 0 || (c & seventh) != seventh) return false;
  // The system saves the registers that the instructions use: XMM and YMM in XCR0.
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return (a & 6) == 6;
}

#else

bool aesgcm_usable(void) { return false; }

struct aesgcm *aesgcm_new(const uint8_t *key) {
  (void)key;
  return NULL;
}

void aesgcm_free(struct aesgcm *key) { (void)key; }

void aesgcm_seal(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                 size_t length) {
  (void)key, (void)nonce, (void)out, (void)in, (void)length;
}

bool aesgcm_open(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                 size_t length) {
  (void)key, (void)nonce, (void)out, (void)in, (void)length;
  return false;
}

#endif
