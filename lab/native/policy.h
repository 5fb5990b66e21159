// What an impaired line does to its packets: pure decisions, from settings, a seed and the time.
//
//   packet ──► bottleneck ──► fate ──► distance ──► out
//              rate, queue    lost,    delay, jitter;
//                             broken,  some are held
//                             doubled  back
#ifndef BURI_LAB_POLICY_H
#define BURI_LAB_POLICY_H

#include <stdbool.h>
#include <stdint.h>

// Rates are probabilities for each packet. All zero: the line does nothing.
struct impairments {
  double loss;           // one packet
  double burst;          // that a burst begins, in which everything is lost
  double burst_packets;  // its mean length (geometric)
  double corrupt;        // one bit
  double duplicate;
  double reorder;      // held back, so that later ones overtake it
  double reorder_ms;   // by at most this long
  double delay_ms;     // of everything
  double jitter_ms;    // on top of it, 0 to this; never reorders
  double rate_mbit;    // of the bottleneck, 0: none
  double queue_bytes;  // in front of it; what does not fit is dropped
};

struct line {
  struct impairments set;
  uint64_t random[4];
  bool in_burst;
  int64_t bottleneck_free_ns;
  int64_t last_due_ns;
};

// A packet has one fate: so counts of what was done are counts of what is to be seen.
enum fate { FATE_PASS, FATE_CORRUPT, FATE_DUPLICATE, FATE_LOST, FATE_LOST_IN_BURST, FATE_QUEUE_FULL };

struct verdict {
  enum fate fate;
  int copies;         // 0 to 2
  bool held_back[2];  // for each copy
  int64_t due_ns[2];
};

void line_seed(struct line *line, uint64_t seed);
// Replaces all settings by `name=value` pairs, separated by spaces; NULL, or the pair that is wrong (nothing is changed then).
const char *line_set(struct line *line, char *pairs);
struct verdict line_decide(struct line *line, int64_t now_ns, uint32_t bytes);
uint64_t line_random(struct line *line);

#endif
