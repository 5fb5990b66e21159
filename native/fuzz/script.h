// What the targets for packets read: a script of operations, so that one input can make several packets, and that
// test/support/fuzz-scripts.ts can play the same one on the addon and its TypeScript twin. Numbers are big-endian; what lies beyond the
// end of an input is zero.
//
// outbound   mtu 2, path's mtu 2, path's prefix 1 (modulo 65), then packets of the device to the end:
//            op 1, flags 1, GSO type 1, GSO size 2, checksum start 2, checksum offset 1, link 1, length 2, content
//              op & 1: seal first what is there        op & 2: complete the checksums of its batch before it is sealed
//              op & 4: key and path 1, not 0           op & 8: no key
//              op & 16: FLAG_ANY_SIZE                  op & 32: the content is followed by a pattern of 16 times its length
// inbound    offloads 2, then datagrams to the end:
//            op 1, skip 2, length 2, content, [position 2]
//              op & 1: open first what is there        op & 2: begins another message, whose datagrams have its size
//              op & 12: 0 as it is, 4 and 8 sealed by the sender of key 0 and 1, 12 the last sealed one again
//              op & 16: a bit of the byte at `position` is wrong
//              op & 32: the counter of the sender first goes up by `skip`
//            A batch has at most MAX_SLOTS messages, a message at most SUPER_PACKET_BYTES.
// relay      datagrams to the end: op 1, times 1, destination 1, length 2, content
//              op & 1: handle first what is there      op & 2: begins another message, whose datagrams have its size
//              op & 4: behind a data header with the token op >> 4 and that destination
//              op & 8: the content is followed by a pattern of 16 times its length
//            The datagram comes `times` (modulo 64) and one more. Of a run with destination d goes what is for paths: d & 3, none when d & 4.
// device     kind 1 (1: TAP), offloads 1, then frames to the end: length 2, virtio-net header 10 (little-endian), content
#ifndef BURI_FUZZ_SCRIPT_H
#define BURI_FUZZ_SCRIPT_H

#include <stdio.h>
#include <stdlib.h>

#include "../engine.h"

enum { BATCH_ITEMS = 7, PATTERN_TIMES = 16, KEYS = 2 };

struct script {
  const uint8_t *at;
  const uint8_t *end;
};

static inline bool script_ended(const struct script *script) { return script->at >= script->end; }

static inline unsigned script_byte(struct script *script) {
  return script_ended(script) ? 0 : *script->at++;
}

static inline unsigned script_word(struct script *script) {
  unsigned high = script_byte(script);
  return high << 8 | script_byte(script);
}

// Cuts `length` to what is there.
static inline const uint8_t *script_content(struct script *script, size_t *length) {
  const uint8_t *content = script->at;
  size_t left = (size_t)(script->end - script->at);
  if (*length > left) *length = left;
  script->at += *length;
  return content;
}

static inline void require(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "fuzz: %s\n", what);
  abort();
}

// An engine with tables, two keys (AES-256-GCM, ChaCha20-Poly1305) and, in `other`, those of the other side.
static inline struct engine *fuzz_engine(void) {
  struct engine *engine = engine_new();
  engine->in = calloc(MAX_SLOTS, SLOT_BYTES);
  engine->run.buffer = calloc(1, SUPER_PACKET_BYTES);
  engine->items = calloc(MAX_ITEMS * ITEM_WORDS, 4);
  engine->messages = calloc(MAX_SLOTS * MESSAGE_WORDS, 4);
  engine->runs = calloc(MAX_RUNS * RUN_WORDS, 4);
  engine->units = calloc(MAX_UNITS * UNIT_WORDS, 4);
  engine->pieces = calloc(MAX_PIECES * PIECE_WORDS, 4);
  engine->counters = calloc(COUNT_TOTAL, sizeof(double));
  engine->keys = calloc(KEYS, sizeof *engine->keys);
  engine->key_slots = KEYS;
  engine->paths = calloc(KEYS, sizeof *engine->paths);
  engine->path_slots = KEYS;
  return engine;
}

static inline void fuzz_keys(struct engine *engine, struct key **other) {
  for (int i = 0; i < KEYS; i++) {
    uint8_t send[KEY_BYTES], receive[KEY_BYTES];
    memset(send, 16 * i + 1, KEY_BYTES);
    memset(receive, 16 * i + 2, KEY_BYTES);
    int suite = i == 0 ? SUITE_AES_256_GCM : SUITE_CHACHA20_POLY1305;
    key_free(engine->keys[i]);
    key_free(other[i]);
    engine->keys[i] = key_new(suite, (uint32_t)i, send, receive, NULL);
    other[i] = key_new(suite, (uint32_t)i, receive, send, NULL);
  }
}

#endif
