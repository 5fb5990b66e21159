// Outbound byte work: a super-packet from the device becomes inner packets, each sealed into a datagram, and datagrams
// of one size and path become one run for UDP_SEGMENT.
//
// A segment is sealed straight from the packet that the device delivered: its header is written in front of its payload,
// over the end of the segment before, which has been sealed by then. So no payload is ever copied. What is not TCP, and every frame, may
// be for several peers and be sealed again: afterwards it lies there as before, but for a checksum that was completed.
#include "checksum.h"
#include "engine.h"

enum { FLAG_NEEDS_CSUM = 1, GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4, GSO_UDP_L4 = 5, GSO_ECN = 0x80 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 0x80 };
enum { MAX_HEADERS = 256 };

struct sealer {
  struct engine *engine;
  run_sink sink;
  int32_t *item;
  struct key *key;
  struct path *path;
};

static void flush(struct engine *engine, run_sink sink) {
  struct run *run = &engine->run;
  if (run->count > 0) sink(engine, run);
  run->used = 0;
  run->count = 0;
  run->closed = false;
}

// The place for a datagram of `size` bytes, after flushing what it cannot join.
static uint8_t *reserve(struct sealer *to, size_t size) {
  struct run *run = &to->engine->run;
  int path = to->item[ITEM_PATH];
  bool joins = run->count > 0 && !run->closed && run->path == path && size <= run->segment &&
               run->count < MAX_SEGMENTS && run->used + size <= MAX_SEND_BYTES;
  if (!joins) {
    flush(to->engine, to->sink);
    run->path = path;
    run->segment = size;
  }
  return run->buffer + run->used;
}

static void commit(struct run *run, size_t size) {
  run->used += size;
  run->count++;
  if (size < run->segment) run->closed = true;
}

// Seals `length` bytes at `packet`; `after` bytes behind them belong to somebody else and are put back.
static bool seal_packet(struct sealer *to, uint8_t *packet, size_t length, size_t after) {
  size_t padded = (length + 15) & ~(size_t)15;
  size_t limit = to->engine->mtu;
  if (to->path->mtu != 0 && to->path->mtu < limit) limit = to->path->mtu;
  if (limit < length) limit = length;
  if (padded > limit) padded = limit;
  size_t pad = padded - length;
  size_t size = to->path->prefix_length + padded + TRANSPORT_OVERHEAD;
  if (size > MAX_SEND_BYTES) {
    to->item[ITEM_STATUS] |= STATUS_MALFORMED;
    return false;
  }
  uint8_t *out = reserve(to, size);
  uint8_t kept[16];
  if (after > pad) after = pad;
  memcpy(kept, packet + length, after);
  memset(packet + length, 0, pad);
  memcpy(out, to->path->prefix, to->path->prefix_length);
  bool sealed = transport_seal(to->key, out + to->path->prefix_length, packet, padded);
  memcpy(packet + length, kept, after);
  if (!sealed) {
    to->item[ITEM_STATUS] |= STATUS_REFUSED;
    return false;
  }
  if (to->key->last + 1 == to->key->rekey_at) to->item[ITEM_STATUS] |= STATUS_REKEY;
  commit(&to->engine->run, size);
  to->item[ITEM_SEALED]++;
  to->item[ITEM_BYTES] += (int32_t)length;
  return true;
}

// Seals an IPv4 packet in pieces. Each one's header is written in front of its payload, over what has been sealed by then, and
// the bytes are put back.
static bool seal_fragments(struct sealer *to, uint8_t *packet, size_t length, size_t after) {
  uint8_t header[60], kept[60];
  size_t header_length = (size_t)(packet[0] & 15) * 4, payload = length - header_length;
  size_t most = fragment_payload(header_length, to->path->mtu);
  memcpy(header, packet, header_length);
  count(to->engine, COUNT_OUT_FRAGMENTED, 1);
  for (size_t at = 0; at < payload; at += most) {
    size_t part = payload - at < most ? payload - at : most, behind = payload - at - part;
    uint8_t *start = packet + at;
    memcpy(kept, start, header_length);
    memcpy(start, header, header_length);
    fragment_header(start, header_length, at, part, behind == 0);
    bool sealed = seal_packet(to, start, header_length + part, behind + after);
    memcpy(start, kept, header_length);
    if (!sealed) return false;
  }
  return true;
}

// Seals a packet as it fits through the path; what may not be cut is left out, and its sender is told.
static bool seal_fitting(struct sealer *to, uint8_t *packet, size_t length, size_t after) {
  bool any = (to->item[ITEM_FLAGS] & FLAG_ANY_SIZE) != 0;
  switch (any ? FIT_WHOLE : fit_of(packet, length, to->path->mtu)) {
    case FIT_WHOLE: return seal_packet(to, packet, length, after);
    case FIT_FRAGMENTS: return seal_fragments(to, packet, length, after);
    default: break;
  }
  to->item[ITEM_STATUS] |= STATUS_TOO_BIG;
  return true;
}

