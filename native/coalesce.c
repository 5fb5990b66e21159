// Inbound byte work: opens runs of transport packets in place and joins consecutive packets of a flow to one unit, which
// the device takes as one super-packet (TSO for TCP, USO for UDP).
//
// Packets of a flow never overtake each other: a packet joins only the latest unit of its flow, and whatever cannot be told
// to belong to a flow (fragments, other protocols) ends all open units. Checksums are verified before joining, because
// the device is told that those of a unit are good.
#include "checksum.h"
#include "engine.h"

enum { FLAG_NEEDS_CSUM = 1, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, TCP_PSH = 8, TCP_ACK = 16 };
enum { FLOW_TABLE = 64, MAX_UNIT_BYTES = 65535 };

// A packet that was opened and could be part of a flow.
struct packet {
  uint8_t *bytes;
  size_t length;
  struct inner inner;
  size_t headers;
  size_t payload;
  bool joinable;  // checksum good and nothing in it that a unit cannot express
};

// What is known of the latest unit of a flow, beside its row.
struct flow {
  int unit;  // -1: none
  uint8_t *first;
  struct inner inner;
  size_t headers;
  size_t gso;
  uint32_t packets;
  uint32_t next_sequence;
  int last_piece;
  bool open;
};

struct coalescer {
  struct engine *engine;
  struct flow flows[FLOW_TABLE];
  int units;
  int pieces;
};

static size_t addresses_offset(int family) { return family == 4 ? 12 : 8; }
static size_t addresses_length(int family) { return family == 4 ? 8 : 32; }

static unsigned flow_slot(const struct packet *p) {
  const uint8_t *address = p->bytes + addresses_offset(p->inner.family);
  uint32_t hash = p->inner.protocol;
  for (size_t i = 0; i < addresses_length(p->inner.family); i += 4) {
    hash = (hash ^ load_be32(address + i)) * 0x9e3779b1u;
  }
  hash = (hash ^ load_be32(p->bytes + p->inner.header_length)) * 0x9e3779b1u;
  return hash >> 26;  // FLOW_TABLE entries
}

static bool same_flow(const struct flow *flow, const struct packet *p) {
  int family = p->inner.family;
  size_t at = addresses_offset(family);
  return flow->inner.family == family && flow->inner.protocol == p->inner.protocol &&
         flow->inner.header_length == p->inner.header_length &&
         memcmp(flow->first + at, p->bytes + at, addresses_length(family)) == 0 &&
         memcmp(flow->first + p->inner.header_length, p->bytes + p->inner.header_length, 4) == 0;
}

static bool good_checksum(const struct packet *p) {
  size_t length = p->inner.length - p->inner.header_length;
  uint64_t sum = checksum_pseudo(p->bytes, p->inner.family, p->inner.protocol, (uint32_t)length);
  return checksum_fold(checksum_add(sum, p->bytes + p->inner.header_length, length)) == 0xffff;
}

// Whether the packet has ports at their usual place, so that it can be told to which flow it belongs.
static bool has_flow(const struct packet *p) {
  if (p->inner.fragment || (p->inner.family == 4 && p->inner.header_length != 20)) return false;
  size_t least = p->inner.protocol == PROTOCOL_TCP ? 20 : 8;
  if (p->inner.protocol != PROTOCOL_TCP && p->inner.protocol != PROTOCOL_UDP) return false;
  return p->inner.length >= p->inner.header_length + least;
}

// Measures the packet and decides whether it may start or join a unit of several packets.
static void inspect(const struct engine *engine, struct packet *p) {
  const uint8_t *l4 = p->bytes + p->inner.header_length;
  bool tcp = p->inner.protocol == PROTOCOL_TCP;
  unsigned offloads = engine->device.offloads;
  size_t header = tcp ? (size_t)(l4[12] >> 4) * 4 : 8;
  p->headers = p->inner.header_length + header;
  p->joinable = false;
  if (p->headers >= p->inner.length) return;
  p->payload = p->inner.length - p->headers;
  if (tcp) {
    unsigned needed = p->inner.family == 4 ? OFFLOAD_TSO4 : OFFLOAD_TSO6;
    // Only plain data: the other flags (and the urgent pointer) belong to one packet alone.
    if (header < 20 || (l4[12] & 15) != 0 || (l4[13] & ~TCP_PSH) != TCP_ACK) return;
    if (load_be16(l4 + 18) != 0 || (offloads & needed) == 0) return;
  } else {
    unsigned needed = p->inner.family == 4 ? OFFLOAD_USO4 : OFFLOAD_USO6;
    if (load_be16(l4 + 4) != p->inner.length - p->inner.header_length) return;
    if (load_be16(l4 + 6) == 0 || (offloads & needed) == 0) return;
  }
  if (p->inner.family == 4) {
    if ((p->bytes[6] & 0x80) != 0) return;  // the reserved bit
    if (checksum_fold(checksum_add(0, p->bytes, 20)) != 0xffff) return;
  }
  p->joinable = good_checksum(p);
}

