// One end of a flow of numbered, hashed UDP datagrams of varied sizes, both ways at once.
//
//   udp-flow LOCAL REMOTE PORT KEY a|b BYTES SECONDS MBIT WINDOW LONGEST
//
// Sends until BYTES have left or SECONDS are over, at most MBIT per second and WINDOW datagrams ahead of what the other end has seen,
// so that nothing is lost for want of room. Prints `ready`, begins at the first line of standard input, and ends when both ends have
// sent everything, with its findings as one line of JSON. Ends at once, with what there is, when its input does.
//
// A datagram, words little-endian; the hash is SipHash-2-4 of all that follows it, under KEY and the direction:
//
//   0        8        16       24      25        32
//   │ hash   │ number │ seen   │ done  │ 0       │ body …
//            seen: highest number received, plus 1;  done: 1 when the sender has sent everything
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "siphash.h"

#ifndef SO_MEMINFO
#define SO_MEMINFO 55
#endif

enum {
  BATCH = 32,
  HEADER_BYTES = 32,
  SHORTEST_BYTES = 64,
  LONGEST_BYTES = 9000,
  BODY_BYTES = 1 << 16,
  // 134 million datagrams, about 100 GB.
  SEEN_BITS = 1 << 27,
  BUFFER_BYTES = 8 << 20,
  MEMINFO_WORDS = 9,
  MEMINFO_DROPS = 8,
  FAREWELLS = 20,
};
// Without news of the other end: one datagram each so often.
static const int64_t TRICKLE_NS = 5000000;
static const int64_t STALE_NS = 100000000;
// After the last datagram the end is near, or it is over for other reasons.
static const int64_t SILENCE_NS = 1500000000;
// How far the pace may fall behind before it is forgotten.
static const int64_t BEHIND_NS = 20000000;

static struct {
  int fd;
  struct sockaddr_in remote;
  uint64_t send_key[2], receive_key[2];
  uint64_t bytes_wanted, window;
  int64_t deadline_ns;
  double ns_per_byte;
  uint32_t longest;
} flow;

static struct {
  uint64_t datagrams, bytes, acknowledged;
  int64_t next_ns, last_ns, progress_ns;
  bool done;
} out;

static struct {
  uint64_t datagrams, bytes, duplicates, overtaken, corrupted, highest, since_sent;
  int64_t last_ns;
  bool done;
  uint8_t *seen;
} in;

static uint8_t body[BODY_BYTES + LONGEST_BYTES];

