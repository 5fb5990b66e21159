// Ethernet frames by packet sockets, past the system's protocols.
//
//   ethernet-frames listen DEVICE           prints 'ready', then every frame that comes in: a line of hex each
//   ethernet-frames send DEVICE             sends the frames on standard input, a line of hex each
//   ethernet-frames flood DEVICE MS HEX     sends one frame as fast as it can, and prints how often
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST_BYTES = 65536 };

static int fail(const char *what) {
  fprintf(stderr, "ethernet-frames: %s: %s\n", what, strerror(errno));
  return 1;
}

static int open_on(const char *device, int protocol) {
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol)};
  address.sll_ifindex = (int)if_nametoindex(device);
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0 || address.sll_ifindex == 0) return -1;
  return bind(fd, (struct sockaddr *)&address, sizeof address) == 0 ? fd : -1;
}

static int listen_on(int fd) {
  static uint8_t frame[MOST_BYTES];
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("ready");
  for (;;) {
    struct sockaddr_ll from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, frame, sizeof frame, 0, (struct sockaddr *)&from, &length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail("receive");
    if (from.sll_pkttype == PACKET_OUTGOING) continue;
    for (ssize_t i = 0; i < got; i++) printf("%02x", frame[i]);
    putchar('\n');
  }
}

// Bytes of a line of hex; -1 when it is none.
static ssize_t parse(const char *text, uint8_t *frame) {
  size_t length = strcspn(text, "\r\n");
  if (length % 2 != 0 || length / 2 > MOST_BYTES) return -1;
  for (size_t i = 0; i < length / 2; i++) {
    unsigned byte;
    if (sscanf(text + 2 * i, "%2x", &byte) != 1) return -1;
    frame[i] = (uint8_t)byte;
  }
  return (ssize_t)(length / 2);
}

static int send_lines(int fd) {
  static uint8_t frame[MOST_BYTES];
  char *line = NULL;
  size_t size = 0;
  while (getline(&line, &size, stdin) > 0) {
    ssize_t length = parse(line, frame);
    if (length <= 0 || send(fd, frame, (size_t)length, 0) != length) return fail("send");
  }
  return 0;
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int flood(int fd, int64_t ms, const char *text) {
  static uint8_t frame[MOST_BYTES];
  ssize_t length = parse(text, frame);
  unsigned long sent = 0;
  if (length <= 0) return fail("frame");
  for (int64_t end = now_ms() + ms; now_ms() < end;) {
    if (send(fd, frame, (size_t)length, MSG_DONTWAIT) == length) sent++;
    else if (errno != ENOBUFS && errno != EAGAIN) return fail("send");
  }
  printf("%lu\n", sent);
  return 0;
}

int main(int count, char **arguments) {
  if (count < 3) return fail("usage");
  int fd = open_on(arguments[2], strcmp(arguments[1], "listen") == 0 ? ETH_P_ALL : 0);
  if (fd < 0) return fail(arguments[2]);
  if (strcmp(arguments[1], "listen") == 0) return listen_on(fd);
  if (strcmp(arguments[1], "send") == 0) return send_lines(fd);
  if (strcmp(arguments[1], "flood") == 0 && count == 5) return flood(fd, atoll(arguments[3]), arguments[4]);
  return fail("usage");
}
