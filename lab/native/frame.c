#include "frame.h"

enum {
  ETHERNET_BYTES = 14,
  IPV4_BYTES = 20,
  IPV6_BYTES = 40,
  UDP_BYTES = 8,
  TYPE_IPV4 = 0x0800,
  TYPE_IPV6 = 0x86dd,
  PROTOCOL_UDP = 17,
  PROTOCOL_ICMPV6 = 58,
  ND_FIRST = 133,
  ND_LAST = 137,
};

static uint16_t read16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void write16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

bool frame_is_impaired(const uint8_t *frame, uint32_t bytes) {
  if (bytes < ETHERNET_BYTES) return false;
  uint16_t type = read16(frame + 12);
  if (type == TYPE_IPV4) return true;
  if (type != TYPE_IPV6) return false;
  const uint8_t *ip = frame + ETHERNET_BYTES;
  if (bytes < ETHERNET_BYTES + IPV6_BYTES + 1 || ip[6] != PROTOCOL_ICMPV6) return true;
  return ip[IPV6_BYTES] < ND_FIRST || ip[IPV6_BYTES] > ND_LAST;
}

// Offset of the UDP header, or 0.
static uint32_t find_udp(const uint8_t *frame, uint32_t bytes) {
  if (bytes < ETHERNET_BYTES + IPV4_BYTES) return 0;
  const uint8_t *ip = frame + ETHERNET_BYTES;
  uint16_t type = read16(frame + 12);
  if (type == TYPE_IPV4) {
    bool is_fragment = (read16(ip + 6) & 0x3fff) != 0;
    uint32_t header = 4u * (ip[0] & 15);
    return ip[9] == PROTOCOL_UDP && !is_fragment && header >= IPV4_BYTES ? ETHERNET_BYTES + header : 0;
  }
  if (type == TYPE_IPV6 && bytes >= ETHERNET_BYTES + IPV6_BYTES && ip[6] == PROTOCOL_UDP) {
    return ETHERNET_BYTES + IPV6_BYTES;
  }
  return 0;
}

bool frame_corrupt(uint8_t *frame, uint32_t bytes, uint64_t random) {
  uint32_t udp = find_udp(frame, bytes);
  if (udp == 0 || udp + UDP_BYTES > bytes) return false;
  uint32_t length = read16(frame + udp + 4);
  if (length <= UDP_BYTES || udp + length > bytes) return false;
  uint64_t bit = random % (8ull * (length - UDP_BYTES));
  uint32_t at = UDP_BYTES + (uint32_t)(bit / 8);
  uint8_t mask = (uint8_t)(1 << (bit % 8));
  uint16_t shift = at % 2 == 0 ? 8 : 0;
  uint16_t old_word = (uint16_t)(frame[udp + at] << shift);
  frame[udp + at] ^= mask;
  uint16_t new_word = (uint16_t)(frame[udp + at] << shift);
  uint16_t checksum = read16(frame + udp + 6);
  // None was computed, as IPv4 allows.
  if (checksum == 0) return true;
  // RFC 1624: HC' = ~(~HC + ~m + m').
  uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~old_word + new_word;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  uint16_t fixed = (uint16_t)~sum;
  write16(frame + udp + 6, fixed == 0 ? 0xffff : fixed);
  return true;
}
