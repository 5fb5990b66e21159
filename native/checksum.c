#include "checksum.h"

// Four independent sums of 32-bit words: compilers turn the loop into vector additions.
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length) {
  uint64_t lane[4] = {0, 0, 0, 0};
  while (length >= 16) {
    uint32_t words[4];
    memcpy(words, bytes, 16);
    for (int i = 0; i < 4; i++) lane[i] += words[i];
    bytes += 16;
    length -= 16;
  }
  // Each lane is below 2^48 even for the largest input, so that nothing is lost.
  sum = checksum_fold(sum) + lane[0] + lane[1] + lane[2] + lane[3];
  while (length >= 2) {
    uint16_t word;
    memcpy(&word, bytes, 2);
    sum += word;
    bytes += 2;
    length -= 2;
  }
  if (length == 1) {
    const uint8_t last[2] = {bytes[0], 0};
    uint16_t word;
    memcpy(&word, last, 2);
    sum += word;
  }
  return sum;
}

uint64_t checksum_add_word(uint64_t sum, uint16_t word) {
  uint8_t bytes[2];
  uint16_t raw;
  store_be16(bytes, word);
  memcpy(&raw, bytes, 2);
  return sum + raw;
}

uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)sum;
}

uint64_t checksum_pseudo(const uint8_t *packet, int family, uint8_t protocol, uint32_t length) {
  uint64_t sum = family == 4 ? checksum_add(0, packet + 12, 8) : checksum_add(0, packet + 8, 32);
  sum = checksum_add_word(sum, protocol);
  sum = checksum_add_word(sum, (uint16_t)(length >> 16));
  return checksum_add_word(sum, (uint16_t)length);
}

void checksum_set_ipv4(uint8_t *packet, size_t header_length) {
  store_be16(packet + 10, 0);
  checksum_store(packet + 10, (uint16_t)~checksum_fold(checksum_add(0, packet, header_length)));
}
