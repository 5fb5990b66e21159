// libFuzzer target: packets of the device are cut, sealed and put into runs (script.h has the input). What was sealed has to open to the
// packets, and what may be for several peers has to lie there afterwards as before.
#include "script.h"

enum { GSO_NONE = 0, GSO_UDP_L4 = 5, GSO_ECN = 0x80, FLAG_NEEDS_CSUM = 1 };

static struct engine *engine;
static struct key *other[KEYS];
// Of the batch: bytes of inner packets that came out of runs, and datagrams.
static size_t opened_bytes, opened;
// The only item of the batch, when nothing may become of it but itself.
static const uint8_t *whole;
static size_t whole_length;

static void open_datagram(uint8_t *datagram, size_t length, int path) {
  require(transport_open(other[path], datagram, length) == OPEN_OK, "a sealed packet does not open");
  size_t inner = length - TRANSPORT_OVERHEAD;
  if (whole != NULL) {
    require(inner >= whole_length && inner < whole_length + 16, "padded by too little or too much");
    require(memcmp(datagram + TRANSPORT_HEADER, whole, whole_length) == 0, "opens to something else");
    for (size_t i = whole_length; i < inner; i++) {
      require(datagram[TRANSPORT_HEADER + i] == 0, "padding is not zero");
    }
  }
  opened_bytes += inner;
  opened++;
}

// Runs are what the kernel is given: equal sizes but for the last, within its bounds.
static void take_run(struct engine *of, struct run *run) {
  require(of == engine && run->path >= 0 && run->path < KEYS, "a run of no path");
  require(run->count >= 1 && run->count <= MAX_SEGMENTS && run->used <= MAX_SEND_BYTES, "a run is too large");
  require(run->segment * (run->count - 1) < run->used && run->used <= run->segment * run->count,
          "a run is not of equal sizes");
  const struct path *path = &engine->paths[run->path];
  uint8_t *copy = malloc(run->used);
  memcpy(copy, run->buffer, run->used);
  for (size_t at = 0; at < run->used; at += run->segment) {
    size_t length = run->used - at < run->segment ? run->used - at : run->segment;
    require(length >= path->prefix_length + TRANSPORT_OVERHEAD, "a datagram is too short");
    require(memcmp(copy + at, path->prefix, path->prefix_length) == 0, "the prefix is missing");
    open_datagram(copy + at + path->prefix_length, length - path->prefix_length, run->path);
  }
  free(copy);
}

static bool is_plain(const int32_t *item) { return item[ITEM_GSO_TYPE] == GSO_NONE; }

static bool is_sealed_again(const int32_t *item) {
  return is_plain(item) || item[ITEM_LINK] > 0 || (item[ITEM_GSO_TYPE] & ~GSO_ECN) == GSO_UDP_L4;
}

static void seal_batch(int items, size_t length, bool complete) {
  // Exactly as long as it has to be.
  uint8_t *place = malloc(length);
  memcpy(place, engine->out, length);
  free(engine->out);
  engine->out = place;
  engine->out_length = length;
  if (complete) complete_items(engine, items);
  const int32_t *first = engine->items;
  uint8_t *before = malloc(length);
  memcpy(before, engine->out, length);
  bool alone = items == 1 && is_plain(first) && (first[ITEM_FLAGS] & FLAG_NEEDS_CSUM) == 0;
  // Neither cut nor its MSS lowered.
  if (alone && engine->paths[first[ITEM_PATH]].mtu == 0) {
    whole = before + first[ITEM_OFFSET];
    whole_length = (size_t)first[ITEM_LENGTH];
  }
  opened_bytes = opened = 0;
  seal_items(engine, items, take_run);
  whole = NULL;
  size_t sealed = 0, bytes = 0;
  for (int i = 0; i < items; i++) {
    const int32_t *item = engine->items + i * ITEM_WORDS;
    sealed += (size_t)item[ITEM_SEALED];
    bytes += (size_t)item[ITEM_BYTES];
    if ((item[ITEM_FLAGS] & FLAG_NEEDS_CSUM) != 0 || !is_sealed_again(item)) continue;
    if (is_plain(item) && engine->paths[item[ITEM_PATH] < 0 ? 0 : item[ITEM_PATH]].mtu != 0) continue;
    require(memcmp(before + item[ITEM_OFFSET], engine->out + item[ITEM_OFFSET], (size_t)item[ITEM_LENGTH]) == 0,
            "a packet that may be sealed again has changed");
  }
  require(sealed == opened, "more or less was sealed than is said");
  require(bytes <= opened_bytes && opened_bytes < bytes + 16 * opened + 1, "bytes are counted wrongly");
  free(before);
}

