// A relay's datagrams: grouped to runs on the way in, sent by UDP_SEGMENT from where they were received. No payload is copied: the header
// is skipped, or another one stands in its place, by the vectors of the send.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>

#include "relay.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static const uint32_t RELAY_MAGIC = 0x42555202;
static const uint32_t PROBE_MAGIC = 0x42555201;
enum { TYPE_DATA = 1, TYPE_DELIVERED = 2 };

// ---- in

// RELAY_*, or 0 for what is none of the relay protocol, or carries nothing.
static int kind_of(const uint8_t *bytes, size_t length) {
  if (length < RELAY_LEAST_HEADER || load_be32(bytes) != RELAY_MAGIC) return 0;
  if (bytes[5] != 0 || bytes[6] != 0 || bytes[7] != 0) return 0;
  if (bytes[4] != TYPE_DATA) return RELAY_CONTROL;
  if (length <= RELAY_DATA_HEADER) return 0;
  const uint8_t *payload = bytes + RELAY_DATA_HEADER;
  size_t left = length - RELAY_DATA_HEADER;
  if (left >= TRANSPORT_OVERHEAD && load_le32(payload) == KIND_TRANSPORT) return RELAY_BARE;
  if (left > RELAY_PROBE_BYTES && load_be32(payload) == PROBE_MAGIC) return RELAY_PROBE;
  return RELAY_WRAPPED;
}

static bool extends(const struct relay *relay, const int32_t *run, int kind, size_t offset) {
  return run[RELAY_KIND] == kind && (kind == RELAY_BARE || kind == RELAY_WRAPPED) &&
         (size_t)run[RELAY_OFFSET] + (size_t)run[RELAY_LENGTH] == offset &&
         memcmp(relay->in + run[RELAY_OFFSET], relay->in + offset, RELAY_DATA_HEADER) == 0;
}

// Adds a datagram of a message to the last run when it belongs there. Returns the new number of runs.
static int add(struct engine *engine, int runs, int first, const int32_t *message, size_t offset,
               size_t length, size_t segment) {
  struct relay *relay = engine->relay;
  const uint8_t *bytes = relay->in + offset;
  int kind = kind_of(bytes, length);
  if (kind == 0) {
    count(engine, COUNT_IN_UNKNOWN_KIND, 1);
    return runs;
  }
  int32_t *last = runs > first ? relay->runs + (size_t)(runs - 1) * RELAY_WORDS : NULL;
  if (last != NULL && extends(relay, last, kind, offset)) {
    last[RELAY_LENGTH] += (int32_t)length;
    last[RELAY_COUNT]++;
    return runs;
  }
  if (runs == RELAY_RUNS) {
    count(engine, COUNT_IN_BATCH_FULL, 1);
    return runs;
  }
  int32_t *run = relay->runs + (size_t)runs * RELAY_WORDS;
  memset(run, 0, RELAY_WORDS * sizeof *run);
  run[RELAY_OFFSET] = (int32_t)offset;
  run[RELAY_LENGTH] = (int32_t)length;
  run[RELAY_SEGMENT] = (int32_t)segment;
  run[RELAY_COUNT] = 1;
  run[RELAY_KIND] = kind;
  if (kind != RELAY_CONTROL) {
    run[RELAY_TOKEN] = (int32_t)load_le32(bytes + 8);
    run[RELAY_TOKEN + 1] = (int32_t)load_le32(bytes + 12);
    run[RELAY_DESTINATION] = (int32_t)load_le32(bytes + 16);
  }
  run[RELAY_FAMILY] = message[MESSAGE_FAMILY];
  run[RELAY_PORT] = message[MESSAGE_PORT];
  memcpy(run + RELAY_ADDRESS, message + MESSAGE_ADDRESS, 4 * sizeof *run);
  run[RELAY_PATH] = -1;
  return runs + 1;
}

int relay_group(struct engine *engine, int messages) {
  struct relay *relay = engine->relay;
  int runs = 0;
  for (int i = 0; i < messages && i < RELAY_SLOTS; i++) {
    const int32_t *message = relay->messages + i * MESSAGE_WORDS;
    size_t offset = (size_t)message[MESSAGE_OFFSET], left = (size_t)message[MESSAGE_LENGTH];
    size_t segment = (size_t)message[MESSAGE_SEGMENT];
    if (left > SUPER_PACKET_BYTES || offset + left > (size_t)RELAY_SLOTS * SLOT_BYTES) continue;
    if (segment == 0) segment = left;
    int first = runs;
    if (left == 0) count(engine, COUNT_IN_UNKNOWN_KIND, 1);
    while (left > 0) {
      size_t length = left < segment ? left : segment;
      runs = add(engine, runs, first, message, offset, length, segment);
      offset += length;
      left -= length;
    }
  }
  return runs;
}

