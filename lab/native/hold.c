#include "hold.h"

#include <stdlib.h>

bool pool_open(struct pool *pool) {
  pool->frames = malloc((size_t)HELD_MAX * FRAME_BYTES);
  pool->free = malloc(HELD_MAX * sizeof *pool->free);
  if (pool->frames == NULL || pool->free == NULL) return false;
  // A stack: the same few frames are used again while they are in the cache.
  for (uint32_t i = 0; i < HELD_MAX; i++) pool->free[i] = HELD_MAX - 1 - i;
  pool->free_count = HELD_MAX;
  return true;
}

bool pool_take(struct pool *pool, slot *taken) {
  if (pool->free_count == 0) return false;
  *taken = pool->free[--pool->free_count];
  return true;
}

void pool_give_back(struct pool *pool, slot given) { pool->free[pool->free_count++] = given; }

bool hold_open(struct hold *hold) {
  hold->heap = malloc(HELD_MAX * sizeof *hold->heap);
  return hold->heap != NULL;
}

static bool is_before(const struct held *a, const struct held *b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

void hold_push(struct hold *hold, int64_t due_ns, slot slot, uint32_t bytes) {
  struct held added = {due_ns, hold->next_order++, slot, bytes};
  uint32_t at = hold->count++;
  while (at > 0) {
    uint32_t parent = (at - 1) / 2;
    if (!is_before(&added, &hold->heap[parent])) break;
    hold->heap[at] = hold->heap[parent];
    at = parent;
  }
  hold->heap[at] = added;
}

struct held hold_pop(struct hold *hold) {
  struct held first = hold->heap[0], moved = hold->heap[--hold->count];
  uint32_t at = 0;
  for (;;) {
    uint32_t child = 2 * at + 1;
    if (child >= hold->count) break;
    if (child + 1 < hold->count && is_before(&hold->heap[child + 1], &hold->heap[child])) child++;
    if (!is_before(&hold->heap[child], &moved)) break;
    hold->heap[at] = hold->heap[child];
    at = child;
  }
  hold->heap[at] = moved;
  return first;
}
