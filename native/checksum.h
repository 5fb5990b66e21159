// The Internet checksum (RFC 1071). Partial sums are of 16-bit words in the machine's own order, because the
// ones' complement sum does not care; only the folded result is stored, as it lies.
#ifndef BURI_CHECKSUM_H
#define BURI_CHECKSUM_H

#include "bytes.h"

// Adds `length` bytes to a partial sum. All parts but the last must have an even length.
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length);

// Adds one 16-bit number.
uint64_t checksum_add_word(uint64_t sum, uint16_t word);

// Folds to 16 bits, without the final complement.
uint16_t checksum_fold(uint64_t sum);

// Stores a folded (and complemented, where wanted) sum into a packet.
static inline void checksum_store(uint8_t *p, uint16_t folded) { memcpy(p, &folded, 2); }

// Pseudo-header of TCP and UDP over IPv4 or IPv6, from the packet's own addresses.
uint64_t checksum_pseudo(const uint8_t *packet, int family, uint8_t protocol, uint32_t length);

// Sets the header checksum of an IPv4 packet.
void checksum_set_ipv4(uint8_t *packet, size_t header_length);

#endif