int relay_receive(struct engine *engine, int socket, int *messages) {
  struct relay *relay = engine->relay;
  *messages = udp_receive_into(engine, socket, relay->in, relay->messages, RELAY_SLOTS);
  return *messages < 0 ? *messages : relay_group(engine, *messages);
}

// ---- out

enum { MAX_SENDS = 1024, MAX_PARTS = 4096, MAX_SHARES = 4096, CONTROL_BYTES = CMSG_SPACE(sizeof(uint16_t)) };

// Datagrams of a run that belong to one send.
struct share {
  const int32_t *run;
  int first, count;
  int next;  // share of the same send, or -1
};

struct relay_send {
  int path;
  size_t segment;  // of each datagram as it is sent, but for the last
  size_t used;
  int count;
  bool closed;
  int first, last;  // shares
};

struct relay_batch {
  unsigned stamp;  // tells what paths remember of this batch from what they do of others
  int sends, shares;
  struct relay_send send[MAX_SENDS];
  struct share share[MAX_SHARES];
  struct mmsghdr message[MAX_SENDS];
  struct iovec part[MAX_PARTS];
  _Alignas(struct cmsghdr) uint8_t control[MAX_SENDS][CONTROL_BYTES];
  uint8_t header[MAX_PARTS][RELAY_DELIVERED_HEADER];
};

struct relay *relay_new(void) {
  struct relay *relay = calloc(1, sizeof *relay);
  if (relay == NULL) return NULL;
  relay->batch = calloc(1, sizeof *relay->batch);
  if (relay->batch == NULL) {
    free(relay);
    return NULL;
  }
  relay->batch->stamp = 1;  // paths begin with 0
  return relay;
}

void relay_free(struct relay *relay) {
  if (relay == NULL) return;
  free(relay->batch);
  free(relay);
}

static size_t header_of(const int32_t *run) {
  return run[RELAY_KIND] == RELAY_BARE ? 0 : RELAY_DELIVERED_HEADER;
}

// Bytes of a datagram of a run as it is sent.
static size_t sent_size(const int32_t *run, int i) {
  size_t before = (size_t)i * (size_t)run[RELAY_SEGMENT], left = (size_t)run[RELAY_LENGTH] - before;
  size_t size = left < (size_t)run[RELAY_SEGMENT] ? left : (size_t)run[RELAY_SEGMENT];
  return size - RELAY_DATA_HEADER + header_of(run);
}

// The vectors of one datagram. Returns how many.
static int parts_of(const struct relay *relay, const int32_t *run, int i, struct iovec *parts, uint8_t *header) {
  size_t size = sent_size(run, i), own = header_of(run);
  uint8_t *payload = relay->in + run[RELAY_OFFSET] + (size_t)i * (size_t)run[RELAY_SEGMENT] + RELAY_DATA_HEADER;
  if (own == 0) {
    parts[0] = (struct iovec){payload, size};
    return 1;
  }
  store_be32(header, RELAY_MAGIC);
  store_le32(header + 4, TYPE_DELIVERED);
  store_le32(header + 8, (uint32_t)run[RELAY_FROM]);
  parts[0] = (struct iovec){header, own};
  parts[1] = (struct iovec){payload, size - own};
  return 2;
}

static struct mmsghdr *message_of(struct relay_batch *batch, int i, const struct path *path, size_t segment) {
  struct mmsghdr *message = &batch->message[i];
  *message = (struct mmsghdr){.msg_hdr = {.msg_name = (void *)(uintptr_t)&path->remote,
                                          .msg_namelen = path->remote_length}};
  if (segment > 0) {
    uint16_t value = (uint16_t)segment;
    message->msg_hdr.msg_control = batch->control[i];
    message->msg_hdr.msg_controllen = CONTROL_BYTES;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message->msg_hdr);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof value);
    memcpy(CMSG_DATA(header), &value, sizeof value);
  }
  return message;
}

