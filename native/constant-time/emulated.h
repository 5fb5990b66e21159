// Put before aesgcm.c by run.sh: valgrind knows the 128-bit AES and carry-less multiplication instructions, not the 256-bit
// ones. So each of those becomes two of these, and the rest of the source stays what it is.
#include <cpuid.h>
#include <immintrin.h>
#include <valgrind/memcheck.h>

#define HALVES __attribute__((target("avx2,aes,pclmul"), always_inline)) static inline

HALVES __m256i both(__m128i low, __m128i high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}
HALVES __m128i low(__m256i value) { return _mm256_castsi256_si128(value); }
HALVES __m128i high(__m256i value) { return _mm256_extracti128_si256(value, 1); }

#define _mm256_aesenc_epi128(a, b) \
  both(_mm_aesenc_si128(low(a), low(b)), _mm_aesenc_si128(high(a), high(b)))
#define _mm256_aesenclast_epi128(a, b) \
  both(_mm_aesenclast_si128(low(a), low(b)), _mm_aesenclast_si128(high(a), high(b)))
#define _mm256_clmulepi64_epi128(a, b, which) \
  both(_mm_clmulepi64_si128(low(a), low(b), which), _mm_clmulepi64_si128(high(a), high(b), which))

// Whether a message is authentic is no secret once it is known.
HALVES int told(int secret) {
  VALGRIND_MAKE_MEM_DEFINED(&secret, sizeof secret);
  return secret;
}
#define _mm_testz_si128(a, b) told(_mm_testz_si128(a, b))

static inline int with_vaes(unsigned leaf, unsigned subleaf, unsigned *a, unsigned *b, unsigned *c, unsigned *d) {
  int known = __get_cpuid_count(leaf, subleaf, a, b, c, d);
  *c |= 1u << 9 | 1u << 10;
  return known;
}
#define __get_cpuid_count with_vaes
