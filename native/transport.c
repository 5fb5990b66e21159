// WireGuard's transport packet (type 4): 3 zero bytes, receiver index LE32, counter LE64, ciphertext, tag.
// Nonce: 4 zero bytes, then the counter LE64, for both suites. No associated data.
#include <sched.h>
#include <stdlib.h>

#include "aesgcm.h"
#include "engine.h"

// AES-256-GCM: far below the bound of 2^32 messages with deterministic nonces, with room for the rekey to happen.
static const uint64_t REKEY_AFTER_AES = 1ull << 28;
static const uint64_t REJECT_AFTER_AES = 1ull << 29;
// WireGuard's REKEY_AFTER_MESSAGES and REJECT_AFTER_MESSAGES; the replay window must never wrap.
static const uint64_t REKEY_AFTER_CHACHA = 1ull << 60;
static const uint64_t REJECT_AFTER_CHACHA = UINT64_MAX - (1ull << 13);

static uint64_t read_word(const _Atomic uint64_t *word) {
  return atomic_load_explicit(word, memory_order_relaxed);
}

static void write_word(_Atomic uint64_t *word, uint64_t value) {
  atomic_store_explicit(word, value, memory_order_relaxed);
}

// A thread between lock and unlock runs for some nanoseconds, so waiting for it is rare and short. Unless the system took the
// processor from it: then it shall have ours.
static void lock(atomic_uint *word) {
  enum { SPINS = 64 };
  for (unsigned tries = 1; atomic_exchange_explicit(word, 1, memory_order_acquire) != 0; tries++) {
    if (tries % SPINS == 0) sched_yield();
  }
}

static void unlock(atomic_uint *word) { atomic_store_explicit(word, 0, memory_order_release); }

// Without the lock this may see an older window than another thread made meanwhile; marking sees the newest.
bool replay_check(const struct replay *window, uint64_t counter) {
  uint64_t next = read_word(&window->next);
  if (counter >= next) return true;
  if (next - counter > REPLAY_WINDOW) return false;
  return (read_word(&window->bits[(counter / 64) % REPLAY_WORDS]) >> (counter % 64) & 1) == 0;
}

bool replay_mark(struct replay *window, uint64_t counter) {
  lock(&window->lock);
  bool fresh = replay_check(window, counter);
  if (fresh) {
    uint64_t next = read_word(&window->next), last = counter / 64;
    if (counter >= next) {
      // Clear the words that the window moves over. The word of the greatest counter so far stays.
      uint64_t steps = last - (next == 0 ? 0 : (next - 1) / 64);
      if (steps > REPLAY_WORDS) steps = REPLAY_WORDS;
      for (uint64_t i = 0; i < steps; i++) write_word(&window->bits[(last - i) % REPLAY_WORDS], 0);
      write_word(&window->next, counter + 1);
    }
    _Atomic uint64_t *word = &window->bits[last % REPLAY_WORDS];
    write_word(word, read_word(word) | 1ull << (counter % 64));
  }
  unlock(&window->lock);
  return fresh;
}

static bool vaes_init(struct key *key, const uint8_t *send, const uint8_t *receive) {
  key->vaes_seal = aesgcm_new(send);
  key->vaes_open = aesgcm_new(receive);
  return key->vaes_seal != NULL && key->vaes_open != NULL;
}

static bool evp_init(struct key *key, bool aes, const uint8_t *send, const uint8_t *receive) {
  const EVP_CIPHER *cipher = aes ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
  key->evp_seal = EVP_CIPHER_CTX_new();
  key->evp_open = EVP_CIPHER_CTX_new();
  if (key->evp_seal != NULL && key->evp_open != NULL &&
      EVP_EncryptInit_ex(key->evp_seal, cipher, NULL, send, NULL) == 1 &&
      EVP_DecryptInit_ex(key->evp_open, cipher, NULL, receive, NULL) == 1) {
    return true;
  }
  ERR_clear_error();
  return false;
}

