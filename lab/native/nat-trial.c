// Hostile packets against the NAT's code, built with sanitizers: every length, random bytes, and packets that are right but for one
// byte. What is translated must be a packet still.
//
//   nat-trial SEED COUNT    →  one line of JSON: how many had which fate
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nat-packet.h"

enum { MOST_BYTES = 200 };

static uint64_t state;

static uint32_t roll(uint32_t bound) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(((state >> 32) * bound) >> 32);
}

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value);
}

static uint32_t sum_of(const uint8_t *at, size_t bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes; i += 2) sum += (uint32_t)at[i] << 8 | at[i + 1];
  if (bytes % 2 == 1) sum += (uint32_t)at[bytes - 1] << 8;
  return sum;
}

static uint16_t fold(uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

static uint32_t udp_sum(const uint8_t *ip, size_t bytes) {
  return sum_of(ip + 12, 8) + 17 + (uint32_t)(bytes - 20) + sum_of(ip + 20, bytes - 20);
}

static size_t put_udp(uint8_t *ip, uint32_t source, uint32_t destination, uint32_t ports, size_t bytes) {
  memset(ip, 0, bytes);
  ip[0] = 0x45;
  put16(ip + 2, (uint32_t)bytes);
  ip[8] = (uint8_t)roll(256);
  ip[9] = 17;
  put32(ip + 12, source);
  put32(ip + 16, destination);
  put16(ip + 10, fold(sum_of(ip, 20)));
  put32(ip + 20, ports);
  put16(ip + 24, (uint32_t)bytes - 20);
  for (size_t i = 28; i < bytes; i++) ip[i] = (uint8_t)roll(256);
  uint16_t sum = fold(udp_sum(ip, bytes));
  put16(ip + 26, sum == 0 ? 0xffff : sum);
  return bytes;
}

static size_t put_error(uint8_t *ip, uint32_t source, uint32_t us, uint32_t ports) {
  size_t bytes = 28 + put_udp(ip + 28, us, source, ports, 28 + roll(30));
  memset(ip, 0, 28);
  ip[0] = 0x45;
  put16(ip + 2, (uint32_t)bytes);
  ip[8] = 64;
  ip[9] = 1;
  put32(ip + 12, source);
  put32(ip + 16, us);
  put16(ip + 10, fold(sum_of(ip, 20)));
  ip[20] = roll(2) == 0 ? 3 : 11;
  put16(ip + 22, fold(sum_of(ip + 20, bytes - 20)));
  return bytes;
}

static void check(const uint8_t *ip, size_t bytes, enum nat_fate fate) {
  if (fold(sum_of(ip, 20)) != 0) exit(3);
  if (fate == NAT_ERROR_DELIVERED ? fold(sum_of(ip + 20, bytes - 20)) != 0 : fold(udp_sum(ip, bytes)) != 0) exit(4);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  state = strtoull(argv[1], NULL, 10);
  uint64_t count = strtoull(argv[2], NULL, 10), fates[NAT_FATES] = {0};
  struct nat_table *nat = nat_open(state);
  if (nat == NULL) return 1;
  nat->public_address = 0xcb007101;
  struct nat_lan lan = {0xc0a80100, 0xffffff00};
  int64_t now = 1;
  for (uint64_t n = 0; n < count; n++) {
    if (n % 10000 == 0) {
      static const char *const modes[] = {"endpoint-independent", "address-dependent", "address-and-port-dependent"};
      static const char *const ports[] = {"preserving", "random", "random-in-block", "sequential"};
      char pairs[200];
      snprintf(pairs, sizeof pairs, "mapping=%s filtering=%s allocation=%s step=%u hairpin=%u foreign-per-second=%u timeout-ms=%u",
               modes[roll(3)], modes[roll(3)], ports[roll(4)], 1 + roll(9), roll(2), roll(100), 1 + roll(3000));
      if (nat_set(nat, pairs) != NULL) return 5;
      if (roll(4) == 0) nat_flush(nat);
    }
    now += roll(1000000);
    uint8_t whole[MOST_BYTES];
    uint32_t inside = 0xc0a80100 + roll(4), outside = 0xc6336400 + roll(8);
    size_t bytes = 28 + roll(100);
    bool right = true;
    switch (roll(4)) {
      case 0: put_udp(whole, inside, roll(8) == 0 ? nat->public_address : outside, roll(0xffffffff), bytes); break;
      case 1: put_udp(whole, outside, nat->public_address, (roll(16) << 16) | roll(PORTS), bytes); break;
      case 2: bytes = put_error(whole, outside, nat->public_address, roll(0xffffffff)); break;
      default:
        bytes = roll(MOST_BYTES);
        for (size_t i = 0; i < bytes; i++) whole[i] = (uint8_t)roll(256);
        if (bytes > 0 && roll(2) == 0) whole[0] = (uint8_t)(0x40 | roll(16));
        right = false;
    }
    if (bytes > 0 && roll(3) == 0) {
      whole[roll((uint32_t)bytes)] ^= (uint8_t)(1 + roll(255));
      right = false;
      if (roll(2) == 0) bytes = roll((uint32_t)bytes);
    }
    // Of the very size, so that the sanitizer sees each byte beyond it.
    uint8_t *packet = malloc(bytes);
    if (bytes > 0) memcpy(packet, whole, bytes);
    enum nat_fate fate = nat_packet(nat, lan, now, packet, bytes);
    fates[fate]++;
    if (fate <= NAT_ERROR_DELIVERED && right) check(packet, bytes, fate);
    free(packet);
  }
  printf("{\"sent\":%" PRIu64 ",\"delivered\":%" PRIu64 ",\"hairpinned\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"malformed\":%" PRIu64 "}\n",
         fates[NAT_SENT], fates[NAT_DELIVERED], fates[NAT_HAIRPINNED], fates[NAT_ERROR_DELIVERED], fates[NAT_MALFORMED]);
  free(nat);
  return 0;
}
