// What an impaired line would do, without one: the same decisions over a made-up clock.
//
//   impairment-trial SEED COUNT GAP-NS BYTES [NAME=VALUE …]
//
// Prints for each of COUNT packets, GAP-NS apart, `NUMBER DUE-NS FATE`, in the order in which they come out, and `NUMBER - FATE` for
// those that do not.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hold.h"
#include "policy.h"

static const char *const FATES[] = {"pass", "corrupt", "duplicate", "lost", "lost-in-burst", "queue-full"};

static void print_due(struct hold *hold, int64_t now) {
  while (hold->count > 0 && hold_first(hold)->due_ns <= now) {
    // The heap of the router; its frames and lengths carry the number and the fate here.
    struct held due = hold_pop(hold);
    printf("%" PRIu32 " %" PRId64 " %s\n", due.slot, due.due_ns, FATES[due.bytes]);
  }
}

static int run(struct line *line, uint32_t count, int64_t gap, uint32_t bytes) {
  struct hold hold = {0};
  if (!hold_open(&hold)) return 1;
  for (uint32_t i = 0; i < count; i++) {
    int64_t now = i * gap;
    print_due(&hold, now);
    struct verdict verdict = line_decide(line, now, bytes);
    if (verdict.copies == 0) printf("%" PRIu32 " - %s\n", i, FATES[verdict.fate]);
    for (int copy = 0; copy < verdict.copies; copy++) {
      if (hold.count == HELD_MAX) {
        fprintf(stderr, "impairment-trial: more than %d packets on the way\n", HELD_MAX);
        return 1;
      }
      hold_push(&hold, verdict.due_ns[copy], i, verdict.fate);
    }
  }
  print_due(&hold, INT64_MAX);
  free(hold.heap);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: impairment-trial SEED COUNT GAP-NS BYTES [NAME=VALUE …]\n");
    return 2;
  }
  struct line line;
  line_seed(&line, strtoull(argv[1], NULL, 10));
  char settings[4096] = "";
  for (int i = 5; i < argc; i++) {
    if (strlen(settings) + strlen(argv[i]) + 2 > sizeof settings) return 2;
    strcat(strcat(settings, argv[i]), " ");
  }
  const char *wrong = line_set(&line, settings);
  if (wrong != NULL) {
    fprintf(stderr, "impairment-trial: %s\n", wrong);
    return 2;
  }
  return run(&line, (uint32_t)strtoul(argv[2], NULL, 10), strtoll(argv[3], NULL, 10),
             (uint32_t)strtoul(argv[4], NULL, 10));
}
