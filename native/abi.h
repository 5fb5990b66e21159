// The few functions of OpenSSL and libuv that the addon uses. Node's binary exports them and ships no headers, so they
// are declared here: stable since OpenSSL 3.0 and libuv 1.0. `poll.c` checks at load what can be checked.
#ifndef BURI_ABI_H
#define BURI_ABI_H

#include <stddef.h>

typedef struct evp_cipher_st EVP_CIPHER;
typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;
typedef struct engine_st ENGINE;

#define EVP_CTRL_AEAD_GET_TAG 0x10
#define EVP_CTRL_AEAD_SET_TAG 0x11

const EVP_CIPHER *EVP_aes_256_gcm(void);
const EVP_CIPHER *EVP_chacha20_poly1305(void);
EVP_CIPHER_CTX *EVP_CIPHER_CTX_new(void);
void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX *ctx);
int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX *ctx, int type, int arg, void *ptr);
int EVP_EncryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, ENGINE *impl,
                       const unsigned char *key, const unsigned char *iv);
int EVP_EncryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *in,
                      int inl);
int EVP_EncryptFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl);
int EVP_DecryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, ENGINE *impl,
                       const unsigned char *key, const unsigned char *iv);
int EVP_DecryptUpdate(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl, const unsigned char *in,
                      int inl);
int EVP_DecryptFinal_ex(EVP_CIPHER_CTX *ctx, unsigned char *out, int *outl);
void OPENSSL_cleanse(void *ptr, size_t len);
void ERR_clear_error(void);

// libuv: handles are opaque memory of uv_handle_size() bytes whose first field is the user's pointer.
struct uv_loop_s;
typedef struct uv_handle_s {
  void *data;
} uv_handle_t;
typedef void (*uv_poll_cb)(uv_handle_t *handle, int status, int events);
typedef void (*uv_close_cb)(uv_handle_t *handle);

#define UV_POLL_HANDLE_TYPE 8
#define UV_READABLE_EVENT 1
#define UV_WRITABLE_EVENT 2

unsigned int uv_version(void);
size_t uv_handle_size(int type);
int uv_poll_init(struct uv_loop_s *loop, uv_handle_t *handle, int fd);
int uv_poll_start(uv_handle_t *handle, int events, uv_poll_cb cb);
int uv_poll_stop(uv_handle_t *handle);
void uv_close(uv_handle_t *handle, uv_close_cb close_cb);

#endif
