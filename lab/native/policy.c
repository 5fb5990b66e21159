#include "policy.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const double NS_PER_MS = 1e6;

// splitmix64: spreads a small seed over the whole state.
void line_seed(struct line *line, uint64_t seed) {
  memset(line, 0, sizeof *line);
  for (int i = 0; i < 4; i++) {
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    line->random[i] = z ^ (z >> 31);
  }
}

static uint64_t rotate(uint64_t value, int bits) {
  return (value << bits) | (value >> (64 - bits));
}

// xoshiro256** (Blackman and Vigna).
uint64_t line_random(struct line *line) {
  uint64_t *s = line->random;
  uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

// 0 to 1, without 1.
static double unit(struct line *line) { return (double)(line_random(line) >> 11) * 0x1p-53; }

static int64_t spread_ns(struct line *line, double ms) {
  return ms == 0 ? 0 : (int64_t)(unit(line) * ms * NS_PER_MS);
}

static const struct setting {
  const char *name;
  size_t offset;
  double most;
} SETTINGS[] = {
    {"loss", offsetof(struct impairments, loss), 1},
    {"burst", offsetof(struct impairments, burst), 1},
    {"burst-packets", offsetof(struct impairments, burst_packets), 1e6},
    {"corrupt", offsetof(struct impairments, corrupt), 1},
    {"duplicate", offsetof(struct impairments, duplicate), 1},
    {"reorder", offsetof(struct impairments, reorder), 1},
    {"reorder-ms", offsetof(struct impairments, reorder_ms), 10e3},
    {"delay-ms", offsetof(struct impairments, delay_ms), 10e3},
    {"jitter-ms", offsetof(struct impairments, jitter_ms), 10e3},
    {"rate-mbit", offsetof(struct impairments, rate_mbit), 1e6},
    {"queue-bytes", offsetof(struct impairments, queue_bytes), 1e9},
};

static bool apply(struct impairments *set, char *pair) {
  char *equals = strchr(pair, '='), *end;
  if (equals == NULL) return false;
  size_t length = (size_t)(equals - pair);
  double value = strtod(equals + 1, &end);
  if (end == equals + 1 || *end != '\0') return false;
  for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++) {
    const struct setting *setting = &SETTINGS[i];
    if (strlen(setting->name) != length || strncmp(setting->name, pair, length) != 0) continue;
    if (!(value >= 0 && value <= setting->most)) return false;
    memcpy((char *)set + setting->offset, &value, sizeof value);
    return true;
  }
  return false;
}

const char *line_set(struct line *line, char *pairs) {
  struct impairments set = {0};
  char *rest = NULL;
  for (char *pair = strtok_r(pairs, " ", &rest); pair; pair = strtok_r(NULL, " ", &rest)) {
    if (!apply(&set, pair)) return pair;
  }
  if (set.loss + set.corrupt + set.duplicate > 1) return "loss, corrupt and duplicate are more than 1";
  if (set.burst > 0 && set.burst_packets < 1) return "burst without burst-packets";
  if (set.rate_mbit > 0 && set.queue_bytes < 1) return "rate-mbit without queue-bytes";
  line->set = set;
  line->in_burst = false;
  return NULL;
}

// When the last bit has left the bottleneck, or -1 when there is no room in front of it.
static int64_t pass_bottleneck(struct line *line, int64_t now_ns, uint32_t bytes) {
  if (line->set.rate_mbit == 0) return now_ns;
  double ns_per_byte = 8e3 / line->set.rate_mbit;
  int64_t start = line->bottleneck_free_ns > now_ns ? line->bottleneck_free_ns : now_ns;
  if ((double)(start - now_ns) / ns_per_byte + bytes > line->set.queue_bytes) return -1;
  return line->bottleneck_free_ns = start + (int64_t)(bytes * ns_per_byte + 0.5);
}

static enum fate draw_fate(struct line *line) {
  const struct impairments *set = &line->set;
  if (!line->in_burst && set->burst > 0) line->in_burst = unit(line) < set->burst;
  if (line->in_burst) {
    line->in_burst = unit(line) >= 1 / set->burst_packets;
    return FATE_LOST_IN_BURST;
  }
  if (set->loss + set->corrupt + set->duplicate == 0) return FATE_PASS;
  double draw = unit(line);
  if (draw < set->loss) return FATE_LOST;
  if (draw < set->loss + set->corrupt) return FATE_CORRUPT;
  if (draw < set->loss + set->corrupt + set->duplicate) return FATE_DUPLICATE;
  return FATE_PASS;
}

struct verdict line_decide(struct line *line, int64_t now_ns, uint32_t bytes) {
  const struct impairments *set = &line->set;
  struct verdict verdict = {.fate = FATE_QUEUE_FULL};
  int64_t left_ns = pass_bottleneck(line, now_ns, bytes);
  if (left_ns < 0) return verdict;
  verdict.fate = draw_fate(line);
  if (verdict.fate == FATE_LOST || verdict.fate == FATE_LOST_IN_BURST) return verdict;
  verdict.copies = verdict.fate == FATE_DUPLICATE ? 2 : 1;
  for (int copy = 0; copy < verdict.copies; copy++) {
    int64_t due = left_ns + (int64_t)(set->delay_ms * NS_PER_MS) + spread_ns(line, set->jitter_ms);
    // Nobody overtakes, but for those that were held back: also when the delay has just been made shorter.
    if (due < line->last_due_ns) due = line->last_due_ns;
    verdict.held_back[copy] = set->reorder > 0 && unit(line) < set->reorder;
    if (verdict.held_back[copy]) due += spread_ns(line, set->reorder_ms);
    else line->last_due_ns = due;
    verdict.due_ns[copy] = due;
  }
  return verdict;
}
