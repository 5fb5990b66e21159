// Load for a relay: pairs of clients, of which one sends to the other through it.
//
//   relay-load turn|buri RELAY PORT LOCAL PAIRS BYTES BURST RATE SECONDS
//
// BYTES of payload a packet; BURST packets of a pair at a time (by UDP_SEGMENT when it is more than 1); RATE packets/s in all, 0: as many as go.
// turn: allocates and binds a channel for each pair, sends ChannelData (RFC 8656), and receives at a plain UDP peer.
// buri: sends `data` with the tokens that stand on standard input, one a line (16 hex digits), and receives what is delivered bare.
// Senders have the ports 20000 + i, receivers 40000 + i. Prints {"sent":…,"received":…,"forwarded":…,"seconds":…,"p50us":…,"p99us":…}.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum { MAX_PAIRS = 1000, MAX_BYTES = 1400, MAX_BURST = 40, FIRST_CLIENT = 100000000, MAX_SAMPLES = 1 << 22 };

static int senders[MAX_PAIRS], receivers[MAX_PAIRS], events;
static uint8_t headers[MAX_PAIRS][20];
static size_t header_size;
static uint64_t received;
static uint32_t *samples;
static size_t sample_count;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static struct sockaddr_in address_of(const char *text, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, text, &a.sin_addr) != 1) die("address");
  return a;
}

static int open_socket(const char *local, int port) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 8 << 20, on = 1;
  struct sockaddr_in a = address_of(local, port);
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0) die("bind");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
  return fd;
}

