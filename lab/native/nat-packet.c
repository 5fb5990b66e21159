#include "nat-packet.h"

#include <stdbool.h>
#include <string.h>

enum {
  IPV4_HEADER = 20,
  UDP_HEADER = 8,
  ICMP_HEADER = 8,
  PROTOCOL_ICMP = 1,
  PROTOCOL_UDP = 17,
};

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static void put16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}
static void put32(uint8_t *at, uint32_t value) {
  put16(at, (uint16_t)(value >> 16));
  put16(at + 2, (uint16_t)value);
}

// RFC 1624: the checksum after one word of what it covers has changed.
static void update16(uint8_t *sum, uint16_t before, uint16_t after) {
  uint32_t value = (uint32_t)(uint16_t)~get16(sum) + (uint16_t)~before + after;
  value = (value & 0xffff) + (value >> 16);
  value = (value & 0xffff) + (value >> 16);
  put16(sum, (uint16_t)~value);
}

static void update32(uint8_t *sum, uint32_t before, uint32_t after) {
  update16(sum, (uint16_t)(before >> 16), (uint16_t)(after >> 16));
  update16(sum, (uint16_t)before, (uint16_t)after);
}

// A whole IPv4 header at `ip`: its length, or 0.
static size_t header_of(const uint8_t *ip, size_t bytes) {
  if (bytes < IPV4_HEADER || ip[0] >> 4 != 4) return 0;
  size_t length = (size_t)(ip[0] & 15) * 4;
  return length >= IPV4_HEADER && length <= bytes ? length : 0;
}

static bool is_later_fragment(const uint8_t *ip) { return (get16(ip + 6) & 0x1fff) != 0; }

// An endpoint of a datagram: the address at `address` in the IP header, the port at `port`. `udp_sum` is NULL where that is cut off.
static void replace(uint8_t *ip, uint8_t *address, uint8_t *port, uint8_t *udp_sum, struct endpoint by) {
  uint32_t old_address = get32(address);
  uint16_t old_port = get16(port);
  update32(ip + 10, old_address, by.address);
  // None is zero on the wire, and stays so; one that became zero is sent as its equal.
  if (udp_sum != NULL && get16(udp_sum) != 0) {
    update32(udp_sum, old_address, by.address);
    update16(udp_sum, old_port, by.port);
    if (get16(udp_sum) == 0) put16(udp_sum, 0xffff);
  }
  put32(address, by.address);
  put16(port, by.port);
}

// The way through the device costs a hop more than a router should.
static void give_hop_back(uint8_t *ip) {
  if (ip[8] == 255) return;
  uint16_t before = get16(ip + 8);
  ip[8]++;
  update16(ip + 10, before, get16(ip + 8));
}

static enum nat_fate datagram(struct nat_table *nat, struct nat_lan lan, int64_t now, uint8_t *ip, size_t header, size_t bytes) {
  if (bytes < header + UDP_HEADER || is_later_fragment(ip)) return NAT_MALFORMED;
  uint8_t *udp = ip + header;
  struct endpoint source = {get32(ip + 12), get16(udp)}, destination = {get32(ip + 16), get16(udp + 2)};
  bool outbound = (source.address & lan.mask) == lan.address, at_us = destination.address == nat->public_address;
  if (!outbound && !at_us) return NAT_MALFORMED;
  if (outbound && at_us && !nat->set.hairpin) return NAT_NO_HAIRPIN;
  if (outbound) {
    uint16_t port = nat_outbound(nat, now, source, destination);
    if (port == 0) return NAT_NO_PORT;
    source = (struct endpoint){nat->public_address, port};
    replace(ip, ip + 12, udp, udp + 6, source);
    if (!at_us) {
      give_hop_back(ip);
      return NAT_SENT;
    }
  }
  struct endpoint inside;
  if (!nat_inbound(nat, now, source, destination.port, &inside)) return NAT_UNSOLICITED;
  replace(ip, ip + 16, udp + 2, udp + 6, inside);
  give_hop_back(ip);
  return outbound ? NAT_HAIRPINNED : NAT_DELIVERED;
}

// RFC 5508: an error quotes a datagram as it was outside; who sent it gets it as it was inside.
static enum nat_fate error(struct nat_table *nat, int64_t now, uint8_t *ip, size_t header, size_t bytes) {
  if (get32(ip + 16) != nat->public_address || is_later_fragment(ip)) return NAT_MALFORMED;
  uint8_t *icmp = ip + header;
  if (bytes < header + ICMP_HEADER) return NAT_MALFORMED;
  if (icmp[0] != 3 && icmp[0] != 11 && icmp[0] != 12) return NAT_UNSOLICITED;
  uint8_t *quoted = icmp + ICMP_HEADER;
  size_t left = bytes - header - ICMP_HEADER, quoted_header = header_of(quoted, left);
  if (quoted_header == 0 || left < quoted_header + UDP_HEADER) return NAT_MALFORMED;
  if (quoted[9] != PROTOCOL_UDP || is_later_fragment(quoted)) return NAT_UNSOLICITED;
  uint8_t *udp = quoted + quoted_header;
  struct endpoint inside;
  if (get32(quoted + 12) != nat->public_address || !nat_owner(nat, now, get16(udp), &inside)) return NAT_UNSOLICITED;
  replace(quoted, quoted + 12, udp, udp + 6, inside);
  // The error's own checksum covers all of that.
  uint32_t sum = 0;
  put16(icmp + 2, 0);
  size_t length = bytes - header;
  for (size_t i = 0; i + 1 < length; i += 2) sum += get16(icmp + i);
  if (length % 2 == 1) sum += (uint32_t)icmp[length - 1] << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  put16(icmp + 2, (uint16_t)~sum);
  update32(ip + 10, nat->public_address, inside.address);
  put32(ip + 16, inside.address);
  give_hop_back(ip);
  return NAT_ERROR_DELIVERED;
}

enum nat_fate nat_packet(struct nat_table *nat, struct nat_lan lan, int64_t now_ns, uint8_t *packet, size_t bytes) {
  size_t header = header_of(packet, bytes);
  if (header == 0 || get16(packet + 2) < header || get16(packet + 2) > bytes) return NAT_MALFORMED;
  bytes = get16(packet + 2);
  if (packet[9] == PROTOCOL_UDP) return datagram(nat, lan, now_ns, packet, header, bytes);
  if (packet[9] == PROTOCOL_ICMP) return error(nat, now_ns, packet, header, bytes);
  return NAT_MALFORMED;
}
