// libFuzzer target over the byte work: the first byte chooses a direction, the rest is what a hostile device or peer
// delivers. Build and run: scripts in native/README.md. Nothing may crash, read or write out of bounds, or overflow.
#include <assert.h>
#include <stdlib.h>

#include "../engine.h"

enum { IN_BYTES = MAX_SLOTS * SLOT_BYTES };

static struct engine *engine;
static struct key *sender;
static uint64_t sent_bytes;

static void setup(void) {
  engine = engine_new();
  engine->in = calloc(1, IN_BYTES);
  engine->run.buffer = calloc(1, SUPER_PACKET_BYTES);
  engine->items = calloc(MAX_ITEMS * ITEM_WORDS, 4);
  engine->messages = calloc(MAX_SLOTS * MESSAGE_WORDS, 4);
  engine->runs = calloc(MAX_RUNS * RUN_WORDS, 4);
  engine->units = calloc(MAX_UNITS * UNIT_WORDS, 4);
  engine->pieces = calloc(MAX_PIECES * PIECE_WORDS, 4);
  engine->counters = calloc(COUNT_TOTAL, sizeof(double));
  engine->keys = calloc(1, sizeof *engine->keys);
  engine->key_slots = 1;
  engine->paths = calloc(1, sizeof *engine->paths);
  engine->path_slots = 1;
  engine->paths[0] = (struct path){.set = true, .prefix_length = 12};
}

static void new_keys(void) {
  static const uint8_t ONE[KEY_BYTES] = {1}, TWO[KEY_BYTES] = {2};
  key_free(engine->keys[0]);
  key_free(sender);
  engine->keys[0] = key_new(SUITE_CHACHA20_POLY1305, 7, ONE, TWO, NULL);
  sender = key_new(SUITE_CHACHA20_POLY1305, 7, TWO, ONE, NULL);
}

// Runs are what the kernel is given: equal sizes but for the last, within its bounds.
static void check_run(struct engine *of, struct run *run) {
  (void)of;
  assert(run->count >= 1 && run->count <= MAX_SEGMENTS && run->used <= MAX_SEND_BYTES);
  assert(run->segment * (run->count - 1) < run->used && run->used <= run->segment * run->count);
  sent_bytes += run->used;
}

// 12 bytes of virtio-net header and MTU, then the packet, in a buffer that is exactly long enough.
static void fuzz_out(const uint8_t *data, size_t size) {
  if (size < 13) return;
  size_t length = size - 12;
  int32_t *item = engine->items;
  memset(item, 0, ITEM_WORDS * 4);
  // Mostly a path that some of it does not fit through.
  engine->mtu = load_be16(data + 10);
  engine->paths[0].mtu = data[10] % 4 == 0 ? 0 : LEAST_PATH_MTU + (size_t)data[11] * 4;
  engine->out_length = length + PACKET_GAP_BYTES;
  item[ITEM_LENGTH] = (int32_t)length;
  item[ITEM_FLAGS] = data[0];
  item[ITEM_GSO_TYPE] = data[1];
  item[ITEM_GSO_SIZE] = load_be16(data + 2);
  item[ITEM_CSUM_START] = load_be16(data + 4);
  item[ITEM_CSUM_OFFSET] = load_be16(data + 6);
  engine->out = malloc(engine->out_length);
  memcpy(engine->out, data + 12, length);
  seal_items(engine, 1, check_run);
  free(engine->out);
  engine->out = NULL;
}

// Datagrams as they are, and, when `sealed`, the same bytes as inner packets of authentic datagrams.
static void fuzz_in(const uint8_t *data, size_t size, bool sealed) {
  if (size < 3) return;
  size_t at = 0, segment = (size_t)load_be16(data) % 2000 + 1;
  int messages = 0;
  engine->device.offloads = data[2];
  data += 3;
  size -= 3;
  for (; messages < MAX_SLOTS && size > 0; messages++) {
    size_t part = size < segment * 3 ? size : segment * 3, done = 0;
    uint8_t *slot = engine->in + (size_t)messages * SLOT_BYTES;
    for (size_t i = 0; i < part; i += segment) {
      size_t length = part - i < segment ? part - i : segment;
      if (sealed) transport_seal(sender, slot + done, data + i, length);
      else memcpy(slot + done, data + i, length);
      done += length + (sealed ? TRANSPORT_OVERHEAD : 0);
    }
    int32_t *row = engine->messages + messages * MESSAGE_WORDS;
    row[MESSAGE_OFFSET] = messages * SLOT_BYTES;
    row[MESSAGE_LENGTH] = (int32_t)done;
    row[MESSAGE_SEGMENT] = (int32_t)(segment + (sealed ? TRANSPORT_OVERHEAD : 0));
    data += part;
    size -= part;
  }
  int runs = classify(engine, messages);
  for (int i = 0; i < runs; i++) engine->runs[i * RUN_WORDS + RUN_KEY] = 0;
  int units = open_runs(engine, runs);
  for (int i = 0; i < units; i++) {
    const int32_t *unit = engine->units + i * UNIT_WORDS;
    size_t total = 0;
    int pieces = 0;
    for (at = (size_t)unit[UNIT_FIRST]; (int32_t)at >= 0; pieces++) {
      const int32_t *piece = engine->pieces + at * PIECE_WORDS;
      assert(piece[PIECE_OFFSET] >= 0 && piece[PIECE_LENGTH] > 0);
      assert((size_t)piece[PIECE_OFFSET] + (size_t)piece[PIECE_LENGTH] <= IN_BYTES);
      total += (size_t)piece[PIECE_LENGTH];
      at = (size_t)(int64_t)piece[PIECE_NEXT];
    }
    assert(pieces == unit[UNIT_PIECES] && pieces <= MAX_SEGMENTS && total <= 65575);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (engine == NULL) setup();
  if (size < 1) return 0;
  new_keys();
  if (data[0] % 3 == 0) fuzz_out(data + 1, size - 1);
  else fuzz_in(data + 1, size - 1, data[0] % 3 == 2);
  return 0;
}
