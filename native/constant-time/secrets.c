// Seals and opens under valgrind with key and text marked as undefined: memcheck complains of every branch and every address that
// depends on them. With `branch` or `index` it does what is to be found with what came out, to show that it would be.
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "../aesgcm.h"

enum { MOST = 1100 };

static uint8_t text[MOST + AESGCM_TAG], sealed[MOST + AESGCM_TAG], opened[MOST];

int main(int arguments, char **argument) {
  uint8_t secret[AESGCM_KEY], nonce[AESGCM_NONCE] = {1};
  for (int i = 0; i < AESGCM_KEY; i++) secret[i] = (uint8_t)(i * 7);
  VALGRIND_MAKE_MEM_UNDEFINED(secret, sizeof secret);
  struct aesgcm *key = aesgcm_new(secret);
  if (key == NULL) {
    puts("the processor or valgrind lacks AVX2, AES or PCLMULQDQ");
    return 2;
  }
  if (arguments > 1) {
    static const volatile uint8_t TABLE[4] = {1, 2, 3, 4};
    static volatile uint8_t seen;
    aesgcm_seal(key, nonce, sealed, text, MOST);
    if (strcmp(argument[1], "branch") == 0 && sealed[MOST / 2] == 21) puts("a byte of ciphertext is 21");
    if (strcmp(argument[1], "index") == 0) seen = TABLE[sealed[MOST] % 4];  // of the tag
    return seen > 4;
  }
  for (size_t length = 0; length <= MOST; length++) {
    VALGRIND_MAKE_MEM_UNDEFINED(text, sizeof text);
    aesgcm_seal(key, nonce, sealed, text, length);
    bool authentic = aesgcm_open(key, nonce, opened, sealed, length);
    VALGRIND_MAKE_MEM_DEFINED(opened, sizeof opened);
    VALGRIND_MAKE_MEM_DEFINED(text, sizeof text);
    if (!authentic || memcmp(opened, text, length) != 0) {
      printf("does not open %zu bytes\n", length);
      return 2;
    }
    sealed[length] ^= 1;
    if (aesgcm_open(key, nonce, opened, sealed, length)) return 2;
  }
  aesgcm_free(key);
  return 0;
}
