// AES-256-GCM (NIST SP 800-38D) with 96-bit nonces, 128-bit tags and no associated data, which is all that transport
// packets need, by the 256-bit AES and carry-less multiplication instructions of x86-64 (VAES, VPCLMULQDQ, AVX2).
// Elsewhere there is none of it, and OpenSSL does the work (transport.c).
#ifndef BURI_AESGCM_H
#define BURI_AESGCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AESGCM_KEY = 32, AESGCM_NONCE = 12, AESGCM_TAG = 16 };

// Whether this processor has the instructions, the system saves their registers, and the compiler knew them.
bool aesgcm_usable(void);

// A key schedule, which any number of threads may use at once. NULL: not usable here, or out of memory.
struct aesgcm;
struct aesgcm *aesgcm_new(const uint8_t *key);

// Erases the key schedule.
void aesgcm_free(struct aesgcm *key);

// Writes `length` bytes (below 2^36 - 32) of ciphertext and the tag behind them. `out` may be `in`, lie below it, or lie apart
// from it, at any alignment.
void aesgcm_seal(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                 size_t length);

// Writes `length` bytes of plaintext; the tag lies behind those of `in`, which may relate to `out` as above. False: forged,
// and `out` holds zeros, so that nobody sees what was not authenticated.
bool aesgcm_open(const struct aesgcm *key, const uint8_t *nonce, uint8_t *out, const uint8_t *in,
                 size_t length);

#endif