struct key *key_new(int suite, uint32_t remote_index, const uint8_t *send, const uint8_t *receive,
                    struct key_state *shared) {
  struct key *key = calloc(1, sizeof *key + (shared == NULL ? sizeof *shared : 0));
  if (key == NULL) return NULL;
  key->state = shared != NULL ? shared : (struct key_state *)(key + 1);
  bool aes = suite != SUITE_CHACHA20_POLY1305;
  key->remote_index = remote_index;
  key->rekey_at = aes ? REKEY_AFTER_AES : REKEY_AFTER_CHACHA;
  key->refuse_at = aes ? REJECT_AFTER_AES : REJECT_AFTER_CHACHA;
  bool vaes = suite == SUITE_AES_256_GCM && aesgcm_usable();
  if (!(vaes ? vaes_init(key, send, receive) : evp_init(key, aes, send, receive))) {
    key_free(key);
    return NULL;
  }
  return key;
}

void key_start_at(struct key *key, uint64_t first) {
  _Atomic uint64_t *next = &key->state->counter;
  uint64_t counter = read_word(next);
  while (counter < first && !atomic_compare_exchange_weak_explicit(
                                next, &counter, first, memory_order_relaxed, memory_order_relaxed)) {
  }
}

// Freeing the schedules erases them.
void key_free(struct key *key) {
  if (key == NULL) return;
  aesgcm_free(key->vaes_seal);
  aesgcm_free(key->vaes_open);
  EVP_CIPHER_CTX_free(key->evp_seal);
  EVP_CIPHER_CTX_free(key->evp_open);
  OPENSSL_cleanse(key, sizeof *key);
  free(key);
}

// Takes the next counter for this packet alone: before the packet is sealed, and for good, whatever becomes of it. False when
// the limit is reached, which no thread can step over.
static bool take_counter(struct key *key) {
  _Atomic uint64_t *next = &key->state->counter;
  uint64_t counter = read_word(next);
  do {
    if (counter >= key->refuse_at) return false;
  } while (!atomic_compare_exchange_weak_explicit(next, &counter, counter + 1, memory_order_relaxed,
                                                  memory_order_relaxed));
  key->last = counter;
  return true;
}

static bool evp_seal(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                     size_t length) {
  int done = 0, rest = 0;
  return EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
         (length == 0 || EVP_EncryptUpdate(ctx, out, &done, in, (int)length) == 1) &&
         EVP_EncryptFinal_ex(ctx, out + done, &rest) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, out + length) == 1;
}

// In place. What was not authentic becomes zeros.
static bool evp_open(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, uint8_t *text, size_t length) {
  int done = 0, rest = 0;
  if (EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
      EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, text + length) == 1 &&
      (length == 0 || EVP_DecryptUpdate(ctx, text, &done, text, (int)length) == 1) &&
      EVP_DecryptFinal_ex(ctx, text + done, &rest) == 1) {
    return true;
  }
  memset(text, 0, length);
  ERR_clear_error();
  return false;
}

bool transport_seal(struct key *key, uint8_t *out, const uint8_t *in, size_t length) {
  if (!take_counter(key)) return false;
  uint8_t nonce[12] = {0};
  store_le64(nonce + 4, key->last);
  store_le32(out, KIND_TRANSPORT);
  store_le32(out + 4, key->remote_index);
  store_le64(out + 8, key->last);
  uint8_t *sealed = out + TRANSPORT_HEADER;
  if (key->vaes_seal == NULL) return evp_seal(key->evp_seal, nonce, sealed, in, length);
  aesgcm_seal(key->vaes_seal, nonce, sealed, in, length);
  return true;
}

enum open_result transport_open(struct key *key, uint8_t *packet, size_t length) {
  if (length < TRANSPORT_OVERHEAD) return OPEN_FORGED;
  uint64_t counter = load_le64(packet + 8);
  if (counter >= key->refuse_at || !replay_check(&key->state->replay, counter)) return OPEN_REPLAYED;
  uint8_t nonce[12] = {0};
  store_le64(nonce + 4, counter);
  uint8_t *sealed = packet + TRANSPORT_HEADER;
  size_t size = length - TRANSPORT_OVERHEAD;
  bool opened = key->vaes_open != NULL ? aesgcm_open(key->vaes_open, nonce, sealed, sealed, size)
                                       : evp_open(key->evp_open, nonce, sealed, size);
  if (!opened) return OPEN_FORGED;
  // Another thread may have opened a copy of it meanwhile.
  return replay_mark(&key->state->replay, counter) ? OPEN_OK : OPEN_REPLAYED;
}
