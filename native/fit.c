// What becomes of packets of the inside that a path does not take in one piece: whether they are cut, refused or sent as they
// are, the headers of IPv4 fragments, and the MSS that TCP is told, so that it comes to that rarely.
#include "checksum.h"
#include "engine.h"

enum { IPV6_LEAST_MTU = 1280, DONT_FRAGMENT = 0x4000, MORE_FRAGMENTS = 0x2000, OFFSET_MASK = 0x1fff };
enum { PROTOCOL_TCP = 6, TCP_SYN = 2, OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2, OPTION_COPIED = 0x80 };

// What is not IP cannot be cut here nor answered, and IPv6 has to pass up to its least MTU: the outside fragments them.
enum fit fit_of(const uint8_t *packet, size_t length, size_t mtu) {
  struct inner inner;
  if (mtu == 0 || length <= mtu) return FIT_WHOLE;
  if (!inner_parse(packet, length, &inner) || inner.length != length) return FIT_WHOLE;
  if (inner.family == 6) return length <= IPV6_LEAST_MTU ? FIT_WHOLE : FIT_TOO_BIG;
  return (load_be16(packet + 6) & DONT_FRAGMENT) != 0 ? FIT_TOO_BIG : FIT_FRAGMENTS;
}

// RFC 791 section 3.2: all pieces but the last carry a multiple of 8 bytes; options that are not to be copied are only in the
// first, and leave no-operations in the others, so that all have headers of one length.
size_t fragment_payload(size_t header_length, size_t mtu) {
  return (mtu - header_length) & ~(size_t)7;
}

void fragment_header(uint8_t *header, size_t header_length, size_t at, size_t payload, bool last) {
  uint16_t field = load_be16(header + 6);
  uint16_t offset = (uint16_t)((field & OFFSET_MASK) + at / 8);
  uint16_t flags = (uint16_t)(field & ~OFFSET_MASK);
  if (!last) flags |= MORE_FRAGMENTS;
  store_be16(header + 2, (uint16_t)(header_length + payload));
  store_be16(header + 6, (uint16_t)(flags | (offset & OFFSET_MASK)));
  for (size_t i = 20; at > 0 && i < header_length && header[i] != OPTION_END;) {
    size_t size = header[i] == OPTION_NOP || i + 1 >= header_length ? 1 : header[i + 1];
    if (size == 0 || size > header_length - i) size = header_length - i;
    if ((header[i] & OPTION_COPIED) == 0) memset(header + i, OPTION_NOP, size);
    i += size;
  }
  checksum_set_ipv4(header, header_length);
}

// RFC 1624: the checksum as if the 16 bits had always been the new ones. Odd: they lie across two words of the sum.
static void replace_word(uint8_t *checksum, uint16_t before, uint16_t now, bool odd) {
  if (odd) {
    before = (uint16_t)(before << 8 | before >> 8);
    now = (uint16_t)(now << 8 | now >> 8);
  }
  uint32_t sum = (uint32_t)(uint16_t)~load_be16(checksum) + (uint16_t)~before + now;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  store_be16(checksum, (uint16_t)~sum);
}

void clamp_mss(uint8_t *packet, size_t length, size_t mtu) {
  struct inner inner;
  if (mtu == 0 || !inner_parse(packet, length, &inner) || inner.length != length) return;
  if (inner.protocol != PROTOCOL_TCP || inner.fragment) return;
  uint8_t *tcp = packet + inner.header_length;
  size_t available = length - inner.header_length;
  if (available < 20 || (tcp[13] & TCP_SYN) == 0) return;
  size_t end = (size_t)(tcp[12] >> 4) * 4, most = mtu - (inner.family == 4 ? 40 : 60);
  if (end > available) return;
  for (size_t i = 20; i < end && tcp[i] != OPTION_END;) {
    if (tcp[i] == OPTION_NOP) {
      i++;
      continue;
    }
    if (i + 1 >= end || tcp[i + 1] < 2 || tcp[i + 1] > end - i) return;
    if (tcp[i] == OPTION_MSS && tcp[i + 1] == 4 && load_be16(tcp + i + 2) > most) {
      replace_word(tcp + 16, load_be16(tcp + i + 2), (uint16_t)most, i % 2 != 0);
      store_be16(tcp + i + 2, (uint16_t)most);
    }
    i += tcp[i + 1];
  }
}
