// UDP as fast as it is taken, for little CPU time of its own, so that what is measured is the tunnel.
//
//   udp-load send-large ADDRESS PORT SECONDS   super-packets of 45 datagrams of 1,300 bytes (USO, as QUIC sends them)
//   udp-load send-small ADDRESS PORT SECONDS   datagrams of 100 bytes, 64 a system call
//   udp-load receive-large|receive-small ADDRESS PORT
//                                              counts until half a second of silence; prints {"bytes":…,"seconds":…}
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum { DATAGRAM_BYTES = 1300, DATAGRAMS = 45, BUFFER_BYTES = 4 << 20 };
enum { SMALL_BYTES = 100, SMALL_AT_ONCE = 64 };
enum { FIRST_MS = 10000, SILENCE_MS = 500 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static socklen_t parse(const char *address, const char *port, struct sockaddr_storage *out) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)atoi(port));
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1) return 0;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)atoi(port));
  return sizeof *v6;
}

static int send_large(int fd, double seconds) {
  static char super_packet[DATAGRAM_BYTES * DATAGRAMS];
  int size = DATAGRAM_BYTES;
  if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size) != 0) return perror("UDP_SEGMENT"), 1;
  for (double end = now() + seconds; now() < end;) {
    // ENOBUFS and the like: the device is full, which is what this is about.
    if (send(fd, super_packet, sizeof super_packet, 0) < 0) usleep(50);
  }
  return 0;
}

static int send_small(int fd, double seconds) {
  static char datagram[SMALL_BYTES];
  struct iovec part = {datagram, sizeof datagram};
  struct mmsghdr messages[SMALL_AT_ONCE] = {0};
  for (int i = 0; i < SMALL_AT_ONCE; i++) {
    messages[i].msg_hdr.msg_iov = &part;
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  for (double end = now() + seconds; now() < end;) {
    if (sendmmsg(fd, messages, SMALL_AT_ONCE, 0) < 0) usleep(50);
  }
  return 0;
}

// A program that takes small datagrams gets each by itself: no UDP_GRO.
static ssize_t take_small(int fd) {
  static char buffers[SMALL_AT_ONCE][2048];
  struct iovec parts[SMALL_AT_ONCE];
  struct mmsghdr messages[SMALL_AT_ONCE] = {0};
  for (int i = 0; i < SMALL_AT_ONCE; i++) {
    parts[i] = (struct iovec){buffers[i], sizeof buffers[i]};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  int got = recvmmsg(fd, messages, SMALL_AT_ONCE, MSG_DONTWAIT, NULL);
  ssize_t bytes = 0;
  for (int i = 0; i < got; i++) bytes += messages[i].msg_len;
  return bytes;
}

static ssize_t take_large(int fd) {
  static char buffer[65536];
  return recv(fd, buffer, sizeof buffer, 0);
}

static int receive(int fd, ssize_t (*take)(int)) {
  int size = BUFFER_BYTES;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  puts("ready");
  fflush(stdout);
  double first = 0, last = 0;
  unsigned long long bytes = 0;
  struct pollfd readable = {.fd = fd, .events = POLLIN};
  while (poll(&readable, 1, first == 0 ? FIRST_MS : SILENCE_MS) > 0) {
    ssize_t got = take(fd);
    if (got <= 0) continue;
    last = now();
    if (first == 0) first = last;
    else bytes += (unsigned long long)got;
  }
  printf("{\"bytes\":%llu,\"seconds\":%.6f}\n", bytes, last - first);
  return 0;
}

int main(int count, char **words) {
  struct sockaddr_storage address;
  int sending = count == 5 && strncmp(words[1], "send-", 5) == 0;
  int receiving = count == 4 && strncmp(words[1], "receive-", 8) == 0;
  socklen_t length = sending || receiving ? parse(words[2], words[3], &address) : 0;
  if (length == 0) {
    return fputs("udp-load send-large|send-small ADDRESS PORT SECONDS | receive-large|receive-small ADDRESS PORT\n", stderr), 2;
  }
  int large = strstr(words[1], "-large") != NULL;
  int fd = socket(address.ss_family, SOCK_DGRAM, 0);
  if (fd < 0) return perror("socket"), 1;
  if (sending) {
    if (connect(fd, (struct sockaddr *)&address, length) != 0) return perror("connect"), 1;
    return (large ? send_large : send_small)(fd, atof(words[4]));
  }
  if (bind(fd, (struct sockaddr *)&address, length) != 0) return perror("bind"), 1;
  int on = large;
  setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
  return receive(fd, large ? take_large : take_small);
}