static void send_singly(struct engine *engine, int fd, const struct relay_send *send) {
  struct relay_batch *batch = engine->relay->batch;
  struct path *path = engine_path(engine, send->path);
  for (int s = send->first; s >= 0; s = batch->share[s].next) {
    const struct share *share = &batch->share[s];
    for (int i = share->first; i < share->first + share->count; i++) {
      struct iovec parts[2];
      uint8_t header[RELAY_DELIVERED_HEADER];
      struct msghdr message = {.msg_name = &path->remote, .msg_namelen = path->remote_length, .msg_iov = parts};
      message.msg_iovlen = (size_t)parts_of(engine->relay, share->run, i, parts, header);
      count(engine, COUNT_OUT_SENDS, 1);
      if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) udp_count_failure(engine, errno, 1);
    }
  }
}

// Hands the kernel messages that are ready. One that it refuses does not stop those behind it.
static void flush(struct engine *engine, int fd, const struct relay_send *sends, int messages) {
  struct relay_batch *batch = engine->relay->batch;
  for (int done = 0; done < messages;) {
    int sent = sendmmsg(fd, batch->message + done, (unsigned)(messages - done), MSG_DONTWAIT | MSG_NOSIGNAL);
    count(engine, COUNT_OUT_SENDS, 1);
    if (sent > 0) {
      done += sent;
      continue;
    }
    if (errno == EINTR) continue;
    const struct relay_send *send = &sends[done++];
    int error = errno;
    if (send->count > 1 && udp_segment_refused(engine, engine_path(engine, send->path), error, send->segment)) {
      send_singly(engine, fd, send);
    } else {
      udp_count_failure(engine, error, (unsigned)send->count);
    }
  }
}

// The sink of relays: sends of one socket by sendmmsg, as many at once as there are vectors for.
static void transmit(struct engine *engine, const struct relay_send *sends, int total) {
  struct relay *relay = engine->relay;
  struct relay_batch *batch = relay->batch;
  int first = 0, parts = 0, fd = -1;
  for (int k = 0; k < total; k++) {
    const struct relay_send *send = &sends[k];
    struct path *path = engine_path(engine, send->path);
    int to = engine->sockets[path->socket].fd;
    if (k > first && (to != fd || parts + 2 * send->count > MAX_PARTS)) {
      flush(engine, fd, sends + first, k - first);
      first = k;
      parts = 0;
    }
    fd = to;
    struct mmsghdr *message = message_of(batch, k - first, path, send->count > 1 ? send->segment : 0);
    message->msg_hdr.msg_iov = batch->part + parts;
    for (int s = send->first; s >= 0; s = batch->share[s].next) {
      const struct share *share = &batch->share[s];
      for (int i = share->first; i < share->first + share->count; i++) {
        parts += parts_of(relay, share->run, i, batch->part + parts, batch->header[parts]);
      }
    }
    message->msg_hdr.msg_iovlen = (size_t)(batch->part + parts - message->msg_hdr.msg_iov);
  }
  if (total > first) flush(engine, fd, sends + first, total - first);
}

static void finish(struct engine *engine, relay_sink sink) {
  struct relay_batch *batch = engine->relay->batch;
  if (batch->sends > 0) sink(engine, batch->send, batch->sends);
  batch->sends = batch->shares = 0;
  batch->stamp++;
}

// The send of a path that more datagrams of this size may join, else a new one.
static struct relay_send *send_for(struct engine *engine, struct path *path, int slot, size_t size, int most) {
  struct relay_batch *batch = engine->relay->batch;
  if (path->relay_stamp == batch->stamp) {
    struct relay_send *send = &batch->send[path->relay_send];
    bool is_its = path->relay_send < batch->sends && send->path == slot && !send->closed;
    if (is_its && send->count < most && size <= send->segment && send->used + size <= MAX_SEND_BYTES) {
      return send;
    }
  }
  path->relay_stamp = batch->stamp;
  path->relay_send = batch->sends;
  struct relay_send *send = &batch->send[batch->sends++];
  *send = (struct relay_send){.path = slot, .segment = size, .first = -1, .last = -1};
  return send;
}

static void add_share(struct relay_batch *batch, struct relay_send *send, const int32_t *run, int first, int count) {
  int at = batch->shares++;
  batch->share[at] = (struct share){run, first, count, -1};
  if (send->last >= 0) batch->share[send->last].next = at;
  else send->first = at;
  send->last = at;
}

