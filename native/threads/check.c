// Several threads seal and open under one key, each with a `struct key` of its own over shared state, as the threads of an engine
// do. Every counter is sealed once, no packet is accepted twice and none is lost, and the limit of the key holds. Built with
// ThreadSanitizer by run.sh, which also tells of any access that is not ordered.
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../engine.h"

enum { THREADS = 4, SEALED = 20000, OPENED = 20000, MARKED = 400000, LEFT = 1000, SHUFFLE = 64 };
enum { PACKET = TRANSPORT_OVERHEAD };

static const uint8_t ONE[KEY_BYTES] = {1}, TWO[KEY_BYTES] = {2};

struct worker {
  pthread_t thread;
  unsigned number;
  struct key *key;
};

static int suite;
static struct key_state state;
static uint64_t limit;  // counters below it are looked at
static _Atomic uint8_t times[MARKED + THREADS * SEALED];
static uint8_t packets[OPENED][PACKET];

static void run(void *(*work)(void *)) {
  struct worker workers[THREADS];
  for (size_t i = 0; i < sizeof times; i++) times[i] = 0;
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){.number = i, .key = key_new(suite, 7, ONE, TWO, &state)};
    assert(workers[i].key != NULL);
    assert(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    key_free(workers[i].key);
  }
}

static void check_once(const char *what) {
  for (uint64_t i = 0; i < limit; i++) {
    if (times[i] == 1) continue;
    printf("%s: counter %llu %u times\n", what, (unsigned long long)i, times[i]);
    exit(1);
  }
  printf("%s: each of %llu counters once\n", what, (unsigned long long)limit);
}

// The i-th of counters that are nearly in order, in another order for each thread.
static uint64_t nearly(uint64_t i, const struct worker *worker) {
  uint64_t within = (i * (2 * worker->number + 1) + worker->number) % SHUFFLE;
  return i / SHUFFLE * SHUFFLE + within;
}

static void *seal(void *data) {
  struct worker *worker = data;
  uint8_t packet[PACKET];
  for (int i = 0; i < SEALED; i++) {
    assert(transport_seal(worker->key, packet, NULL, 0));
    uint64_t counter = load_le64(packet + 8);
    assert(counter == worker->key->last && counter < limit);
    times[counter]++;
  }
  return NULL;
}

static void *seal_to_the_limit(void *data) {
  struct worker *worker = data;
  uint8_t packet[PACKET];
  key_start_at(worker->key, worker->key->refuse_at - LEFT);
  while (transport_seal(worker->key, packet, NULL, 0)) {
    times[worker->key->refuse_at - 1 - load_le64(packet + 8)]++;
  }
  assert(!transport_seal(worker->key, packet, NULL, 0));
  return NULL;
}

static void *open_copies(void *data) {
  struct worker *worker = data;
  for (uint64_t i = 0; i < limit; i++) {
    uint64_t which = nearly(i, worker);
    uint8_t copy[PACKET];
    memcpy(copy, packets[which], PACKET);
    enum open_result result = transport_open(worker->key, copy, PACKET);
    assert(result != OPEN_FORGED);
    if (result == OPEN_OK) times[which]++;
  }
  return NULL;
}

static void *mark(void *data) {
  struct worker *worker = data;
  for (uint64_t i = 0; i < limit; i++) {
    uint64_t counter = nearly(i, worker);
    if (replay_check(&state.replay, counter) && replay_mark(&state.replay, counter)) times[counter]++;
  }
  return NULL;
}

static void start(uint64_t counters) {
  memset(&state, 0, sizeof state);
  limit = counters;
}

static void check_suite(int which) {
  suite = which;
  start(THREADS * SEALED);
  run(seal);
  check_once("sealed");

  start(LEFT);
  run(seal_to_the_limit);
  check_once("sealed up to the limit");

  start(OPENED / SHUFFLE * SHUFFLE);
  struct key *sender = key_new(suite, 7, TWO, ONE, NULL);
  assert(sender != NULL);
  for (uint64_t i = 0; i < limit; i++) assert(transport_seal(sender, packets[i], NULL, 0));
  key_free(sender);
  run(open_copies);
  check_once("opened");
}

int main(void) {
  check_suite(SUITE_CHACHA20_POLY1305);
  check_suite(SUITE_AES_256_GCM);
  start(MARKED / SHUFFLE * SHUFFLE);
  run(mark);
  check_once("marked");
  return 0;
}
