// The byte work of a relay (protocol section 11) over the sockets and paths of an engine: tables that JavaScript and C share, and
// the functions over them. `src/relay/layout.ts` repeats the numbers and a test compares them.
//
// relay_receive fills RELAY rows up to RELAY_PATH; JavaScript fills in RELAY_PATH (where the run goes, or -1) and RELAY_FROM;
// relay_send sends what has a path.
#ifndef BURI_RELAY_H
#define BURI_RELAY_H

#include "engine.h"

// A run: datagrams of one message that have the same source, the same header and the same kind, one behind the other.
enum {
  RELAY_OFFSET,       // of the first datagram in the slots
  RELAY_LENGTH,       // of all of them, headers included
  RELAY_SEGMENT,      // of each but the last, which may be shorter
  RELAY_COUNT,
  RELAY_KIND,         // RELAY_*
  RELAY_TOKEN,        // 2 words, as they lie there (little-endian)
  RELAY_DESTINATION = 7,
  RELAY_FAMILY,       // of the source, as are port and address
  RELAY_PORT,
  RELAY_ADDRESS,      // 4 words, most significant first
  RELAY_PATH = 14,    // set by JavaScript
  RELAY_FROM,         // set by JavaScript: the sender's client number, for RELAY_WRAPPED
  RELAY_WORDS
};

enum {
  RELAY_BARE = 1,     // data with a WireGuard transport message in it: delivered without a header
  RELAY_WRAPPED = 2,  // other data: delivered behind the header that names the sender
  RELAY_PROBE = 3,    // a padded probe: it asks whether its size passes in one piece
  RELAY_CONTROL = 4   // everything else of the relay protocol
};

enum {
  RELAY_SLOTS = 64,             // messages in a batch
  RELAY_RUNS = 4096,            // rows
  RELAY_DATA_HEADER = 20,
  RELAY_DELIVERED_HEADER = 12,
  RELAY_LEAST_HEADER = 8,       // magic, type, zeros
  RELAY_PROBE_BYTES = 96        // a probe that is longer is padded
};

// One send: datagrams of one path and one size, but for the last.
struct relay_send;
typedef void (*relay_sink)(struct engine *engine, const struct relay_send *sends, int count);

struct relay *relay_new(void);
void relay_free(struct relay *relay);

// Receives a batch and splits it into runs. Returns the number of runs, or a negative errno (never EAGAIN). `messages` says
// how many messages it was.
int relay_receive(struct engine *engine, int socket, int *messages);

// Splits received messages, whose rows lie in the engine's relay, into runs.
int relay_group(struct engine *engine, int messages);

// Sends the runs that have a path, in order within each path.
void relay_send_runs(struct engine *engine, int runs);

// For tests: writes what would be sent to `bytes`, and path, length, segment and count of each send to `rows`. Returns the number of sends.
int relay_send_into(struct engine *engine, int runs, uint8_t *bytes, size_t size, int32_t *rows, int most);

// Of struct engine, there when the environment is a relay's.
struct relay {
  uint8_t *in;         // RELAY_SLOTS slots of SLOT_BYTES, owned by JavaScript
  int32_t *runs;       // RELAY_RUNS rows, owned by JavaScript
  int32_t *messages;   // RELAY_SLOTS rows MESSAGE_*, owned by JavaScript
  struct relay_batch *batch;
};

#endif
