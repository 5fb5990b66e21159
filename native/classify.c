// Tells the kinds of datagrams apart and splits what UDP_GRO merged: the kernel merges any datagrams of one address
// pair, so every one of them is looked at.
#include "engine.h"

static const uint32_t STUN_MAGIC_COOKIE = 0x2112a442;  // RFC 8489 section 5
static const uint32_t BURI_MAGIC = 0x42555201;   // probes
static const uint32_t RELAY_MAGIC = 0x42555202;  // what relays say, and what they deliver under a header

// KIND_*, or 0 for none. WireGuard first: its types with a fitting size are never STUN or ours.
static int kind_of(const uint8_t *bytes, size_t length) {
  if (length < 4) return 0;
  switch (load_le32(bytes)) {
    case KIND_INITIATION: if (length == 148) return KIND_INITIATION; break;
    case KIND_RESPONSE: if (length == 92) return KIND_RESPONSE; break;
    case KIND_COOKIE: if (length == 64) return KIND_COOKIE; break;
    case KIND_TRANSPORT: if (length >= TRANSPORT_OVERHEAD) return KIND_TRANSPORT; break;
    default: break;
  }
  if (length >= 20 && bytes[0] < 0x40 && load_be32(bytes + 4) == STUN_MAGIC_COOKIE) return KIND_STUN;
  uint32_t magic = load_be32(bytes);
  return magic == BURI_MAGIC || magic == RELAY_MAGIC ? KIND_BURI : 0;
}

// Adds a datagram to the last run when it belongs there. Returns the new number of runs.
static int add(struct engine *engine, int runs, int first, int message, size_t offset, size_t length,
               size_t segment) {
  const uint8_t *bytes = engine->in + offset;
  int kind = kind_of(bytes, length);
  if (kind == 0) {
    count(engine, COUNT_IN_UNKNOWN_KIND, 1);
    return runs;
  }
  int32_t index = kind == KIND_TRANSPORT ? (int32_t)load_le32(bytes + 4) : 0;
  int32_t *last = runs > first ? engine->runs + (runs - 1) * RUN_WORDS : NULL;
  if (last != NULL && kind == KIND_TRANSPORT && last[RUN_KIND] == KIND_TRANSPORT &&
      last[RUN_INDEX] == index && (size_t)(last[RUN_OFFSET] + last[RUN_LENGTH]) == offset) {
    last[RUN_LENGTH] += (int32_t)length;
    return runs;
  }
  if (runs == MAX_RUNS) {
    count(engine, COUNT_IN_BATCH_FULL, 1);
    return runs;
  }
  int32_t *run = engine->runs + runs * RUN_WORDS;
  run[RUN_MESSAGE] = message;
  run[RUN_OFFSET] = (int32_t)offset;
  run[RUN_LENGTH] = (int32_t)length;
  run[RUN_SEGMENT] = (int32_t)segment;
  run[RUN_KIND] = kind;
  run[RUN_INDEX] = index;
  run[RUN_KEY] = -1;
  run[RUN_AUTHENTIC] = run[RUN_KEEPALIVES] = run[RUN_BYTES] = 0;
  return runs + 1;
}

int classify(struct engine *engine, int messages) {
  int runs = 0;
  for (int i = 0; i < messages && i < MAX_SLOTS; i++) {
    const int32_t *message = engine->messages + i * MESSAGE_WORDS;
    size_t offset = (size_t)message[MESSAGE_OFFSET], left = (size_t)message[MESSAGE_LENGTH];
    size_t segment = (size_t)message[MESSAGE_SEGMENT];
    if (left > SUPER_PACKET_BYTES || offset + left > (size_t)MAX_SLOTS * SLOT_BYTES) continue;
    if (segment == 0) segment = left;
    int first = runs;
    if (left == 0) count(engine, COUNT_IN_UNKNOWN_KIND, 1);
    while (left > 0) {
      size_t length = left < segment ? left : segment;
      runs = add(engine, runs, first, i, offset, length, segment);
      offset += length;
      left -= length;
    }
  }
  return runs;
}
