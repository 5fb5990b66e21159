// UDP sockets: runs of datagrams out by UDP_SEGMENT, merged datagrams in by UDP_GRO.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

// A burst of a gigabit link for 50 ms; the kernel clips it without the right to go beyond its limits.
static const int BUFFER_BYTES = 7 << 20;
// A route may change: after this long a path that refused UDP_SEGMENT is tried again.
static const int64_t SEGMENT_RETRY_MS = 60000;
// Messages received at once by whoever has most slots, a relay.
enum { MAX_BATCH = 64 };

static void set_buffers(int fd) {
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &BUFFER_BYTES, sizeof BUFFER_BYTES) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &BUFFER_BYTES, sizeof BUFFER_BYTES);
  }
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &BUFFER_BYTES, sizeof BUFFER_BYTES) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &BUFFER_BYTES, sizeof BUFFER_BYTES);
  }
}

static unsigned set_offloads(int fd, unsigned wanted) {
  unsigned have = 0;
  int off = 0, on = 1;
  if ((wanted & OFFLOAD_UDP_SEGMENT) != 0 &&
      setsockopt(fd, SOL_UDP, UDP_SEGMENT, &off, sizeof off) == 0) {
    have |= OFFLOAD_UDP_SEGMENT;
  }
  if ((wanted & OFFLOAD_UDP_GRO) != 0 && setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) == 0) {
    have |= OFFLOAD_UDP_GRO;
  }
  return have;
}

// The first of several binds alone, so that a port in use is noticed, even one in use by a program of the same kind.
static int bind_shared(int fd, const struct sockaddr *local, socklen_t length, int share) {
  int on = 1;
  if (share == SHARE_JOIN && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) return -1;
  if (bind(fd, local, length) != 0) return -1;
  return share == SHARE_FIRST ? setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) : 0;
}

// A free one for -1, else this one if it is free; or a negative errno.
static int free_index(const struct engine *engine, int index) {
  if (index < 0) {
    index = 0;
    while (index < MAX_SOCKETS && engine->sockets[index].fd >= 0) index++;
  }
  if (index >= MAX_SOCKETS) return -EMFILE;
  return engine->sockets[index].fd >= 0 ? -EEXIST : index;
}

static void never_cut_short(int fd, int family) {
  int on = 1, never = IP_PMTUDISC_DONT;
  // Routers may fragment: better than a black hole where ICMP is filtered.
  if (family == AF_INET) setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &never, sizeof never);
  setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
}

static int bound_port(int fd) {
  struct sockaddr_storage bound;
  socklen_t length = sizeof bound;
  if (getsockname(fd, (struct sockaddr *)&bound, &length) != 0) return -errno;
  if (bound.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
  return bound.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&bound)->sin_port) : -EAFNOSUPPORT;
}

