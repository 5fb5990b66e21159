// libFuzzer target: what a TUN or TAP device delivers is described, by the real system calls on a socket that keeps packets apart as the
// device does (script.h has the input). Rows lie within what was read, and the headers written for frames are theirs.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "script.h"

enum { VNET_HEADER = 10, OUT_BYTES = 4 * SUPER_PACKET_BYTES };

static struct engine *engine;

static void check_item(const int32_t *item, bool tap) {
  int32_t offset = item[ITEM_OFFSET], length = item[ITEM_LENGTH], family = item[ITEM_FAMILY];
  require(offset >= 0 && length > 0 && length <= SUPER_PACKET_BYTES, "a packet of no length");
  require((size_t)offset + (size_t)length + PACKET_GAP_BYTES <= engine->out_length, "a packet lies outside");
  require(!tap || offset >= FRAME_ROOM, "a frame has no room before it");
  require(family == 0 || family == 4 || family == 6 || (tap && family == FAMILY_FRAME), "a packet of no family");
  struct inner inner;
  bool is_ip = inner_parse(engine->out + offset, (size_t)length, &inner);
  require((family != 4 && family != 6) || (is_ip && inner.family == family), "an IP packet that is none");
  require((item[ITEM_FLAGS] & 1) == 0 || item[ITEM_CSUM_START] >= 0, "a checksum that starts before the packet");
  // As the main thread and `device_write` would do with it.
  uint8_t header[ETHERNET_HEADER];
  static const uint8_t OURS[6] = {0x7a, 0x79, 1, 2, 3, 4};
  int32_t unit[UNIT_WORDS] = {0};
  unit[UNIT_FAMILY] = family == 6 ? 6 : 4;
  memcpy(unit + UNIT_DESTINATION, item + ITEM_DESTINATION, 16);
  unit[UNIT_STATION] = length;
  unit[UNIT_GROUP] = length % 2;
  frame_header(header, OURS, unit);
  require(load_be16(header + 6) == 0x7a79 && load_be32(header + 8) == (uint32_t)length, "a frame of somebody else");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (engine == NULL) {
    engine = fuzz_engine();
    engine->out = malloc(OUT_BYTES);
    engine->out_length = OUT_BYTES;
    engine->out_batch = OUT_BYTES;
  }
  int ends[2];
  require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0, "no socket pair");
  struct script script = {data, data + size};
  bool tap = (script_byte(&script) & 1) != 0;
  engine->device.fd = ends[0];
  engine->device.tap = tap;
  engine->device.offloads = script_byte(&script);
  while (!script_ended(&script)) {
    size_t length = VNET_HEADER + script_word(&script);
    const uint8_t *frame = script_content(&script, &length);
    // A packet of no bytes would be the end of the connection.
    if (length > 0 && send(ends[1], frame, length, 0) < 0) break;
  }
  int items = device_read(engine, MAX_ITEMS);
  require(items <= MAX_ITEMS, "too many packets");
  for (int i = 0; i < items; i++) check_item(engine->items + i * ITEM_WORDS, tap);
  close(ends[1]);
  device_close(engine);
  return 0;
}
