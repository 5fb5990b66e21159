// A line with faults: passes frames between two interfaces of its namespace, impaired as told.
//
//   impairment-router HOST-DEVICE CORE-DEVICE SEED
//
// Prints `ready`, then answers each line of standard input by one on standard output, and ends when its input does:
//
//   ID in|out NAME=VALUE …   →  ID ok | ID error: TEXT      replaces all settings of a direction (names: policy.c)
//   ID counters              →  ID {"in":{…},"out":{…}}
//
// `out` is what comes from the host, `in` what goes to it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "frame.h"
#include "hold.h"
#include "policy.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum {
  BATCH = 64,
  // Of one interface before the other has its turn.
  BATCHES_PER_TURN = 4,
  // What arrives while this program does not run: 50 ms of a gigabit link, kernel overhead included.
  BUFFER_BYTES = 32 << 20,
};

#define COUNTERS(X)                                                                               \
  X(received, "received")              /* from the interface */                                   \
  X(sent, "sent")                      /* to the other one */                                     \
  X(unimpaired, "unimpaired")          /* of those: ARP and neighbour discovery */                \
  X(lost, "lost")                      /* one by one */                                           \
  X(lost_in_bursts, "lostInBursts")                                                               \
  X(corrupted, "corrupted")                                                                       \
  X(duplicated, "duplicated")          /* came twice */                                           \
  X(reordered, "reordered")            /* held back */                                            \
  X(queue_dropped, "queueDropped")     /* no room in front of the bottleneck */                   \
  X(pool_dropped, "poolDropped")       /* too many on the way */                                  \
  X(too_long, "tooLong")               /* a super-packet: an offload is on */                     \
  X(missed, "missed")                  /* not read in time: this program was too slow */          \
  X(send_failed, "sendFailed")         /* the other interface is down */

struct counters {
#define FIELD(name, text) uint64_t name;
  COUNTERS(FIELD)
#undef FIELD
};

struct direction {
  const char *name;
  int from_fd, to_fd;
  struct line line;
  struct hold hold;
  struct counters counters;
};

static struct pool pool;
static struct direction directions[2] = {{.name = "out"}, {.name = "in"}};

static int open_device(const char *name) {
  int on = 1, size = BUFFER_BYTES;
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("packet socket");
  // Without it everything would come back that is sent here.
  if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) != 0) fail("own packets");
  if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0) fail("queue bypass");
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0) fail("receive buffer");
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0) fail("send buffer");
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  address.sll_ifindex = (int)if_nametoindex(name);
  if (address.sll_ifindex == 0) fail(name);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail(name);
  return fd;
}

static void accept_frame(struct direction *way, slot taken, uint32_t bytes, int64_t now) {
  struct counters *count = &way->counters;
  uint8_t *frame = pool.frames[taken];
  count->received++;
  if (!frame_is_impaired(frame, bytes)) {
    count->unimpaired++;
    hold_push(&way->hold, now, taken, bytes);
    return;
  }
  struct verdict verdict = line_decide(&way->line, now, bytes);
  switch (verdict.fate) {
    case FATE_LOST: count->lost++; break;
    case FATE_LOST_IN_BURST: count->lost_in_bursts++; break;
    case FATE_QUEUE_FULL: count->queue_dropped++; break;
    case FATE_CORRUPT:
      if (frame_corrupt(frame, bytes, line_random(&way->line))) count->corrupted++;
      break;
    case FATE_DUPLICATE: {
      slot copy;
      if (!pool_take(&pool, &copy)) {
        count->pool_dropped++;
        break;
      }
      memcpy(pool.frames[copy], frame, bytes);
      count->duplicated++;
      count->reordered += verdict.held_back[1];
      hold_push(&way->hold, verdict.due_ns[1], copy, bytes);
      break;
    }
    case FATE_PASS: break;
  }
  if (verdict.copies == 0) {
    pool_give_back(&pool, taken);
    return;
  }
  count->reordered += verdict.held_back[0];
  hold_push(&way->hold, verdict.due_ns[0], taken, bytes);
}

