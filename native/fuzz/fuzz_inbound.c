// libFuzzer target: datagrams of anybody and of authentic peers are told apart, opened and joined to units (script.h has the input). What is
// handed to the device lies within the datagrams, nothing of it twice, and no packet comes out that was not sealed.
#include "script.h"

enum { IN_BYTES = MAX_SLOTS * SLOT_BYTES };

static struct engine *engine;
static struct key *other[KEYS];
static uint8_t last[SUPER_PACKET_BYTES];
static size_t last_length;
// For each byte of the slots, whether a unit has it.
static uint8_t taken[IN_BYTES];

// Forgets what the last batch had.
static void forget(int units) {
  for (int i = 0; i < units; i++) {
    for (int32_t at = engine->units[i * UNIT_WORDS + UNIT_FIRST]; at >= 0;) {
      const int32_t *piece = engine->pieces + at * PIECE_WORDS;
      memset(taken + piece[PIECE_OFFSET], 0, (size_t)piece[PIECE_LENGTH]);
      at = piece[PIECE_NEXT];
    }
  }
}

static void check_unit(const int32_t *unit, int pieces_left) {
  size_t total = 0;
  int pieces = 0;
  for (int32_t at = unit[UNIT_FIRST]; at >= 0; pieces++) {
    require(at < MAX_PIECES && pieces < pieces_left, "pieces without end");
    const int32_t *piece = engine->pieces + at * PIECE_WORDS;
    int32_t offset = piece[PIECE_OFFSET], length = piece[PIECE_LENGTH];
    require(offset >= 0 && length > 0 && offset + length <= IN_BYTES, "a piece lies outside");
    bool within = false;
    for (int i = 0; i < MAX_SLOTS && !within; i++) {
      const int32_t *message = engine->messages + i * MESSAGE_WORDS;
      within = offset >= message[MESSAGE_OFFSET] + TRANSPORT_HEADER &&
               offset + length <= message[MESSAGE_OFFSET] + message[MESSAGE_LENGTH] - TAG;
    }
    require(within, "a piece lies in no message");
    for (int32_t i = offset; i < offset + length; i++) require(taken[i]++ == 0, "a byte is in two units");
    total += (size_t)length;
    at = piece[PIECE_NEXT];
  }
  int family = unit[UNIT_FAMILY];
  require(pieces == unit[UNIT_PIECES] && pieces <= MAX_SEGMENTS, "pieces are counted wrongly");
  require(total <= 65575 && (pieces > 1 || (int32_t)total == unit[UNIT_BYTES]), "a unit is too large");
  require(family == 4 || family == 6 || ((family == FAMILY_FRAME || family == FAMILY_MESSAGE) && pieces == 1),
          "a unit of no family");
  if (pieces == 1) return;
  require(unit[UNIT_GSO_SIZE] > 0 && unit[UNIT_HEADER_LENGTH] >= 28, "a unit cannot be taken apart");
  size_t payload = total - (size_t)unit[UNIT_HEADER_LENGTH], gso = (size_t)unit[UNIT_GSO_SIZE];
  require((payload + gso - 1) / gso == (size_t)pieces, "a unit would be taken apart otherwise");
}

static void open_batch(int messages, int *authentic) {
  int runs = classify(engine, messages);
  require(runs >= 0 && runs <= MAX_RUNS, "too many runs");
  for (int i = 0; i < runs; i++) {
    int32_t *run = engine->runs + i * RUN_WORDS;
    if (run[RUN_KIND] == KIND_TRANSPORT) run[RUN_KEY] = run[RUN_INDEX];
  }
  int units = open_runs(engine, runs), opened = 0, packets = 0;
  require(units >= 0 && units <= MAX_UNITS, "too many units");
  for (int i = 0; i < runs; i++) {
    const int32_t *run = engine->runs + i * RUN_WORDS;
    opened += run[RUN_AUTHENTIC];
    packets += run[RUN_AUTHENTIC] - run[RUN_KEEPALIVES];
  }
  require(opened <= *authentic, "more was opened than was sealed");
  *authentic -= opened;
  for (int i = 0; i < units; i++) check_unit(engine->units + i * UNIT_WORDS, MAX_PIECES);
  forget(units);
  require(units <= packets, "more units than packets");
}

// Makes the datagram of an operation. Returns its length; `sealed` counts the authentic ones.
static size_t make_datagram(struct script *script, unsigned op, uint8_t *out, int *sealed) {
  unsigned skip = script_word(script), kind = op >> 2 & 3;
  size_t length = script_word(script);
  if (length > 16384) length = 16384;
  const uint8_t *content = script_content(script, &length);
  if (kind == 0) {
    memcpy(out, content, length);
  } else if (kind == 3) {
    length = last_length;
    memcpy(out, last, length);
  } else {
    struct key *key = other[kind - 1];
    if ((op & 32) != 0) key_start_at(key, key->state->counter + skip);
    require(transport_seal(key, out, content, length), "the sender is spent");
    length += TRANSPORT_OVERHEAD;
    memcpy(last, out, length);
    last_length = length;
    (*sealed)++;
  }
  unsigned position = (op & 16) != 0 ? script_word(script) : 0;
  if ((op & 16) != 0 && length > 0) out[position % length] ^= (uint8_t)(1u << position % 8);
  return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (engine == NULL) engine = fuzz_engine();
  fuzz_keys(engine, other);
  memset(engine->messages, 0, MAX_SLOTS * MESSAGE_WORDS * 4);
  struct script script = {data, data + size};
  engine->device.offloads = script_word(&script);
  last_length = 0;
  int messages = 0, authentic = 0;
  static uint8_t datagram[SUPER_PACKET_BYTES];
  while (!script_ended(&script)) {
    unsigned op = script_byte(&script);
    size_t length = make_datagram(&script, op, datagram, &authentic);
    int32_t *row = engine->messages + (messages - 1) * MESSAGE_WORDS;
    bool fits = messages > 0 && (size_t)row[MESSAGE_LENGTH] + length <= MAX_SEND_BYTES;
    bool begins = messages == 0 || (op & 2) != 0 || !fits;
    if (messages > 0 && ((op & 1) != 0 || (begins && messages == MAX_SLOTS))) {
      open_batch(messages, &authentic);
      memset(engine->messages, 0, MAX_SLOTS * MESSAGE_WORDS * 4);
      messages = 0;
      begins = true;
    }
    if (begins) {
      row = engine->messages + messages * MESSAGE_WORDS;
      row[MESSAGE_OFFSET] = messages++ * SLOT_BYTES;
      row[MESSAGE_SEGMENT] = (int32_t)length;
    }
    memcpy(engine->in + row[MESSAGE_OFFSET] + row[MESSAGE_LENGTH], datagram, length);
    row[MESSAGE_LENGTH] += (int32_t)length;
  }
  if (messages > 0) open_batch(messages, &authentic);
  return 0;
}
