// Frames on their way: a fixed pool of them, and a heap by the time when each is due.
#ifndef BURI_LAB_HOLD_H
#define BURI_LAB_HOLD_H

#include <stdbool.h>
#include <stdint.h>

enum {
  // Longer frames are super-packets of an offload that was left on.
  FRAME_BYTES = 2048,
  // 40 ms of 1 Gbit/s in frames of 1,500 bytes, 13 times: 64 MiB, touched as used.
  HELD_MAX = 32768,
};

typedef uint32_t slot;

struct held {
  int64_t due_ns;
  // Ties go by arrival.
  uint64_t order;
  slot slot;
  uint32_t bytes;
};

struct pool {
  uint8_t (*frames)[FRAME_BYTES];
  slot *free;
  uint32_t free_count;
};

struct hold {
  struct held *heap;
  uint32_t count;
  uint64_t next_order;
};

// False when there is no memory.
bool pool_open(struct pool *pool);
// False when all are taken.
bool pool_take(struct pool *pool, slot *taken);
void pool_give_back(struct pool *pool, slot given);

bool hold_open(struct hold *hold);
// There is room for every frame of the pool.
void hold_push(struct hold *hold, int64_t due_ns, slot slot, uint32_t bytes);
// The one that is due first; undefined while there is none.
static inline const struct held *hold_first(const struct hold *hold) { return &hold->heap[0]; }
struct held hold_pop(struct hold *hold);

#endif
