// WireGuard's transport packet (type 4): 3 zero bytes, receiver index LE32, counter LE64, ciphertext, tag.
// Nonce: 4 zero bytes, then the counter LE64, for both suites. No associated data.
#include <stdlib.h>

#include "engine.h"

// AES-256-GCM: far below the bound of 2^32 messages with deterministic nonces, with room for the rekey to happen.
static const uint64_t REKEY_AFTER_AES = 1ull << 28;
static const uint64_t REJECT_AFTER_AES = 1ull << 29;
// WireGuard's REKEY_AFTER_MESSAGES and REJECT_AFTER_MESSAGES; the replay window must never wrap.
static const uint64_t REKEY_AFTER_CHACHA = 1ull << 60;
static const uint64_t REJECT_AFTER_CHACHA = UINT64_MAX - (1ull << 13);

bool replay_check(const struct replay *window, uint64_t counter) {
  if (counter >= window->next) return true;
  if (window->next - counter > REPLAY_WINDOW) return false;
  return (window->bits[(counter / 64) % REPLAY_WORDS] >> (counter % 64) & 1) == 0;
}

void replay_mark(struct replay *window, uint64_t counter) {
  if (counter >= window->next) {
    // Clear the words that the window moves over. The word of the greatest counter so far stays.
    uint64_t word = window->next == 0 ? 0 : (window->next - 1) / 64;
    uint64_t last = counter / 64;
    uint64_t steps = last - word;
    if (steps > REPLAY_WORDS) steps = REPLAY_WORDS;
    for (uint64_t i = 0; i < steps; i++) window->bits[(last - i) % REPLAY_WORDS] = 0;
    window->next = counter + 1;
  }
  window->bits[(counter / 64) % REPLAY_WORDS] |= 1ull << (counter % 64);
}

struct key *key_new(int suite, uint32_t remote_index, const uint8_t *send, const uint8_t *receive) {
  struct key *key = calloc(1, sizeof *key);
  if (key == NULL) return NULL;
  bool aes = suite == SUITE_AES_256_GCM;
  const EVP_CIPHER *cipher = aes ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
  key->seal = EVP_CIPHER_CTX_new();
  key->open = EVP_CIPHER_CTX_new();
  key->remote_index = remote_index;
  key->rekey_at = aes ? REKEY_AFTER_AES : REKEY_AFTER_CHACHA;
  key->refuse_at = aes ? REJECT_AFTER_AES : REJECT_AFTER_CHACHA;
  if (key->seal == NULL || key->open == NULL ||
      EVP_EncryptInit_ex(key->seal, cipher, NULL, send, NULL) != 1 ||
      EVP_DecryptInit_ex(key->open, cipher, NULL, receive, NULL) != 1) {
    ERR_clear_error();
    key_free(key);
    return NULL;
  }
  return key;
}

// EVP_CIPHER_CTX_free erases the key schedules.
void key_free(struct key *key) {
  if (key == NULL) return;
  EVP_CIPHER_CTX_free(key->seal);
  EVP_CIPHER_CTX_free(key->open);
  OPENSSL_cleanse(key, sizeof *key);
  free(key);
}

bool transport_seal(struct key *key, uint8_t *out, const uint8_t *in, size_t length) {
  if (key->counter >= key->refuse_at) return false;
  uint8_t nonce[12] = {0};
  store_le64(nonce + 4, key->counter);
  store_le32(out, KIND_TRANSPORT);
  store_le32(out + 4, key->remote_index);
  store_le64(out + 8, key->counter);
  uint8_t *sealed = out + TRANSPORT_HEADER;
  int done = 0, rest = 0;
  if (EVP_EncryptInit_ex(key->seal, NULL, NULL, NULL, nonce) != 1) return false;
  if (length > 0 && EVP_EncryptUpdate(key->seal, sealed, &done, in, (int)length) != 1) return false;
  if (EVP_EncryptFinal_ex(key->seal, sealed + done, &rest) != 1) return false;
  if (EVP_CIPHER_CTX_ctrl(key->seal, EVP_CTRL_AEAD_GET_TAG, TAG, sealed + length) != 1) return false;
  key->counter++;
  return true;
}

enum open_result transport_open(struct key *key, uint8_t *packet, size_t length) {
  if (length < TRANSPORT_OVERHEAD) return OPEN_FORGED;
  uint64_t counter = load_le64(packet + 8);
  if (counter >= key->refuse_at || !replay_check(&key->replay, counter)) return OPEN_REPLAYED;
  uint8_t nonce[12] = {0};
  store_le64(nonce + 4, counter);
  uint8_t *sealed = packet + TRANSPORT_HEADER;
  int size = (int)(length - TRANSPORT_OVERHEAD), done = 0, rest = 0;
  if (EVP_DecryptInit_ex(key->open, NULL, NULL, NULL, nonce) != 1 ||
      EVP_CIPHER_CTX_ctrl(key->open, EVP_CTRL_AEAD_SET_TAG, TAG, sealed + size) != 1 ||
      (size > 0 && EVP_DecryptUpdate(key->open, sealed, &done, sealed, size) != 1) ||
      EVP_DecryptFinal_ex(key->open, sealed + done, &rest) != 1) {
    ERR_clear_error();
    return OPEN_FORGED;
  }
  replay_mark(&key->replay, counter);
  return OPEN_OK;
}