// Finishes the checksum that the sender left to the device. The field holds the sum of the pseudo-header.
static bool complete_checksum(uint8_t *packet, size_t length, const int32_t *item) {
  size_t start = (size_t)item[ITEM_CSUM_START], field = start + (size_t)item[ITEM_CSUM_OFFSET];
  if (start >= length || field + 2 > length) return false;
  uint16_t sum = (uint16_t)~checksum_fold(checksum_add(0, packet + start, length - start));
  // A UDP checksum of zero would mean 'none' (RFC 768); TCP takes either zero.
  if (sum == 0 && item[ITEM_CSUM_OFFSET] == 6) sum = 0xffff;
  checksum_store(packet + field, sum);
  return true;
}

// What a super-packet is made of, checked against its length and against what the virtio-net header claims. All but `link`
// counts from the IP header on.
struct super {
  size_t link;     // what travels before the IP header (ITEM_LINK)
  int family;
  size_t l4;       // offset of the TCP or UDP header
  size_t headers;  // length of all headers
  size_t length;
  size_t gso;
  bool tcp;
  bool fixed_id;
};

static bool parse_super(const uint8_t *packet, size_t length, const int32_t *item, struct super *s) {
  int type = item[ITEM_GSO_TYPE] & ~GSO_ECN;
  int32_t link = item[ITEM_LINK];
  struct inner inner;
  if (link < 0 || link > MAX_LINK || (size_t)link >= length || item[ITEM_CSUM_START] < link) return false;
  s->link = (size_t)link;
  packet += link;
  length -= (size_t)link;
  if (!inner_parse(packet, length, &inner) || inner.length != length || inner.fragment) return false;
  s->family = inner.family;
  s->tcp = type != GSO_UDP_L4;
  if (!s->tcp ? false : (type == GSO_TCPV4 ? 4 : 6) != s->family) return false;
  if (type != GSO_TCPV4 && type != GSO_TCPV6 && type != GSO_UDP_L4) return false;
  s->l4 = (size_t)(item[ITEM_CSUM_START] - link);
  s->length = length;
  s->gso = (size_t)item[ITEM_GSO_SIZE];
  if ((item[ITEM_FLAGS] & FLAG_NEEDS_CSUM) == 0 || s->gso == 0) return false;
  // IPv6 may have extension headers before it.
  if (s->family == 4 ? s->l4 != inner.header_length : s->l4 < inner.header_length) return false;
  if (s->family == 4 && inner.protocol != (s->tcp ? PROTOCOL_TCP : PROTOCOL_UDP)) return false;
  if (item[ITEM_CSUM_OFFSET] != (s->tcp ? 16 : 6)) return false;
  if (s->l4 + (s->tcp ? 20 : 8) > length) return false;
  size_t header = s->tcp ? (size_t)(packet[s->l4 + 12] >> 4) * 4 : 8;
  if (s->tcp && header < 20) return false;
  s->headers = s->l4 + header;
  return s->headers <= MAX_HEADERS && s->headers < length;
}