static void fail(const char *what) {
  fprintf(stderr, "udp-flow: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// A quarter is short, a quarter full, the rest of any size: offloads of equal sizes and of mixed ones have work.
static uint32_t size_of(uint64_t number) {
  // Runs of 8 have one size.
  uint64_t random = mix(number / 8 * 0x9e3779b97f4a7c15u + 1);
  uint32_t any = SHORTEST_BYTES + (uint32_t)((random >> 8) % (flow.longest - SHORTEST_BYTES + 1));
  switch (random % 4) {
    case 0: return SHORTEST_BYTES + (any - SHORTEST_BYTES) / 8;
    case 1: return flow.longest;
    case 2: return any;
    default: return SHORTEST_BYTES + (uint32_t)(mix(number) % (flow.longest - SHORTEST_BYTES + 1));
  }
}

static uint32_t compose(uint8_t *datagram) {
  uint64_t number = out.datagrams++;
  uint32_t bytes = size_of(number);
  uint64_t words[3] = {htole64(number), htole64(in.highest), htole64(out.done ? 1 : 0)};
  memcpy(datagram + 8, words, sizeof words);
  memcpy(datagram + HEADER_BYTES, body + mix(number) % BODY_BYTES, bytes - HEADER_BYTES);
  uint64_t hash = htole64(siphash(flow.send_key, datagram + 8, bytes - 8));
  memcpy(datagram, &hash, sizeof hash);
  out.bytes += bytes;
  return bytes;
}

static void send_batch(unsigned count, int64_t now) {
  static uint8_t datagrams[BATCH][LONGEST_BYTES];
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  uint64_t bytes = 0;
  for (unsigned i = 0; i < count; i++) {
    vectors[i] = (struct iovec){datagrams[i], compose(datagrams[i])};
    bytes += vectors[i].iov_len;
    messages[i].msg_hdr = (struct msghdr){.msg_name = &flow.remote,
                                          .msg_namelen = sizeof flow.remote,
                                          .msg_iov = &vectors[i],
                                          .msg_iovlen = 1};
  }
  // Waits for room in the socket. What has a number has to leave: an error counts as lost on the way.
  for (unsigned sent = 0; sent < count;) {
    int n = sendmmsg(flow.fd, messages + sent, count - sent, 0);
    sent += n > 0 ? (unsigned)n : 1;
  }
  out.last_ns = now;
  in.since_sent = 0;
  if (now - out.next_ns > BEHIND_NS) out.next_ns = now - BEHIND_NS;
  out.next_ns += (int64_t)((double)bytes * flow.ns_per_byte);
}

// How many may be sent now; `until` is lowered to when that changes by itself.
static unsigned may_send(int64_t now, int64_t *until) {
  if (!out.done && (out.bytes >= flow.bytes_wanted || now >= flow.deadline_ns)) out.done = true;
  uint64_t ahead = out.datagrams - out.acknowledged;
  if (!out.done && ahead < flow.window) {
    if (now >= out.next_ns) return ahead + BATCH <= flow.window ? BATCH : (unsigned)(flow.window - ahead);
    *until = out.next_ns;
    return 0;
  }
  // The other end may be waiting for the news that its datagrams came.
  if (in.since_sent >= flow.window / 8) return 1;
  // All are here, or what is missing is lost: the window must not close for ever.
  if (!out.done && now - out.progress_ns < STALE_NS) {
    *until = out.progress_ns + STALE_NS;
    return 0;
  }
  if (now - out.last_ns >= TRICKLE_NS) return 1;
  *until = out.last_ns + TRICKLE_NS;
  return 0;
}

static void note(const uint8_t *datagram, size_t bytes, int64_t now) {
  uint64_t hash, words[3];
  in.last_ns = now;
  if (bytes < HEADER_BYTES) {
    in.corrupted++;
    return;
  }
  memcpy(&hash, datagram, sizeof hash);
  memcpy(words, datagram + 8, sizeof words);
  uint64_t number = le64toh(words[0]), seen = le64toh(words[1]);
  if (le64toh(hash) != siphash(flow.receive_key, datagram + 8, bytes - 8) || number >= SEEN_BITS) {
    in.corrupted++;
    return;
  }
  uint8_t bit = (uint8_t)(1 << (number % 8)), *byte = &in.seen[number / 8];
  if ((*byte & bit) != 0) {
    in.duplicates++;
    return;
  }
  *byte |= bit;
  in.datagrams++;
  in.bytes += bytes;
  in.since_sent++;
  if (number < in.highest) in.overtaken++;
  else in.highest = number + 1;
  if (seen > out.acknowledged) {
    out.acknowledged = seen;
    out.progress_ns = now;
  }
  in.done = in.done || words[2] != 0;
}

static void receive_all(int64_t now) {
  static uint8_t datagrams[BATCH][LONGEST_BYTES];
  for (;;) {
    struct mmsghdr messages[BATCH] = {0};
    struct iovec vectors[BATCH];
    for (int i = 0; i < BATCH; i++) {
      vectors[i] = (struct iovec){datagrams[i], LONGEST_BYTES};
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(flow.fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) note(datagrams[i], messages[i].msg_len, now);
    if (got < BATCH) return;
  }
}

static void report(int64_t started, bool complete) {
  uint32_t memory[MEMINFO_WORDS] = {0};
  socklen_t length = sizeof memory;
  getsockopt(flow.fd, SOL_SOCKET, SO_MEMINFO, memory, &length);
  printf("{\"complete\":%s,\"seconds\":%.3f,\"sent\":%" PRIu64 ",\"sentBytes\":%" PRIu64,
         complete ? "true" : "false", (double)(now_ns() - started) / 1e9, out.datagrams, out.bytes);
  printf(",\"received\":%" PRIu64 ",\"receivedBytes\":%" PRIu64 ",\"highest\":%" PRIu64, in.datagrams,
         in.bytes, in.highest);
  printf(",\"overtaken\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"corrupted\":%" PRIu64, in.overtaken,
         in.duplicates, in.corrupted);
  printf(",\"socketDropped\":%" PRIu32 "}\n", memory[MEMINFO_DROPS]);
}

// True when both ends have sent everything, and nothing more comes.
static bool run(void) {
  int64_t now = now_ns();
  struct pollfd polls[2] = {{.fd = flow.fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
  out.next_ns = out.progress_ns = in.last_ns = now;
  for (unsigned farewells = 0;;) {
    now = now_ns();
    if (farewells == FAREWELLS && now - in.last_ns > SILENCE_NS) return true;
    int64_t until = now + SILENCE_NS;
    unsigned count = farewells < FAREWELLS ? may_send(now, &until) : 0;
    if (count > 0) {
      send_batch(count, now);
      if (out.done && in.done) farewells++;
      until = now;
    }
    int64_t wait = until - now;
    struct timespec timeout = {wait / 1000000000, wait % 1000000000};
    if (ppoll(polls, 2, &timeout, NULL) < 0 && errno != EINTR) fail("poll");
    char ignored;
    if (polls[1].revents != 0 && read(STDIN_FILENO, &ignored, 1) <= 0) return false;
    if (polls[0].revents != 0) receive_all(now_ns());
  }
}

static void open_socket(const char *local, const char *remote, uint16_t port) {
  int size = BUFFER_BYTES;
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
  flow.remote = here;
  if (inet_pton(AF_INET, local, &here.sin_addr) != 1) fail(local);
  if (inet_pton(AF_INET, remote, &flow.remote.sin_addr) != 1) fail(remote);
  flow.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (flow.fd < 0) fail("socket");
  if (setsockopt(flow.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0) fail("buffer");
  if (bind(flow.fd, (struct sockaddr *)&here, sizeof here) != 0) fail("bind");
}

int main(int argc, char **argv) {
  if (argc != 11) {
    fprintf(stderr, "usage: udp-flow LOCAL REMOTE PORT KEY a|b BYTES SECONDS MBIT WINDOW LONGEST\n");
    return 2;
  }
  uint64_t key = strtoull(argv[4], NULL, 10), is_b = argv[5][0] == 'b';
  flow.send_key[0] = flow.receive_key[0] = mix(key + 1);
  flow.send_key[1] = is_b;
  flow.receive_key[1] = !is_b;
  flow.bytes_wanted = strtoull(argv[6], NULL, 10);
  flow.ns_per_byte = 8e3 / strtod(argv[8], NULL);
  flow.window = strtoull(argv[9], NULL, 10);
  flow.longest = (uint32_t)strtoul(argv[10], NULL, 10);
  if (flow.longest < SHORTEST_BYTES || flow.longest > LONGEST_BYTES || flow.window < BATCH) return 2;
  in.seen = calloc(SEEN_BITS / 8, 1);
  if (in.seen == NULL) fail("memory");
  for (size_t i = 0; i < sizeof body / 8; i++) {
    uint64_t word = mix(key + i * 0x9e3779b97f4a7c15u);
    memcpy(body + 8 * i, &word, 8);
  }
  open_socket(argv[1], argv[2], (uint16_t)strtoul(argv[3], NULL, 10));
  printf("ready\n");
  fflush(stdout);
  char start;
  if (read(STDIN_FILENO, &start, 1) != 1) return 1;
  int64_t started = now_ns();
  flow.deadline_ns = started + (int64_t)(strtod(argv[7], NULL) * 1e9);
  bool complete = run();
  report(started, complete);
  return complete ? 0 : 1;
}
