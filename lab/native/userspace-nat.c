// A NAT of kinds that nftables cannot make, for UDP over IPv4: it gets packets from a TUN device of its router, and gives them back
// translated. What leads packets there is in lab/nat.ts.
//
//   userspace-nat DEVICE PUBLIC-ADDRESS LAN-ADDRESS LAN-BITS SEED
//
// Prints `ready`, then answers each line of standard input by one on standard output, and ends when its input does:
//
//   ID set NAME=VALUE …        →  ID ok | ID error: TEXT      names: nat-table.c
//   ID public ADDRESS          →  ID ok | …                   and forgets all mappings
//   ID forward PORT ADDRESS    →  ID ok | …
//   ID flush                   →  ID ok
//   ID counters                →  ID {"sent":1,…}
//   ID mappings                →  ID [["192.168.1.10:5000",40000,"198.51.100.10:3478"],…]   those of others are left out
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "nat-packet.h"

enum { PACKET_BYTES = 65536, PACKETS_PER_TURN = 256 };

static const char *const FATE_NAMES[NAT_FATES] = {
  [NAT_SENT] = "sent", [NAT_DELIVERED] = "delivered", [NAT_HAIRPINNED] = "hairpinned",
  [NAT_ERROR_DELIVERED] = "errorsDelivered", [NAT_UNSOLICITED] = "unsolicited", [NAT_NO_PORT] = "noPort",
  [NAT_NO_HAIRPIN] = "noHairpin", [NAT_MALFORMED] = "malformed",
};

static struct nat_table *nat;
static struct nat_lan lan;
static uint64_t counters[NAT_FATES], write_failed;
static int device;

static int open_device(const char *name) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  if (strlen(name) >= sizeof request.ifr_name) fail("name of the device");
  strcpy(request.ifr_name, name);
  if (ioctl(fd, TUNSETIFF, &request) != 0) fail(name);
  return fd;
}

static bool parse_address(const char *text, uint32_t *address) {
  struct in_addr parsed;
  if (text == NULL || inet_pton(AF_INET, text, &parsed) != 1) return false;
  *address = ntohl(parsed.s_addr);
  return true;
}

static void print_counters(const char *id) {
  printf("%s {\"writeFailed\":%" PRIu64, id, write_failed);
  for (int i = 0; i < NAT_FATES; i++) printf(",\"%s\":%" PRIu64, FATE_NAMES[i], counters[i]);
  printf("}\n");
}

static void print_endpoint(struct endpoint e) {
  printf("\"%u.%u.%u.%u:%u\"", e.address >> 24, e.address >> 16 & 255, e.address >> 8 & 255, e.address & 255, e.port);
}

static void print_mappings(const char *id) {
  int64_t now = now_ns();
  const char *comma = "";
  printf("%s [", id);
  for (uint32_t port = 1; port < PORTS; port++) {
    const struct mapping *mapping = &nat->mappings[port];
    if (!nat_is_alive(nat, now, (uint16_t)port) || mapping->inside.address == 0) continue;
    printf("%s[", comma);
    print_endpoint(mapping->inside);
    printf(",%u,", port);
    print_endpoint(mapping->towards);
    printf("]");
    comma = ",";
  }
  printf("]\n");
}

static const char *change(const char *verb, char *rest) {
  if (strcmp(verb, "set") == 0) return nat_set(nat, rest == NULL ? "" : rest);
  if (strcmp(verb, "flush") == 0) return nat_flush(nat), NULL;
  char *save = NULL;
  const char *first = rest == NULL ? NULL : strtok_r(rest, " ", &save);
  if (strcmp(verb, "public") == 0) {
    if (!parse_address(first, &nat->public_address)) return "no address";
    return nat_flush(nat), NULL;
  }
  if (strcmp(verb, "forward") == 0) {
    uint32_t inside;
    int port = first == NULL ? 0 : atoi(first);
    if (port < 1 || port >= PORTS || !parse_address(strtok_r(NULL, " ", &save), &inside)) return "no port or address";
    return nat_forward(nat, (uint16_t)port, inside) ? NULL : "too many";
  }
  return "no such command";
}

static void obey(char *command) {
  char *rest = command;
  const char *id = strsep(&rest, " "), *verb = strsep(&rest, " ");
  if (verb == NULL) return;
  if (strcmp(verb, "counters") == 0) return print_counters(id);
  if (strcmp(verb, "mappings") == 0) return print_mappings(id);
  const char *wrong = change(verb, rest);
  if (wrong == NULL) printf("%s ok\n", id);
  else printf("%s error: %s\n", id, wrong);
}

static void pass_packets(void) {
  static uint8_t packet[PACKET_BYTES];
  int64_t now = now_ns();
  for (int n = 0; n < PACKETS_PER_TURN; n++) {
    ssize_t bytes = read(device, packet, sizeof packet);
    if (bytes < 0) return;
    enum nat_fate fate = nat_packet(nat, lan, now, packet, (size_t)bytes);
    counters[fate]++;
    if (fate <= NAT_ERROR_DELIVERED && write(device, packet, (size_t)bytes) != bytes) write_failed++;
  }
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: userspace-nat DEVICE PUBLIC-ADDRESS LAN-ADDRESS LAN-BITS SEED\n");
    return 2;
  }
  nat = nat_open(strtoull(argv[5], NULL, 10));
  if (nat == NULL) fail("memory");
  int bits = atoi(argv[4]);
  if (!parse_address(argv[2], &nat->public_address) || !parse_address(argv[3], &lan.address) || bits < 1 || bits > 32) {
    errno = EINVAL;
    fail("addresses");
  }
  lan.mask = UINT32_MAX << (32 - bits);
  lan.address &= lan.mask;
  setvbuf(stdout, NULL, _IOLBF, 0);
  device = open_device(argv[1]);
  printf("ready\n");
  struct pollfd polls[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = device, .events = POLLIN}};
  for (;;) {
    if (poll(polls, 2, -1) < 0 && errno != EINTR) fail("poll");
    if (polls[0].revents != 0) read_commands(obey);
    if ((polls[1].revents & POLLIN) != 0) pass_packets();
  }
}