// One STUN request and its answer; returns the length of the answer, which must be a success.
static size_t ask(int fd, uint16_t type, const uint8_t *attributes, size_t length, uint8_t *answer) {
  static uint32_t transaction;
  uint8_t request[256] = {(uint8_t)(type >> 8), (uint8_t)type, 0, (uint8_t)length, 0x21, 0x12, 0xa4, 0x42};
  transaction++;
  memcpy(request + 16, &transaction, 4);
  memcpy(request + 20, attributes, length);
  struct timeval patience = {2, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (send(fd, request, 20 + length, 0) < 0) die("send");
  ssize_t got = recv(fd, answer, 2048, 0);
  if (got < 20 || answer[0] != 1 || answer[1] != (type & 0xff)) {
    fprintf(stderr, "relay-load: TURN request %04x: answer of %zd bytes, type %02x%02x\n", type, got, answer[0], answer[1]);
    exit(1);
  }
  return (size_t)got;
}

static void set_up_turn(int i, const char *local) {
  uint8_t answer[2048];
  const uint8_t transport[] = {0x00, 0x19, 0, 4, 17, 0, 0, 0};
  ask(senders[i], 0x0003, transport, sizeof transport, answer);
  struct sockaddr_in peer = address_of(local, 40000 + i);
  uint16_t port = (uint16_t)(ntohs(peer.sin_port) ^ 0x2112);
  uint32_t address = ntohl(peer.sin_addr.s_addr) ^ 0x2112a442;
  const uint8_t channel[] = {0x00, 0x0c, 0, 4, 0x40, 0, 0, 0, 0x00, 0x12, 0, 8, 0, 1, (uint8_t)(port >> 8), (uint8_t)port,
                             (uint8_t)(address >> 24), (uint8_t)(address >> 16), (uint8_t)(address >> 8), (uint8_t)address};
  ask(senders[i], 0x0009, channel, sizeof channel, answer);
}

static void take(const uint8_t *payload, uint64_t at) {
  uint64_t sent;
  received++;
  memcpy(&sent, payload + 8, 8);
  if (sent != 0 && sample_count < MAX_SAMPLES) samples[sample_count++] = (uint32_t)((at - sent) / 100);
}

static void drain(int wait_ms, size_t bytes) {
  static uint8_t buffer[65536];
  struct epoll_event ready[64];
  int count = epoll_wait(events, ready, 64, wait_ms);
  for (int i = 0; i < count; i++) {
    for (;;) {
      ssize_t got = recv(ready[i].data.fd, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0) break;
      uint64_t at = now_ns();
      for (size_t k = 0; k + bytes <= (size_t)got; k += bytes) take(buffer + k, at);
    }
  }
}

static unsigned send_burst(int i, uint8_t *packets, size_t size, int burst) {
  struct iovec part = {packets, size * (size_t)burst};
  _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = {0};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (burst > 1) {
    uint16_t segment = (uint16_t)size;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(header), &segment, sizeof segment);
  }
  return sendmsg(senders[i], &message, MSG_DONTWAIT) < 0 ? 0 : (unsigned)burst;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

int main(int count, char **words) {
  if (count != 10) return fputs("relay-load turn|buri RELAY PORT LOCAL PAIRS BYTES BURST RATE SECONDS\n", stderr), 2;
  int turn = strcmp(words[1], "turn") == 0, pairs = atoi(words[5]), burst = atoi(words[7]);
  size_t bytes = (size_t)atoi(words[6]);
  double rate = atof(words[8]), seconds = atof(words[9]);
  if (pairs < 1 || pairs > MAX_PAIRS || bytes < 32 || bytes > MAX_BYTES || burst < 1 || burst > MAX_BURST) return 2;
  struct sockaddr_in relay = address_of(words[2], atoi(words[3]));
  header_size = turn ? 4 : 20;
  samples = malloc(MAX_SAMPLES * sizeof *samples);
  events = epoll_create1(0);
  for (int i = 0; i < pairs; i++) {
    senders[i] = open_socket(words[4], 20000 + i);
    receivers[i] = open_socket(words[4], 40000 + i);
    if (connect(senders[i], (struct sockaddr *)&relay, sizeof relay) != 0) die("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = receivers[i]};
    epoll_ctl(events, EPOLL_CTL_ADD, receivers[i], &event);
    uint8_t *header = headers[i];
    if (turn) {
      set_up_turn(i, words[4]);
      header[0] = 0x40;
      header[2] = (uint8_t)(bytes >> 8);
      header[3] = (uint8_t)bytes;
    } else {
      unsigned long long token;
      uint32_t to = FIRST_CLIENT + MAX_PAIRS + (uint32_t)i;
      if (scanf("%llx", &token) != 1) die("token");
      memcpy(header, "BUR\x02\x01\0\0\0", 8);
      uint64_t value = token;
      memcpy(header + 8, &value, 8);
      memcpy(header + 16, &to, 4);
    }
  }
  size_t size = header_size + bytes;
  uint8_t *packets = calloc((size_t)burst, size);
  uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), sent = 0;
  uint64_t warm = start + 300000000, base_received = 0, base_sent = 0, measured = 0;
  for (int i = 0;; i = (i + 1) % pairs) {
    uint64_t at = now_ns();
    if (at >= end) break;
    if (measured == 0 && at >= warm) {
      measured = at;
      base_received = received;
      base_sent = sent;
      sample_count = 0;
    }
    if (rate > 0 && (double)sent > rate * (double)(at - start) / 1e9) {
      drain(0, bytes);
      i = (i + pairs - 1) % pairs;
      continue;
    }
    for (int k = 0; k < burst; k++) {
      uint8_t *packet = packets + (size_t)k * size, *payload = packet + header_size;
      memcpy(packet, headers[i], header_size);
      memset(payload, 0, 8);
      payload[0] = 4;
      memcpy(payload + 8, &at, 8);
    }
    sent += send_burst(i, packets, size, burst);
    if (pairs == 1 || i % 8 == 7 || i == pairs - 1) drain(0, bytes);
  }
  uint64_t stop = now_ns(), in_time = received - base_received;
  drain(200, bytes);
  qsort(samples, sample_count, sizeof *samples, by_size);
  printf("{\"sent\":%llu,\"received\":%llu,\"forwarded\":%llu,\"seconds\":%.4f,\"p50us\":%.1f,\"p99us\":%.1f}\n", (unsigned long long)(sent - base_sent),
         (unsigned long long)in_time, (unsigned long long)received, (double)(stop - measured) / 1e9, sample_count ? samples[sample_count / 2] / 10.0 : 0,
         sample_count ? samples[sample_count * 99 / 100] / 10.0 : 0);
  return 0;
}
