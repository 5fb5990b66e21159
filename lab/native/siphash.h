// SipHash-2-4 (Aumasson and Bernstein), with a key of two words.
#ifndef BURI_LAB_SIPHASH_H
#define BURI_LAB_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const uint8_t *data, size_t bytes);

#endif
