// Reads the headers of inner packets. No length in them is trusted before it was compared with what is there.
#include "engine.h"

static bool parse_ipv4(const uint8_t *packet, size_t available, struct inner *inner) {
  if (available < 20) return false;
  inner->header_length = (size_t)(packet[0] & 15) * 4;
  inner->length = load_be16(packet + 2);
  if (inner->header_length < 20 || inner->length < inner->header_length) return false;
  inner->protocol = packet[9];
  inner->fragment = (load_be16(packet + 6) & 0x3fff) != 0;
  return inner->length <= available;
}

// Extension headers are left to the end systems: such packets count as of an unknown protocol. Jumbograms are not
// packets of this network (payload length 0 means no payload).
static bool parse_ipv6(const uint8_t *packet, size_t available, struct inner *inner) {
  if (available < 40) return false;
  inner->header_length = 40;
  inner->length = 40 + (size_t)load_be16(packet + 4);
  inner->protocol = packet[6];
  inner->fragment = packet[6] == 44;
  return inner->length <= available;
}

bool inner_parse(const uint8_t *packet, size_t available, struct inner *inner) {
  if (available == 0) return false;
  inner->family = packet[0] >> 4;
  if (inner->family == 4) return parse_ipv4(packet, available, inner);
  if (inner->family == 6) return parse_ipv6(packet, available, inner);
  return false;
}

bool wrapped_parse(const uint8_t *bytes, size_t available, struct inner *inner) {
  if (available < WRAPPED_HEADER || bytes[1] != 0) return false;
  size_t length = load_be16(bytes + 2), least = 1;
  if (bytes[0] == FAMILY_FRAME << 4) least = ETHERNET_HEADER;
  else if (bytes[0] != FAMILY_MESSAGE << 4) return false;
  *inner = (struct inner){.family = bytes[0] >> 4, .length = length};
  return length >= least && WRAPPED_HEADER + length <= available;
}

void mac_words(int32_t *words, const uint8_t *mac) {
  words[0] = (int32_t)load_be32(mac);
  words[1] = load_be16(mac + 4);
  words[2] = words[3] = 0;
}

void address_words(int32_t *words, const uint8_t *address, int family) {
  for (int i = 0; i < 4; i++) {
    words[i] = family == 6 || i == 0 ? (int32_t)load_be32(address + 4 * i) : 0;
  }
}