// Puts the datagrams of a run to sends.
static void plan(struct engine *engine, const int32_t *run, relay_sink sink) {
  struct relay_batch *batch = engine->relay->batch;
  int slot = run[RELAY_PATH], total = run[RELAY_COUNT];
  for (int at = 0; at < total;) {
    struct path *path = engine_path(engine, slot);
    size_t size = sent_size(run, at);
    int most = udp_may_segment(engine, path, size) ? MAX_SEGMENTS : 1;
    if (batch->sends == MAX_SENDS || batch->shares == MAX_SHARES) finish(engine, sink);
    struct relay_send *send = send_for(engine, path, slot, size, most);
    // The last datagram of a run may be shorter; it is a share of its own.
    int equal = sent_size(run, total - 1) == size || at == total - 1 ? total - at : total - 1 - at;
    size_t room = (MAX_SEND_BYTES - send->used) / size;
    int take = most - send->count < equal ? most - send->count : equal;
    if ((size_t)take > room) take = (int)room;
    if (size < send->segment) take = 1;
    add_share(batch, send, run, at, take);
    send->count += take;
    send->used += (size_t)take * size;
    if (size < send->segment) send->closed = true;
    at += take;
  }
}

// Whether what JavaScript put into a row can be sent as it says.
static bool sendable(struct engine *engine, const int32_t *run) {
  struct path *path = engine_path(engine, run[RELAY_PATH]);
  if (path == NULL || path->socket < 0 || path->socket >= MAX_SOCKETS || engine->sockets[path->socket].fd < 0) {
    return false;
  }
  int kind = run[RELAY_KIND], segment = run[RELAY_SEGMENT], length = run[RELAY_LENGTH], total = run[RELAY_COUNT];
  if ((kind != RELAY_BARE && kind != RELAY_WRAPPED) || run[RELAY_OFFSET] < 0 || total < 1) return false;
  if (segment <= RELAY_DATA_HEADER || length <= 0 || length > SUPER_PACKET_BYTES) return false;
  if ((size_t)run[RELAY_OFFSET] + (size_t)length > (size_t)RELAY_SLOTS * SLOT_BYTES) return false;
  // So many datagrams of that size, and the last of them has a payload.
  int64_t before = (int64_t)(total - 1) * segment;
  return length > before + RELAY_DATA_HEADER && length <= before + segment;
}

static void send_runs(struct engine *engine, int runs, relay_sink sink) {
  struct relay *relay = engine->relay;
  for (int i = 0; i < runs && i < RELAY_RUNS; i++) {
    const int32_t *run = relay->runs + (size_t)i * RELAY_WORDS;
    if (run[RELAY_PATH] < 0) continue;
    if (!sendable(engine, run)) {
      count(engine, COUNT_OUT_SEND_ERROR, run[RELAY_COUNT] > 0 ? run[RELAY_COUNT] : 1);
      continue;
    }
    count(engine, COUNT_OUT_PACKETS, run[RELAY_COUNT]);
    count(engine, COUNT_OUT_BYTES, (double)run[RELAY_LENGTH] - (double)run[RELAY_COUNT] * RELAY_DATA_HEADER);
    plan(engine, run, sink);
  }
  finish(engine, sink);
}

void relay_send_runs(struct engine *engine, int runs) { send_runs(engine, runs, transmit); }

// Where sends are collected instead of sent. One batch at a time, on one thread.
static _Thread_local struct {
  uint8_t *bytes;
  size_t size, used;
  int32_t *rows;
  int most, count;
} collected;

static void collect(struct engine *engine, const struct relay_send *sends, int total) {
  struct relay *relay = engine->relay;
  for (int k = 0; k < total; k++) {
    const struct relay_send *send = &sends[k];
    if (collected.count == collected.most || collected.used + send->used > collected.size) return;
    for (int s = send->first; s >= 0; s = relay->batch->share[s].next) {
      const struct share *share = &relay->batch->share[s];
      for (int i = share->first; i < share->first + share->count; i++) {
        struct iovec parts[2];
        uint8_t header[RELAY_DELIVERED_HEADER];
        int count = parts_of(relay, share->run, i, parts, header);
        for (int p = 0; p < count; p++) {
          memcpy(collected.bytes + collected.used, parts[p].iov_base, parts[p].iov_len);
          collected.used += parts[p].iov_len;
        }
      }
    }
    int32_t *row = collected.rows + 4 * (size_t)collected.count++;
    row[0] = send->path;
    row[1] = (int32_t)send->used;
    row[2] = (int32_t)send->segment;
    row[3] = send->count;
  }
}

int relay_send_into(struct engine *engine, int runs, uint8_t *bytes, size_t size, int32_t *rows, int most) {
  collected.bytes = bytes;
  collected.size = size;
  collected.used = 0;
  collected.rows = rows;
  collected.most = most;
  collected.count = 0;
  send_runs(engine, runs, collect);
  return collected.count;
}