int udp_open(struct engine *engine, const struct sockaddr *local, socklen_t length, unsigned wanted,
             int share, int index, int *port) {
  index = free_index(engine, index);
  if (index < 0) return index;
  int fd = socket(local->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  int on = 1;
  if (local->sa_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  never_cut_short(fd, local->sa_family);
  set_buffers(fd);
  *port = bind_shared(fd, local, length, share) != 0 ? -errno : bound_port(fd);
  if (*port < 0) {
    close(fd);
    return *port;
  }
  engine->sockets[index] = (struct udp_socket){.fd = fd, .family = local->sa_family,
                                               .offloads = set_offloads(fd, wanted)};
  return index;
}

int udp_descriptor(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct sockaddr_in any = {.sin_family = AF_INET};
  if (bind(fd, (struct sockaddr *)&any, sizeof any) == 0) return fd;
  int error = errno;
  close(fd);
  return -error;
}

int udp_adopt(struct engine *engine, int descriptor, unsigned wanted, int index, int *port) {
  index = free_index(engine, index);
  if (index < 0) return index;
  int family = 0, type = 0;
  socklen_t size = sizeof family;
  if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return -errno;
  size = sizeof family;
  if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return -errno;
  if (type != SOCK_DGRAM || (family != AF_INET && family != AF_INET6)) return -EPROTOTYPE;
  *port = bound_port(descriptor);
  if (*port < 0) return *port;
  int fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return -errno;
  never_cut_short(fd, family);
  set_buffers(fd);
  engine->sockets[index] =
      (struct udp_socket){.fd = fd, .family = family, .offloads = set_offloads(fd, wanted)};
  return index;
}

void udp_close(struct engine *engine, int index) {
  if (index < 0 || index >= MAX_SOCKETS || engine->sockets[index].fd < 0) return;
  close(engine->sockets[index].fd);
  engine->sockets[index].fd = -1;
}

static int64_t coarse_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static ssize_t send_bytes(int fd, const struct path *path, const uint8_t *bytes, size_t size,
                          size_t segment) {
  struct iovec part = {(void *)(uintptr_t)bytes, size};
  _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
  struct msghdr message = {.msg_name = (void *)(uintptr_t)&path->remote,
                           .msg_namelen = path->remote_length,
                           .msg_iov = &part,
                           .msg_iovlen = 1};
  if (segment > 0) {
    uint16_t value = (uint16_t)segment;
    memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof value);
    memcpy(CMSG_DATA(header), &value, sizeof value);
  }
  ssize_t sent;
  do {
    sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

void udp_count_failure(struct engine *engine, int error, unsigned datagrams) {
  bool full = error == EAGAIN || error == ENOBUFS;
  count(engine, full ? COUNT_OUT_SOCKET_FULL : COUNT_OUT_SEND_ERROR, datagrams);
}

static void send_singly(struct engine *engine, int fd, const struct path *path, const struct run *run) {
  for (size_t at = 0; at < run->used; at += run->segment) {
    size_t size = run->used - at < run->segment ? run->used - at : run->segment;
    count(engine, COUNT_OUT_SENDS, 1);
    if (send_bytes(fd, path, run->buffer + at, size, 0) < 0) udp_count_failure(engine, errno, 1);
  }
}

bool udp_may_segment(struct engine *engine, struct path *path, size_t segment) {
  if ((engine->sockets[path->socket].offloads & OFFLOAD_UDP_SEGMENT) == 0) return false;
  if (path->segment_retry_ms != 0 && coarse_ms() >= path->segment_retry_ms) {
    path->segment_retry_ms = 0;
    path->segment_limit = MAX_SEND_BYTES;
  }
  return segment <= path->segment_limit;
}

// UDP_SEGMENT may be refused by the device (EIO: it computes no checksums) or for this size (EINVAL, EMSGSIZE: larger
// than the MTU). Then the run is sent one by one, and runs like it from then on.
bool udp_segment_refused(struct engine *engine, struct path *path, int error, size_t segment) {
  if (error != EIO && error != EINVAL && error != EMSGSIZE) return false;
  count(engine, COUNT_OUT_GSO_REFUSED, 1);
  path->segment_limit = error == EIO ? 0 : segment - 1;
  path->segment_retry_ms = coarse_ms() + SEGMENT_RETRY_MS;
  return true;
}

void udp_send_run(struct engine *engine, struct run *run) {
  struct path *path = engine_path(engine, run->path);
  if (path == NULL || path->socket < 0 || path->socket >= MAX_SOCKETS) return;
  struct udp_socket *socket = &engine->sockets[path->socket];
  if (socket->fd < 0) {
    count(engine, COUNT_OUT_SEND_ERROR, run->count);
    return;
  }
  if (run->count <= 1 || !udp_may_segment(engine, path, run->segment)) {
    send_singly(engine, socket->fd, path, run);
    return;
  }
  count(engine, COUNT_OUT_SENDS, 1);
  if (send_bytes(socket->fd, path, run->buffer, run->used, run->segment) >= 0) return;
  int error = errno;
  if (udp_segment_refused(engine, path, error, run->segment)) {
    send_singly(engine, socket->fd, path, run);
  } else {
    udp_count_failure(engine, error, run->count);
  }
}

// Data is sent without DF; a probe of the path MTU is not, and ignores what the kernel remembers of the path.
static void set_fragmenting(const struct udp_socket *socket, bool allowed) {
  int v4 = allowed ? IP_PMTUDISC_DONT : IP_PMTUDISC_PROBE;
  int v6 = allowed ? IPV6_PMTUDISC_WANT : IPV6_PMTUDISC_PROBE;
  if (socket->family == AF_INET6) {
    setsockopt(socket->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof v6);
  } else {
    setsockopt(socket->fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof v4);
  }
}

bool udp_send_one(struct engine *engine, int index, const struct sockaddr *remote, socklen_t length,
                  const uint8_t *bytes, size_t size, int ttl, bool whole) {
  if (index < 0 || index >= MAX_SOCKETS || engine->sockets[index].fd < 0) return false;
  struct udp_socket *socket = &engine->sockets[index];
  if (remote->sa_family != socket->family) return false;
  struct iovec part = {(void *)(uintptr_t)bytes, size};
  _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof ttl)];
  struct msghdr message = {.msg_name = (void *)(uintptr_t)remote, .msg_namelen = length,
                           .msg_iov = &part, .msg_iovlen = 1};
  if (ttl > 0) {
    memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = socket->family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    header->cmsg_type = socket->family == AF_INET6 ? IPV6_HOPLIMIT : IP_TTL;
    header->cmsg_len = CMSG_LEN(sizeof ttl);
    memcpy(CMSG_DATA(header), &ttl, sizeof ttl);
  }
  if (whole) set_fragmenting(socket, false);
  bool sent = sendmsg(socket->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
  if (whole) set_fragmenting(socket, true);
  return sent;
}

// Size of the merged datagrams (absent: there is one) and the drop count, a running total of the socket.
static size_t read_control(struct engine *engine, struct udp_socket *socket, struct msghdr *message) {
  size_t segment = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO && c->cmsg_len >= CMSG_LEN(sizeof(int))) {
      int value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      if (value > 0) segment = (size_t)value;
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL &&
               c->cmsg_len >= CMSG_LEN(sizeof(uint32_t))) {
      uint32_t total;
      memcpy(&total, CMSG_DATA(c), sizeof total);
      count(engine, COUNT_IN_OVERFLOW, (double)(uint32_t)(total - socket->overflow));
      socket->overflow = total;
    }
  }
  return segment;
}