// TOS, TTL and fragment bits for IPv4; class, flow label and hop limit for IPv6. Without DF the identification counts.
static bool same_ip(const struct flow *flow, const struct packet *p) {
  const uint8_t *a = flow->first, *b = p->bytes;
  if (p->inner.family == 6) return memcmp(a, b, 4) == 0 && a[7] == b[7];
  if (a[1] != b[1] || a[8] != b[8] || a[6] != b[6]) return false;
  return (a[6] & 0x40) != 0 ||
         load_be16(b + 4) == (uint16_t)(load_be16(a + 4) + flow->packets);
}

static bool same_tcp(const struct flow *flow, const struct packet *p) {
  const uint8_t *a = flow->first + p->inner.header_length, *b = p->bytes + p->inner.header_length;
  return load_be32(b + 4) == flow->next_sequence && memcmp(a + 8, b + 8, 4) == 0 &&  // ack
         memcmp(a + 14, b + 14, 2) == 0 &&                                          // window
         memcmp(a + 20, b + 20, p->headers - p->inner.header_length - 20) == 0;     // options
}

static bool joins(const struct coalescer *c, const struct flow *flow, const struct packet *p, int key) {
  if (!flow->open || !p->joinable || flow->headers != p->headers) return false;
  const int32_t *unit = c->engine->units + flow->unit * UNIT_WORDS;
  size_t total = flow->headers + (size_t)unit[UNIT_PIECES] * flow->gso + p->payload;
  return unit[UNIT_KEY] == key && p->payload <= flow->gso && flow->packets < MAX_SEGMENTS &&
         total <= MAX_UNIT_BYTES && same_ip(flow, p) &&
         (p->inner.protocol != PROTOCOL_TCP || same_tcp(flow, p));
}

static int new_piece(struct coalescer *c, const uint8_t *bytes, size_t length) {
  int32_t *piece = c->engine->pieces + c->pieces * PIECE_WORDS;
  piece[PIECE_OFFSET] = (int32_t)(bytes - c->engine->in);
  piece[PIECE_LENGTH] = (int32_t)length;
  piece[PIECE_NEXT] = -1;
  return c->pieces++;
}

static int new_unit(struct coalescer *c, const struct packet *p, int key) {
  int32_t *unit = c->engine->units + c->units * UNIT_WORDS;
  int family = p->inner.family;
  memset(unit, 0, UNIT_WORDS * sizeof *unit);
  unit[UNIT_FIRST] = new_piece(c, p->bytes, p->inner.length);
  unit[UNIT_PIECES] = 1;
  unit[UNIT_KEY] = key;
  unit[UNIT_FAMILY] = family;
  unit[UNIT_BYTES] = (int32_t)p->inner.length;
  if (family == FAMILY_FRAME) {
    mac_words(unit + UNIT_DESTINATION, p->bytes);
    mac_words(unit + UNIT_SOURCE, p->bytes + 6);
  } else if (family != FAMILY_MESSAGE) {
    const uint8_t *addresses = p->bytes + addresses_offset(family);
    address_words(unit + UNIT_SOURCE, addresses, family);
    address_words(unit + UNIT_DESTINATION, addresses + addresses_length(family) / 2, family);
  }
  return c->units++;
}

// A short packet, or a push, is the last of its unit.
static bool ends_unit(const struct flow *flow, const struct packet *p) {
  if (p->payload < flow->gso) return true;
  return p->inner.protocol == PROTOCOL_TCP && (p->bytes[p->inner.header_length + 13] & TCP_PSH) != 0;
}

static void join(struct coalescer *c, struct flow *flow, const struct packet *p) {
  int32_t *unit = c->engine->units + flow->unit * UNIT_WORDS;
  int piece = new_piece(c, p->bytes + p->headers, p->payload);
  c->engine->pieces[flow->last_piece * PIECE_WORDS + PIECE_NEXT] = piece;
  flow->last_piece = piece;
  flow->packets++;
  flow->next_sequence += (uint32_t)p->payload;
  unit[UNIT_PIECES]++;
  unit[UNIT_BYTES] += (int32_t)p->inner.length;
  if (p->inner.protocol == PROTOCOL_TCP) {
    flow->first[p->inner.header_length + 13] |= p->bytes[p->inner.header_length + 13] & TCP_PSH;
  }
  if (ends_unit(flow, p)) flow->open = false;
}