// Turns the headers of the super-packet, copied to `packet`, into those of segment `index`.
static void write_headers(const struct super *s, uint8_t *packet, size_t length, unsigned index) {
  bool first = index == 0, last = s->headers + (index + 1) * s->gso >= s->length;
  size_t l4_length = length - s->l4;
  uint8_t *l4 = packet + s->l4;
  if (s->family == 4) {
    store_be16(packet + 2, (uint16_t)length);
    store_be16(packet + 4, (uint16_t)(load_be16(packet + 4) + index));
    checksum_set_ipv4(packet, s->l4);
  } else {
    store_be16(packet + 4, (uint16_t)(length - 40));
  }
  // The field holds the sum of the pseudo-header with the length of the whole: put ours in its place.
  uint8_t *field = l4 + (s->tcp ? 16 : 6);
  uint16_t pseudo;
  memcpy(&pseudo, field, 2);
  uint64_t sum = checksum_add_word(pseudo, (uint16_t)~(s->length - s->l4));
  sum = checksum_add_word(sum, (uint16_t)l4_length);
  if (s->tcp) {
    store_be32(l4 + 4, load_be32(l4 + 4) + (uint32_t)(index * s->gso));
    if (!last) l4[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
    if (!first) l4[13] &= (uint8_t)~TCP_CWR;
  } else {
    store_be16(l4 + 4, (uint16_t)l4_length);
  }
  store_be16(field, 0);
  uint16_t folded = (uint16_t)~checksum_fold(checksum_add(checksum_fold(sum), l4, l4_length));
  if (folded == 0 && !s->tcp) folded = 0xffff;
  checksum_store(field, folded);
}

static bool seal_super(struct sealer *to, uint8_t *packet, size_t length) {
  struct super s;
  if (!parse_super(packet, length, to->item, &s)) {
    to->item[ITEM_STATUS] |= STATUS_MALFORMED;
    return false;
  }
  uint8_t front[MAX_LINK + MAX_HEADERS], kept[MAX_LINK + MAX_HEADERS];
  size_t front_length = s.link + s.headers;
  bool again = !s.tcp || s.link > 0;
  // TCP may be cut as small as it fits.
  if (s.tcp && to->path->mtu != 0 && s.gso > to->path->mtu - front_length) {
    s.gso = to->path->mtu - front_length;
  }
  memcpy(front, packet, front_length);
  unsigned index = 0;
  for (size_t at = front_length; at < length; at += s.gso, index++) {
    size_t payload = length - at < s.gso ? length - at : s.gso;
    uint8_t *start = packet + at - front_length;
    if (again) memcpy(kept, start, front_length);
    memcpy(start, front, front_length);
    write_headers(&s, start + s.link, s.headers + payload, index);
    // The inner header of a frame holds the length of what follows it (src/wire/inner.ts).
    if (s.link > 0) store_be16(start + 2, (uint16_t)(front_length + payload - WRAPPED_HEADER));
    bool sealed = seal_fitting(to, start, front_length + payload, length - at - payload);
    if (again) memcpy(start, kept, front_length);
    if (!sealed) return false;
  }
  return true;
}

// The packet of an item; NULL when it does not lie within the buffer.
static uint8_t *item_packet(const struct engine *engine, const int32_t *item) {
  size_t offset = (size_t)item[ITEM_OFFSET], length = (size_t)item[ITEM_LENGTH];
  if (item[ITEM_OFFSET] < 0 || item[ITEM_LENGTH] <= 0 || length > SUPER_PACKET_BYTES) return NULL;
  return offset + length + PACKET_GAP_BYTES > engine->out_length ? NULL : engine->out + offset;
}

static bool needs_checksum(const int32_t *item) {
  return item[ITEM_GSO_TYPE] == GSO_NONE && (item[ITEM_FLAGS] & FLAG_NEEDS_CSUM) != 0;
}

static void seal_item(struct sealer *to) {
  int32_t *item = to->item;
  size_t length = (size_t)item[ITEM_LENGTH];
  uint8_t *packet = item_packet(to->engine, item);
  if (packet == NULL || (needs_checksum(item) && !complete_checksum(packet, length, item))) {
    item[ITEM_STATUS] |= STATUS_MALFORMED;
  } else if (item[ITEM_GSO_TYPE] != GSO_NONE) {
    seal_super(to, packet, length);
  } else {
    clamp_mss(packet, length, to->path->mtu);
    seal_fitting(to, packet, length, 0);
  }
}

void complete_items(struct engine *engine, int items) {
  for (int i = 0; i < items && i < MAX_ITEMS; i++) {
    int32_t *item = engine->items + i * ITEM_WORDS;
    uint8_t *packet = item_packet(engine, item);
    item[ITEM_STATUS] = 0;
    if (packet == NULL ||
        (needs_checksum(item) && !complete_checksum(packet, (size_t)item[ITEM_LENGTH], item))) {
      item[ITEM_STATUS] = STATUS_MALFORMED;
    } else if (needs_checksum(item)) {
      item[ITEM_FLAGS] &= ~FLAG_NEEDS_CSUM;
    }
  }
}

void seal_items(struct engine *engine, int items, run_sink sink) {
  for (int i = 0; i < items && i < MAX_ITEMS; i++) {
    struct sealer to = {.engine = engine, .sink = sink, .item = engine->items + i * ITEM_WORDS};
    to.item[ITEM_SEALED] = to.item[ITEM_BYTES] = to.item[ITEM_STATUS] = 0;
    to.key = engine_key(engine, to.item[ITEM_KEY]);
    to.path = engine_path(engine, to.item[ITEM_PATH]);
    if (to.key != NULL && to.path != NULL) seal_item(&to);
  }
  flush(engine, sink);
}

bool seal_keepalive(struct engine *engine, int key, int path, run_sink sink) {
  int32_t item[ITEM_WORDS] = {0};
  item[ITEM_KEY] = key;
  item[ITEM_PATH] = path;
  struct sealer to = {.engine = engine, .sink = sink, .item = item};
  to.key = engine_key(engine, key);
  to.path = engine_path(engine, path);
  uint8_t nothing[16];
  bool sealed = to.key != NULL && to.path != NULL && seal_packet(&to, nothing, 0, 0);
  flush(engine, sink);
  return sealed;
}