// Puts one packet behind the others. Returns where the next one goes.
static size_t place_item(struct script *script, unsigned op, int32_t *item, size_t at) {
  memset(item, 0, ITEM_WORDS * sizeof *item);
  item[ITEM_OFFSET] = (int32_t)at;
  item[ITEM_FLAGS] = (int32_t)(script_byte(script) | ((op & 16) != 0 ? FLAG_ANY_SIZE : 0));
  item[ITEM_GSO_TYPE] = (int32_t)script_byte(script);
  unsigned gso = script_word(script);
  item[ITEM_CSUM_START] = (int32_t)script_word(script);
  item[ITEM_CSUM_OFFSET] = (int32_t)script_byte(script);
  item[ITEM_LINK] = (int32_t)script_byte(script);
  item[ITEM_PATH] = (op & 4) != 0;
  item[ITEM_KEY] = (op & 8) != 0 ? -1 : item[ITEM_PATH];
  size_t given = script_word(script);
  const uint8_t *content = script_content(script, &given);
  size_t length = (op & 32) != 0 ? given * (1 + PATTERN_TIMES) : given;
  if (length > SUPER_PACKET_BYTES) length = SUPER_PACKET_BYTES;
  // Few bytes a segment make thousands of them.
  if (gso != 0 && gso < length / 256) gso = (unsigned)(length / 256);
  item[ITEM_GSO_SIZE] = (int32_t)gso;
  item[ITEM_LENGTH] = (int32_t)length;
  engine->out = realloc(engine->out, at + length + PACKET_GAP_BYTES + 64);
  memset(engine->out + at, 0, length + PACKET_GAP_BYTES + 64);
  memcpy(engine->out + at, content, given);
  for (size_t i = given; i < length; i++) engine->out[at + i] = (uint8_t)i;
  return (at + length + PACKET_GAP_BYTES + 63) & ~(size_t)63;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (engine == NULL) engine = fuzz_engine();
  fuzz_keys(engine, other);
  struct script script = {data, data + size};
  engine->mtu = script_word(&script);
  unsigned mtu = script_word(&script);
  size_t prefix = script_byte(&script) % (MAX_PREFIX_BYTES + 1);
  for (int i = 0; i < KEYS; i++) {
    engine->paths[i] = (struct path){.set = true, .prefix_length = i == 0 ? 0 : prefix};
    if (i == 0 && mtu >= LEAST_PATH_MTU) engine->paths[i].mtu = mtu;
    memset(engine->paths[i].prefix, 0xaa, engine->paths[i].prefix_length);
  }
  int items = 0;
  size_t at = 0;
  bool complete = false;
  while (!script_ended(&script)) {
    unsigned op = script_byte(&script);
    if (items > 0 && ((op & 1) != 0 || items == BATCH_ITEMS)) {
      seal_batch(items, at, complete);
      items = 0;
      at = 0;
      complete = false;
    }
    complete |= (op & 2) != 0;
    at = place_item(&script, op, engine->items + items++ * ITEM_WORDS, at);
  }
  if (items > 0) seal_batch(items, at, complete);
  opened = 0;
  for (int i = 0; i < KEYS; i++) require(seal_keepalive(engine, i, i, take_run), "no keepalive");
  require(opened == KEYS, "a keepalive is missing");
  free(engine->out);
  engine->out = NULL;
  return 0;
}