// The row that says how the device shall take the unit apart again, and the headers to match.
static void finish_unit(struct engine *engine, const struct flow *flow) {
  int32_t *unit = engine->units + flow->unit * UNIT_WORDS;
  uint8_t *packet = flow->first;
  size_t l4 = flow->inner.header_length, length = 0;
  for (int at = unit[UNIT_FIRST]; at >= 0; at = engine->pieces[at * PIECE_WORDS + PIECE_NEXT]) {
    length += (size_t)engine->pieces[at * PIECE_WORDS + PIECE_LENGTH];
  }
  bool tcp = flow->inner.protocol == PROTOCOL_TCP;
  if (flow->inner.family == 4) {
    store_be16(packet + 2, (uint16_t)length);
    checksum_set_ipv4(packet, l4);
  } else {
    store_be16(packet + 4, (uint16_t)(length - 40));
  }
  if (!tcp) store_be16(packet + l4 + 4, (uint16_t)(length - l4));
  uint64_t sum = checksum_pseudo(packet, flow->inner.family, flow->inner.protocol,
                                 (uint32_t)(length - l4));
  checksum_store(packet + l4 + (tcp ? 16 : 6), checksum_fold(sum));
  unit[UNIT_FLAGS] = FLAG_NEEDS_CSUM;
  unit[UNIT_GSO_TYPE] = !tcp ? GSO_UDP_L4 : flow->inner.family == 4 ? GSO_TCPV4 : GSO_TCPV6;
  unit[UNIT_HEADER_LENGTH] = (int32_t)flow->headers;
  unit[UNIT_GSO_SIZE] = (int32_t)flow->gso;
  unit[UNIT_CSUM_START] = (int32_t)l4;
  unit[UNIT_CSUM_OFFSET] = tcp ? 16 : 6;
}

static void end_flow(struct coalescer *c, struct flow *flow) {
  if (flow->unit >= 0 && flow->packets > 1) finish_unit(c->engine, flow);
  flow->unit = -1;
  flow->open = false;
}

static void end_all(struct coalescer *c) {
  for (int i = 0; i < FLOW_TABLE; i++) end_flow(c, &c->flows[i]);
}

static void start_flow(struct flow *flow, const struct packet *p, int unit, int piece) {
  bool tcp = p->inner.protocol == PROTOCOL_TCP;
  *flow = (struct flow){.unit = unit, .first = p->bytes, .inner = p->inner, .headers = p->headers,
                        .gso = p->payload, .packets = 1, .last_piece = piece, .open = p->joinable};
  if (tcp) {
    flow->next_sequence = load_be32(p->bytes + p->inner.header_length + 4) + (uint32_t)p->payload;
  }
  if (flow->open && ends_unit(flow, p)) flow->open = false;
}

static void add_packet(struct coalescer *c, struct packet *p, int key) {
  if (!has_flow(p)) {
    end_all(c);
    new_unit(c, p, key);
    return;
  }
  inspect(c->engine, p);
  struct flow *flow = &c->flows[flow_slot(p)];
  if (flow->unit >= 0 && same_flow(flow, p) && joins(c, flow, p, key)) {
    join(c, flow, p);
    return;
  }
  end_flow(c, flow);
  int unit = new_unit(c, p, key);
  start_flow(flow, p, unit, c->engine->units[unit * UNIT_WORDS + UNIT_FIRST]);
}

// Measures what was opened. Of what is not IP the header goes; it has no flow, as its protocol is none.
static bool measure(struct packet *p) {
  if (inner_parse(p->bytes, p->length, &p->inner)) return true;
  if (!wrapped_parse(p->bytes, p->length, &p->inner)) return false;
  p->bytes += WRAPPED_HEADER;
  return true;
}

static void open_datagram(struct coalescer *c, int32_t *run, struct key *key, uint8_t *bytes,
                          size_t length) {
  struct engine *engine = c->engine;
  switch (transport_open(key, bytes, length)) {
    case OPEN_FORGED: count(engine, COUNT_IN_FORGED, 1); return;
    case OPEN_REPLAYED: count(engine, COUNT_IN_REPLAYED, 1); return;
    case OPEN_OK: break;
  }
  run[RUN_AUTHENTIC]++;
  struct packet p = {.bytes = bytes + TRANSPORT_HEADER, .length = length - TRANSPORT_OVERHEAD};
  if (p.length == 0) {
    run[RUN_KEEPALIVES]++;
    count(engine, COUNT_IN_KEEPALIVES, 1);
  } else if (!measure(&p)) {
    count(engine, COUNT_IN_MALFORMED, 1);
  } else if (c->units == MAX_UNITS || c->pieces == MAX_PIECES) {
    count(engine, COUNT_IN_BATCH_FULL, 1);
  } else {
    run[RUN_BYTES] += (int32_t)p.inner.length;
    add_packet(c, &p, run[RUN_KEY]);
  }
}

int open_runs(struct engine *engine, int runs) {
  struct coalescer c = {.engine = engine};
  for (int i = 0; i < FLOW_TABLE; i++) c.flows[i].unit = -1;
  for (int i = 0; i < runs && i < MAX_RUNS; i++) {
    int32_t *run = engine->runs + i * RUN_WORDS;
    struct key *key = engine_key(engine, run[RUN_KEY]);
    if (key == NULL || run[RUN_KIND] != KIND_TRANSPORT || run[RUN_SEGMENT] <= 0) continue;
    size_t offset = (size_t)run[RUN_OFFSET], left = (size_t)run[RUN_LENGTH];
    size_t segment = (size_t)run[RUN_SEGMENT];
    if (run[RUN_OFFSET] < 0 || left > SUPER_PACKET_BYTES ||
        offset + left > (size_t)MAX_SLOTS * SLOT_BYTES) continue;
    while (left > 0) {
      size_t length = left < segment ? left : segment;
      open_datagram(&c, run, key, engine->in + offset, length);
      offset += length;
      left -= length;
    }
  }
  end_all(&c);
  return c.units;
}