static void describe(int32_t *row, int slot, size_t length, size_t segment,
                     const struct sockaddr_storage *from) {
  memset(row, 0, MESSAGE_WORDS * sizeof *row);
  row[MESSAGE_OFFSET] = slot * SLOT_BYTES;
  row[MESSAGE_LENGTH] = (int32_t)length;
  row[MESSAGE_SEGMENT] = (int32_t)(segment == 0 ? length : segment);
  if (from->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    row[MESSAGE_FAMILY] = 4;
    row[MESSAGE_PORT] = ntohs(v4->sin_port);
    address_words(row + MESSAGE_ADDRESS, (const uint8_t *)&v4->sin_addr, 4);
  } else {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
    row[MESSAGE_FAMILY] = 6;
    row[MESSAGE_PORT] = ntohs(v6->sin6_port);
    address_words(row + MESSAGE_ADDRESS, (const uint8_t *)&v6->sin6_addr, 6);
  }
}

int udp_receive_into(struct engine *engine, int index, uint8_t *slots, int32_t *rows, int most) {
  if (index < 0 || index >= MAX_SOCKETS || engine->sockets[index].fd < 0) return 0;
  struct udp_socket *socket = &engine->sockets[index];
  struct mmsghdr messages[MAX_BATCH];
  struct iovec parts[MAX_BATCH];
  struct sockaddr_storage from[MAX_BATCH];
  _Alignas(struct cmsghdr) uint8_t control[MAX_BATCH][64];
  if (most > MAX_BATCH) most = MAX_BATCH;
  for (int i = 0; i < most; i++) {
    parts[i] = (struct iovec){slots + (size_t)i * SLOT_BYTES, SUPER_PACKET_BYTES};
    messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i], .msg_namelen = sizeof from[i],
                                               .msg_iov = &parts[i], .msg_iovlen = 1,
                                               .msg_control = control[i],
                                               .msg_controllen = sizeof control[i]}};
  }
  int got = recvmmsg(socket->fd, messages, (unsigned)most, MSG_DONTWAIT, NULL);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  for (int i = 0; i < got; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    size_t segment = read_control(engine, socket, message);
    size_t length = messages[i].msg_len;
    if ((message->msg_flags & MSG_TRUNC) != 0) {
      count(engine, COUNT_IN_TRUNCATED, 1);
      length = 0;
    }
    describe(rows + i * MESSAGE_WORDS, i, length, segment, &from[i]);
  }
  count(engine, COUNT_IN_MESSAGES, got);
  return got;
}

int udp_receive(struct engine *engine, int index) {
  return udp_receive_into(engine, index, engine->in, engine->messages, MAX_SLOTS);
}