// Reads one batch; false when there is nothing more.
static bool receive_batch(struct direction *way) {
  static uint8_t discarded[FRAME_BYTES];
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  slot slots[BATCH];
  unsigned wanted = 0;
  while (wanted < BATCH && pool_take(&pool, &slots[wanted])) {
    vectors[wanted] = (struct iovec){pool.frames[slots[wanted]], FRAME_BYTES};
    messages[wanted].msg_hdr = (struct msghdr){.msg_iov = &vectors[wanted], .msg_iovlen = 1};
    wanted++;
  }
  if (wanted == 0) {
    if (recv(way->from_fd, discarded, sizeof discarded, 0) < 0) return false;
    way->counters.received++;
    way->counters.pool_dropped++;
    return true;
  }
  // An interface that is down is an error once, then silent: the line waits for it.
  int got = recvmmsg(way->from_fd, messages, wanted, 0, NULL);
  int64_t now = now_ns();
  for (int i = 0; i < got; i++) {
    if ((messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
      way->counters.received++;
      way->counters.too_long++;
      pool_give_back(&pool, slots[i]);
    } else {
      accept_frame(way, slots[i], messages[i].msg_len, now);
    }
  }
  for (unsigned i = got > 0 ? (unsigned)got : 0; i < wanted; i++) pool_give_back(&pool, slots[i]);
  return got == BATCH;
}

// Sends one batch of what is due; false when there is nothing more.
static bool send_batch(struct direction *way, int64_t now) {
  struct mmsghdr messages[BATCH] = {0};
  struct iovec vectors[BATCH];
  slot slots[BATCH];
  unsigned count = 0, done = 0;
  while (count < BATCH && way->hold.count > 0 && hold_first(&way->hold)->due_ns <= now) {
    struct held due = hold_pop(&way->hold);
    slots[count] = due.slot;
    vectors[count] = (struct iovec){pool.frames[due.slot], due.bytes};
    messages[count].msg_hdr = (struct msghdr){.msg_iov = &vectors[count], .msg_iovlen = 1};
    count++;
  }
  while (done < count) {
    int sent = sendmmsg(way->to_fd, messages + done, count - done, 0);
    if (sent > 0) {
      way->counters.sent += (unsigned)sent;
      done += (unsigned)sent;
    } else {
      // A line holds nothing up: what cannot leave now is gone.
      way->counters.send_failed++;
      done++;
    }
  }
  for (unsigned i = 0; i < count; i++) pool_give_back(&pool, slots[i]);
  return count == BATCH;
}

static void count_missed(struct direction *way) {
  struct tpacket_stats stats;
  socklen_t length = sizeof stats;
  // Reading them sets them to zero.
  if (getsockopt(way->from_fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0) {
    way->counters.missed += stats.tp_drops;
  }
}

static void print_counters(const char *id) {
  printf("%s {", id);
  for (int i = 0; i < 2; i++) {
    struct direction *way = &directions[i];
    count_missed(way);
    printf("%s\"%s\":{\"held\":%" PRIu32, i == 0 ? "" : ",", way->name, way->hold.count);
#define PRINT(name, text) printf(",\"%s\":%" PRIu64, text, way->counters.name);
    COUNTERS(PRINT)
#undef PRINT
    printf("}");
  }
  printf("}\n");
}

static void obey(char *command) {
  char *rest = NULL;
  const char *id = strtok_r(command, " ", &rest), *verb = strtok_r(NULL, " ", &rest);
  if (id == NULL) return;
  if (verb != NULL && strcmp(verb, "counters") == 0) {
    print_counters(id);
    return;
  }
  for (int i = 0; i < 2; i++) {
    if (verb == NULL || strcmp(verb, directions[i].name) != 0) continue;
    const char *wrong = line_set(&directions[i].line, rest);
    if (wrong == NULL) printf("%s ok\n", id);
    else printf("%s error: %s\n", id, wrong);
    return;
  }
  printf("%s error: no command %s\n", id, verb == NULL ? "" : verb);
}

static void run(void) {
  struct pollfd polls[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
                            {.fd = directions[0].from_fd, .events = POLLIN},
                            {.fd = directions[1].from_fd, .events = POLLIN}};
  for (;;) {
    int64_t now = now_ns(), next = INT64_MAX;
    for (int i = 0; i < 2; i++) {
      for (int n = 0; n < BATCHES_PER_TURN && send_batch(&directions[i], now); n++) {}
      if (directions[i].hold.count > 0 && hold_first(&directions[i].hold)->due_ns < next) {
        next = hold_first(&directions[i].hold)->due_ns;
      }
    }
    int64_t wait = next > now ? next - now : 0;
    struct timespec timeout = {wait / NS_PER_SECOND, wait % NS_PER_SECOND};
    if (ppoll(polls, 3, next == INT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR) fail("poll");
    if (polls[0].revents != 0) read_commands(obey);
    for (int i = 0; i < 2; i++) {
      if (polls[i + 1].revents == 0) continue;
      for (int n = 0; n < BATCHES_PER_TURN && receive_batch(&directions[i]); n++) {}
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: impairment-router HOST-DEVICE CORE-DEVICE SEED\n");
    return 2;
  }
  if (!pool_open(&pool) || !hold_open(&directions[0].hold) || !hold_open(&directions[1].hold)) {
    fail("memory");
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  // Delays are exact to the microsecond, not to the 50 that timers are given by default.
  prctl(PR_SET_TIMERSLACK, 1);
  int host = open_device(argv[1]), core = open_device(argv[2]);
  uint64_t seed = strtoull(argv[3], NULL, 10);
  for (int i = 0; i < 2; i++) {
    directions[i].from_fd = i == 0 ? host : core;
    directions[i].to_fd = i == 0 ? core : host;
    // Of its own for each direction: what one does not disturb the other.
    line_seed(&directions[i].line, seed * 2 + (uint64_t)i);
  }
  printf("ready\n");
  run();
}
