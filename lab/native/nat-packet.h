// One IPv4 packet as it comes out of the router's TUN device, translated in place by the table.
#ifndef BURI_LAB_NAT_PACKET_H
#define BURI_LAB_NAT_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include "nat-table.h"

enum nat_fate {
  NAT_SENT,
  NAT_DELIVERED,
  NAT_HAIRPINNED,
  NAT_ERROR_DELIVERED,  // an ICMP error about a datagram of a mapping
  NAT_UNSOLICITED,      // from outside, and nobody asked for it
  NAT_NO_PORT,
  NAT_NO_HAIRPIN,
  NAT_MALFORMED,
  NAT_FATES,
};

struct nat_lan {
  uint32_t address, mask;
};

// The packet is to be written back to the device when the fate is one of the first four. It may be of any content and of any length.
enum nat_fate nat_packet(struct nat_table *nat, struct nat_lan lan, int64_t now_ns, uint8_t *packet, size_t bytes);

#endif
