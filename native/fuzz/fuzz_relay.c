// libFuzzer target: datagrams of anybody are grouped to runs and those to sends (script.h has the input). Every datagram is in one run, what has a
// path is sent once, as it was but for the header, and no send is one that the kernel would cut otherwise.
#include "../relay.h"
#include "script.h"

enum { PATHS = 4, SLOTS_BYTES = RELAY_SLOTS * SLOT_BYTES, MOST_SENDS = 1 << 16, MOST_CONTENT = 2048 };

static struct engine *engine;
static uint8_t *sent;
static int32_t *rows;

static void prepare(void) {
  engine = fuzz_engine();
  free(engine->paths);
  engine->paths = calloc(PATHS, sizeof *engine->paths);
  engine->path_slots = PATHS;
  engine->relay = relay_new();
  engine->relay->in = calloc(1, SLOTS_BYTES);
  engine->relay->messages = calloc(RELAY_SLOTS * MESSAGE_WORDS, 4);
  engine->relay->runs = calloc(RELAY_RUNS * RELAY_WORDS, 4);
  engine->sockets[0] = (struct udp_socket){.fd = 0, .family = AF_INET, .offloads = OFFLOAD_UDP_SEGMENT};
  for (int i = 0; i < PATHS; i++) {
    engine->paths[i] = (struct path){.set = true, .segment_limit = MAX_SEND_BYTES};
  }
  sent = malloc(SLOTS_BYTES);
  rows = malloc(MOST_SENDS * 16);
}

static void handle(int messages) {
  int runs = relay_group(engine, messages);
  require(runs >= 0 && runs <= RELAY_RUNS, "too many runs");
  int64_t datagrams = 0, bytes = 0, end = 0;
  for (int i = 0; i < runs; i++) {
    int32_t *run = engine->relay->runs + (size_t)i * RELAY_WORDS;
    require(run[RELAY_OFFSET] >= end && run[RELAY_LENGTH] > 0, "runs overlap");
    end = (int64_t)run[RELAY_OFFSET] + run[RELAY_LENGTH];
    require(end <= SLOTS_BYTES && run[RELAY_COUNT] >= 1, "a run lies outside");
    int64_t before = (int64_t)(run[RELAY_COUNT] - 1) * run[RELAY_SEGMENT];
    require(run[RELAY_LENGTH] > before && run[RELAY_LENGTH] <= before + run[RELAY_SEGMENT], "a run is counted wrongly");
    int kind = run[RELAY_KIND];
    require(kind >= RELAY_BARE && kind <= RELAY_CONTROL, "a run of no kind");
    bool data = kind == RELAY_BARE || kind == RELAY_WRAPPED;
    require(data || run[RELAY_COUNT] == 1, "what is decided one by one is in one run");
    int destination = run[RELAY_DESTINATION];
    run[RELAY_PATH] = !data || (destination & 4) != 0 ? -1 : destination & 3;
    run[RELAY_FROM] = run[RELAY_TOKEN];
    if (run[RELAY_PATH] < 0) continue;
    datagrams += run[RELAY_COUNT];
    int header = kind == RELAY_BARE ? 0 : RELAY_DELIVERED_HEADER;
    bytes += run[RELAY_LENGTH] - (int64_t)run[RELAY_COUNT] * (RELAY_DATA_HEADER - header);
  }
  int sends = relay_send_into(engine, runs, sent, SLOTS_BYTES, rows, MOST_SENDS);
  for (int i = 0; i < sends; i++) {
    const int32_t *row = rows + 4 * (size_t)i;
    int32_t used = row[1], segment = row[2], count = row[3];
    require(row[0] >= 0 && row[0] < PATHS && count >= 1 && count <= MAX_SEGMENTS, "a send of nowhere");
    require(used > (count - 1) * segment && used <= count * segment && used <= MAX_SEND_BYTES, "a send is cut otherwise");
    datagrams -= count;
    bytes -= used;
  }
  require(datagrams == 0 && bytes == 0, "what was sent is not what was received");
}

// Makes the datagram of an operation. Returns its length.
static size_t make_datagram(struct script *script, unsigned op, uint8_t *out) {
  unsigned destination = script_byte(script);
  size_t length = script_word(script), at = 0;
  if (length > MOST_CONTENT) length = MOST_CONTENT;
  const uint8_t *content = script_content(script, &length);
  if ((op & 4) != 0) {
    const uint8_t header[RELAY_DATA_HEADER] = {0x42, 0x55, 0x52, 2, 1, [8] = (uint8_t)(op >> 4), [16] = (uint8_t)destination};
    memcpy(out, header, sizeof header);
    at = sizeof header;
  }
  size_t longest = (op & 8) == 0 ? length : length * (1 + PATTERN_TIMES), most = MAX_SEND_BYTES - at;
  size_t total = at + (longest < most ? longest : most);
  for (size_t i = at + length; i < total; i++) out[i] = (uint8_t)i;
  memcpy(out + at, content, length);
  return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (engine == NULL) prepare();
  int32_t *table = engine->relay->messages;
  memset(table, 0, RELAY_SLOTS * MESSAGE_WORDS * 4);
  struct script script = {data, data + size};
  int messages = 0;
  static uint8_t datagram[SUPER_PACKET_BYTES];
  while (!script_ended(&script)) {
    unsigned op = script_byte(&script), times = (script_byte(&script) & 63) + 1;
    size_t length = make_datagram(&script, op, datagram);
    for (unsigned i = 0; i < times; i++) {
      int32_t *row = table + (messages - 1) * MESSAGE_WORDS;
      bool fits = messages > 0 && (size_t)row[MESSAGE_LENGTH] + length <= MAX_SEND_BYTES;
      bool begins = !fits || (i == 0 && (op & 2) != 0);
      if (messages > 0 && ((i == 0 && (op & 1) != 0) || (begins && messages == RELAY_SLOTS))) {
        handle(messages);
        memset(table, 0, RELAY_SLOTS * MESSAGE_WORDS * 4);
        messages = 0;
        begins = true;
      }
      if (begins) {
        row = table + messages * MESSAGE_WORDS;
        row[MESSAGE_OFFSET] = messages++ * SLOT_BYTES;
        row[MESSAGE_SEGMENT] = (int32_t)length;
      }
      memcpy(engine->relay->in + row[MESSAGE_OFFSET] + row[MESSAGE_LENGTH], datagram, length);
      row[MESSAGE_LENGTH] += (int32_t)length;
    }
  }
  if (messages > 0) handle(messages);
  return 0;
}
