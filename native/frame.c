// Ethernet's part of a TAP device: which frames are IP packets, and the header that IP packets get on their way in.
#include "engine.h"

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_IPV6 = 0x86dd };
enum { FLAG_NEEDS_CSUM = 1 };

// The row says where the frame lies, and what the virtio-net header said of it. IP between members travels without Ethernet's
// header, as from a TUN device; whether it is that is JavaScript's to decide.
void frame_describe(int32_t *item, const uint8_t *frame, size_t length) {
  if (length < ETHERNET_HEADER) return;
  struct inner inner;
  uint16_t type = load_be16(frame + 12);
  const uint8_t *packet = frame + ETHERNET_HEADER;
  if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6) {
    item[ITEM_FAMILY] = FAMILY_FRAME;
    mac_words(item + ITEM_DESTINATION, frame);
    return;
  }
  if (!inner_parse(packet, length - ETHERNET_HEADER, &inner)) return;
  if (inner.family != (type == ETHERTYPE_IPV4 ? 4 : 6)) return;
  if ((item[ITEM_FLAGS] & FLAG_NEEDS_CSUM) != 0 && item[ITEM_CSUM_START] < ETHERNET_HEADER) return;
  item[ITEM_FAMILY] = inner.family;
  item[ITEM_OFFSET] += ETHERNET_HEADER;
  // Short frames are padded.
  item[ITEM_LENGTH] = (int32_t)inner.length;
  if ((item[ITEM_FLAGS] & FLAG_NEEDS_CSUM) != 0) item[ITEM_CSUM_START] -= ETHERNET_HEADER;
  address_words(item + ITEM_DESTINATION, packet + (inner.family == 4 ? 16 : 24), inner.family);
}

static void member_mac(uint8_t *mac, uint32_t station) {
  mac[0] = 0x7a;
  mac[1] = 0x79;
  store_be32(mac + 2, station);
}

// Groups have MACs of their own: RFC 1112 section 6.4, RFC 2464 section 7. Everything else for more than one is broadcast.
static void group_mac(uint8_t *mac, const int32_t *unit) {
  uint32_t first = (uint32_t)unit[UNIT_DESTINATION];
  if (unit[UNIT_FAMILY] == 6) {
    mac[0] = mac[1] = 0x33;
    store_be32(mac + 2, (uint32_t)unit[UNIT_DESTINATION + 3]);
  } else if (first >> 28 == 14) {
    mac[0] = 1;
    mac[1] = 0;
    store_be32(mac + 2, 0x5e000000 | (first & 0x7fffff));
  } else {
    memset(mac, 0xff, 6);
  }
}

void frame_header(uint8_t *header, const uint8_t *ours, const int32_t *unit) {
  if (unit[UNIT_GROUP] != 0) group_mac(header, unit);
  else memcpy(header, ours, 6);
  member_mac(header + 6, (uint32_t)unit[UNIT_STATION]);
  store_be16(header + 12, unit[UNIT_FAMILY] == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
}
