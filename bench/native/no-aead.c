// Takes the place of OpenSSL's ciphers in a build of the addon for measurements: copies, and encrypts nothing. The addon's own
// sources know nothing of it; only `bench/no-encryption.ts` links it, into build/bench/.
#include <stdlib.h>
#include <string.h>

#include "../../native/abi.h"

struct evp_cipher_st { int unused; };
struct evp_cipher_ctx_st { int unused; };

static const EVP_CIPHER NO_CIPHER;

const EVP_CIPHER *EVP_aes_256_gcm(void) { return &NO_CIPHER; }
const EVP_CIPHER *EVP_chacha20_poly1305(void) { return &NO_CIPHER; }
EVP_CIPHER_CTX *EVP_CIPHER_CTX_new(void) { return calloc(1, sizeof(EVP_CIPHER_CTX)); }
void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx) { free(ctx); }

int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr) {
  (void)ctx;
  if (type == EVP_CTRL_AEAD_GET_TAG) memset(ptr, 0, (size_t)arg);
  return 1;
}

int EVP_EncryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, ENGINE *impl,
                       const unsigned char *key, const unsigned char *iv) {
  (void)ctx, (void)cipher, (void)impl, (void)key, (void)iv;
  return 1;
}

int EVP_DecryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, ENGINE *impl,
                       const unsigned char *key, const unsigned char *iv) {
  (void)ctx, (void)cipher, (void)impl, (void)key, (void)iv;
  return 1;
}

static int copy(unsigned char *out, int *outl, const unsigned char *in, int inl) {
  if (out != in) memmove(out, in, (size_t)inl);
  *outl = inl;
  return 1;
}

int EVP_EncryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *in,
                      int inl) {
  (void)ctx;
  return copy(out, outl, in, inl);
}

int EVP_DecryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *in,
                      int inl) {
  (void)ctx;
  return copy(out, outl, in, inl);
}

int EVP_EncryptFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl) {
  (void)ctx, (void)out;
  *outl = 0;
  return 1;
}

int EVP_DecryptFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl) {
  (void)ctx, (void)out;
  *outl = 0;
  return 1;
}
