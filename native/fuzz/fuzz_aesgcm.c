// libFuzzer target: AES-256-GCM of aesgcm.c against OpenSSL. The input chooses key, nonce, length, text, how the buffers lie
// and what is forged; every buffer is exactly as long as it has to be, so that AddressSanitizer sees a byte too many.
#include <stdio.h>
#include <stdlib.h>

#include "../abi.h"
#include "../aesgcm.h"
#include "../bytes.h"

enum { HEAD = AESGCM_KEY + AESGCM_NONCE + 10, MAX_TEXT = 65535 };

static void require(bool holds, const char *what, size_t length) {
  if (holds) return;
  fprintf(stderr, "fuzz_aesgcm: %s, %zu bytes\n", what, length);
  abort();
}

static void reference(const uint8_t *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in, size_t length) {
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int done = 0, rest = 0;
  bool sealed = EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
                (length == 0 || EVP_EncryptUpdate(ctx, out, &done, in, (int)length) == 1) &&
                EVP_EncryptFinal_ex(ctx, out + done, &rest) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AESGCM_TAG, out + length) == 1;
  require(sealed, "OpenSSL does not seal", length);
  EVP_CIPHER_CTX_free(ctx);
}

// Memory in which the output lies `distance` below the input, or apart from it when that is UINT16_MAX; the input ends where
// the memory does.
struct place {
  uint8_t *memory, *out, *in;
};

static struct place new_place(size_t distance, size_t shift, const uint8_t *input, size_t length) {
  size_t gap = distance == UINT16_MAX ? length + AESGCM_TAG : distance;
  // In place, sealing needs room for the tag behind the text.
  struct place place = {.memory = malloc(shift + gap + length + AESGCM_TAG)};
  place.out = place.memory + shift;
  place.in = place.out + gap;
  memcpy(place.in, input, length);
  return place;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < HEAD) return 0;
  const uint8_t *key = data, *nonce = data + AESGCM_KEY, *choice = nonce + AESGCM_NONCE;
  size_t shift = choice[0] % 64, distance = load_be16(choice + 1), flip = load_be32(choice + 6);
  if (choice[3] % 4 > 1) distance %= 64;
  size_t length = choice[3] % 2 == 0 ? load_be16(choice + 4) % 2048 : load_be16(choice + 4);
  const uint8_t *source = data + HEAD;
  size_t given = size - HEAD;
  uint8_t *text = malloc(length + 1), *sealed = malloc(length + AESGCM_TAG);
  for (size_t i = 0; i < length; i++) text[i] = given == 0 ? 0 : source[i % given];
  reference(key, nonce, sealed, text, length);
  struct aesgcm *schedule = aesgcm_new(key);
  require(schedule != NULL, "no VAES here, or no memory", length);

  struct place place = new_place(distance, shift, text, length);
  aesgcm_seal(schedule, nonce, place.out, place.in, length);
  require(memcmp(place.out, sealed, length + AESGCM_TAG) == 0, "seals otherwise than OpenSSL", length);
  free(place.memory);

  place = new_place(distance, shift, sealed, length + AESGCM_TAG);
  require(aesgcm_open(schedule, nonce, place.out, place.in, length), "refuses what OpenSSL sealed", length);
  require(length == 0 || memcmp(place.out, text, length) == 0, "opens to something else", length);
  free(place.memory);

  flip %= (length + AESGCM_TAG) * 8;
  sealed[flip / 8] ^= (uint8_t)(1u << flip % 8);
  place = new_place(distance, shift, sealed, length + AESGCM_TAG);
  require(!aesgcm_open(schedule, nonce, place.out, place.in, length), "takes a forgery", length);
  for (size_t i = 0; i < length; i++) require(place.out[i] == 0, "shows a forgery", length);
  free(place.memory);

  aesgcm_free(schedule);
  free(sealed);
  free(text);
  return 0;
}
