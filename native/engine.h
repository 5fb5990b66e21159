// The state of one engine and the functions over it. Nothing here knows Node: addon.c binds it to JavaScript.
#ifndef BURI_ENGINE_H
#define BURI_ENGINE_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "abi.h"
#include "bytes.h"
#include "layout.h"

// ---- keys (transport.c)

// SUITE_AES_256_GCM_EVP is the same on the wire, by OpenSSL in any case; without it aesgcm.c does what it can.
enum { SUITE_CHACHA20_POLY1305 = 0, SUITE_AES_256_GCM = 1, SUITE_AES_256_GCM_EVP = 2 };
enum { TRANSPORT_HEADER = 16, TAG = 16, TRANSPORT_OVERHEAD = 32, KEY_BYTES = 32 };
enum { REPLAY_WORDS = 128, REPLAY_BITS = REPLAY_WORDS * 64, REPLAY_WINDOW = REPLAY_BITS - 64 };

// The sliding window of RFC 6479: `next` is one above the greatest counter seen. Several threads may use one.
struct replay {
  atomic_uint lock;  // of marking
  _Atomic uint64_t next;
  _Atomic uint64_t bits[REPLAY_WORDS];
};

// Whether a counter would be accepted now.
bool replay_check(const struct replay *window, uint64_t counter);
// Marks a counter as seen. False when it was seen already, or is too old: of all threads, one is told true.
bool replay_mark(struct replay *window, uint64_t counter);

// What the engines of several threads share of a key, so that no counter is used or accepted twice. Zero at first.
struct key_state {
  _Atomic uint64_t counter;  // of the next packet sent
  uint64_t apart[7];         // who sends and who receives write to cache lines of their own
  struct replay replay;
};
enum { KEY_STATE_BYTES = sizeof(struct key_state) };

struct key {
  // One of these pairs is there.
  struct aesgcm *vaes_seal, *vaes_open;
  EVP_CIPHER_CTX *evp_seal, *evp_open;
  uint32_t remote_index;
  uint64_t rekey_at;
  uint64_t refuse_at;
  uint64_t last;  // counter of the packet that this engine sealed last
  struct key_state *state;
  void *pin;  // of the shared state, for the owner of the key
};

// The state lies in `shared`, which outlives the key, or, when that is NULL, in the key.
struct key *key_new(int suite, uint32_t remote_index, const uint8_t *send, const uint8_t *receive,
                    struct key_state *shared);
// No packet is sealed with a lower counter than `first`.
void key_start_at(struct key *key, uint64_t first);
void key_free(struct key *key);

// Seals into `out`: header, ciphertext, tag. `length` bytes of `in`, which may lie anywhere. False: limit reached.
bool transport_seal(struct key *key, uint8_t *out, const uint8_t *in, size_t length);

enum open_result { OPEN_OK, OPEN_FORGED, OPEN_REPLAYED };

// Opens a transport packet in place: the plaintext starts TRANSPORT_HEADER bytes in.
enum open_result transport_open(struct key *key, uint8_t *packet, size_t length);

// ---- inner packets (inner.c)

struct inner {
  int family;
  size_t length;         // of the whole packet, from its own header
  size_t header_length;  // of the IP header
  uint8_t protocol;      // of what follows it
  bool fragment;
};

// Reads an IP header; false when the bytes are not one whole packet. Bytes after the packet are padding.
bool inner_parse(const uint8_t *packet, size_t available, struct inner *inner);

// What stands before an inner payload that is not IP (src/wire/inner.ts).
enum { WRAPPED_HEADER = 4, ETHERNET_HEADER = 14 };

// Reads that header: family FAMILY_FRAME or FAMILY_MESSAGE, and the length of what follows it. False when it is none, or when
// the payload is not all there.
bool wrapped_parse(const uint8_t *bytes, size_t available, struct inner *inner);

// Puts a MAC as two words, most significant first, into a row's four.
void mac_words(int32_t *words, const uint8_t *mac);

// ---- frames of a TAP device (frame.c)

// Completes the row of a frame of the device. IP packets become what a TUN device would have delivered; other frames have
// family FAMILY_FRAME, and 0 is what is malformed.
void frame_describe(int32_t *item, const uint8_t *frame, size_t length);

// Writes the Ethernet header (ETHERNET_HEADER bytes) of an IP unit for the device.
void frame_header(uint8_t *header, const uint8_t *ours, const int32_t *unit);

// Puts an address as words, most significant first, into a row.
void address_words(int32_t *words, const uint8_t *address, int family);

// ---- runs of datagrams (segment.c)

struct path {
  bool set;
  int socket;
  struct sockaddr_storage remote;
  socklen_t remote_length;
  uint8_t prefix[MAX_PREFIX_BYTES];
  size_t prefix_length;
  size_t mtu;  // the largest packet of the inside that fits in one piece; 0: not known
  // Larger datagrams are sent one by one, because UDP_SEGMENT failed for them. 0: all.
  size_t segment_limit;
  int64_t segment_retry_ms;
  // Of a relay: the send of the batch in hand that goes there.
  unsigned relay_stamp;
  int relay_send;
};

// ---- what does not fit through a path (fit.c)

// `FIT_TOO_BIG`: whoever sent it has to be told.
enum fit { FIT_WHOLE, FIT_FRAGMENTS, FIT_TOO_BIG };
enum fit fit_of(const uint8_t *packet, size_t length, size_t mtu);

// How much payload a fragment of an IPv4 packet has, but for the last one.
size_t fragment_payload(size_t header_length, size_t mtu);

// Turns the header of an IPv4 packet into that of its fragment with the payload from `at` on.
void fragment_header(uint8_t *header, size_t header_length, size_t at, size_t payload, bool last);

// Lowers the MSS option of a TCP SYN to what fits, and its checksum, which is complete, with it.
void clamp_mss(uint8_t *packet, size_t length, size_t mtu);

// Datagrams of one path and one size, but for the last, ready to be sent in one call.
struct run {
  uint8_t *buffer;  // SUPER_PACKET_BYTES
  size_t used;
  size_t segment;
  unsigned count;
  bool closed;
  int path;
};

struct engine;
typedef void (*run_sink)(struct engine *engine, struct run *run);

// Seals `count` items into runs and hands each run to the sink.
void seal_items(struct engine *engine, int count, run_sink sink);

// Completes the checksums of items that are no super-packets, so that they can be sealed any number of times.
void complete_items(struct engine *engine, int items);

// Seals an empty packet. False: limit reached.
bool seal_keepalive(struct engine *engine, int key, int path, run_sink sink);

// ---- receiving (classify.c, coalesce.c)

// Splits received messages into runs of one kind and one receiver index. Returns the number of runs.
int classify(struct engine *engine, int messages);

// Opens the runs that JavaScript gave a key, and joins packets of a flow to units. Returns the number of units.
int open_runs(struct engine *engine, int runs);

// ---- system calls (device.c, socket.c)

struct device {
  int fd;
  bool tap;  // carries Ethernet frames
  uint8_t mac[6];
  unsigned offloads;
};

// Returns 0, or a negative errno. `name` is IFNAMSIZ bytes and receives the name given. With `queues` other engines may open the
// same device: each has a queue of its own, and the kernel keeps a flow in one.
int device_open(struct engine *engine, char *name, int mtu, unsigned wanted, bool queues,
                const uint8_t *mac);
void device_close(struct engine *engine);
// Reads packets into ITEM rows. Returns their number or a negative errno (never EAGAIN).
int device_read(struct engine *engine, int most);
// Writes the accepted units from `first` on. Returns the unit to go on with when the device is full, else `count`.
int device_write(struct engine *engine, int first, int count);
// Writes one packet (a frame, on a TAP device) that was built here. False, and counted, when the device does not take it.
bool device_inject(struct engine *engine, const uint8_t *bytes, size_t length);

struct udp_socket {
  int fd;
  int family;
  unsigned offloads;
  uint32_t overflow;  // last value of SO_RXQ_OVFL
};

enum { MAX_SOCKETS = 258 };

// How a socket shares its port with those of other threads: not, as their first, as one of the others.
enum { SHARE_NOT = 0, SHARE_FIRST = 1, SHARE_JOIN = 2 };

// Returns the index of the socket (`index`, or a free one for -1), or a negative errno. `port` receives the port bound.
int udp_open(struct engine *engine, const struct sockaddr *local, socklen_t length, unsigned wanted,
             int share, int index, int *port);
// Takes part in a socket that somebody else has opened: a copy of the descriptor, with the same port and queue.
int udp_adopt(struct engine *engine, int descriptor, unsigned wanted, int index, int *port);
// A descriptor of an IPv4 socket on any port, or a negative errno. It is the caller's.
int udp_descriptor(void);
void udp_close(struct engine *engine, int index);
// Returns the number of messages or a negative errno (never EAGAIN).
int udp_receive(struct engine *engine, int index);
// The same into slots of SLOT_BYTES and rows MESSAGE_* of the caller.
int udp_receive_into(struct engine *engine, int index, uint8_t *slots, int32_t *rows, int most);
void udp_send_run(struct engine *engine, struct run *run);
// Whether datagrams of this size may go to the path by UDP_SEGMENT now; its socket is one that is open.
bool udp_may_segment(struct engine *engine, struct path *path, size_t segment);
// Whether it was UDP_SEGMENT that a send failed for: then it is remembered, and the datagrams go one by one.
bool udp_segment_refused(struct engine *engine, struct path *path, int error, size_t segment);
void udp_count_failure(struct engine *engine, int error, unsigned datagrams);
// `whole`: nobody on the way may fragment it; false as well when it is too large for the first link.
bool udp_send_one(struct engine *engine, int index, const struct sockaddr *remote, socklen_t length,
                  const uint8_t *bytes, size_t size, int ttl, bool whole);

// ---- the process (memory.c)

// Gives back what was freed, and unmaps the program's pages, which come back as they are used.
void memory_release(void);

// ---- all of it

struct engine {
  struct device device;
  struct udp_socket sockets[MAX_SOCKETS];
  size_t mtu;
  struct key **keys;
  int key_slots;
  struct path *paths;
  int path_slots;
  // Owned by JavaScript, pinned by references that addon.c holds.
  uint8_t *out;  // outbound buffer: packets as read
  size_t out_length;
  size_t out_batch;     // stop reading when so much is there
  uint8_t *in;          // MAX_SLOTS slots of SLOT_BYTES
  struct run run;       // its buffer too
  int32_t *items;       // MAX_ITEMS rows
  int32_t *messages;    // MAX_SLOTS rows
  int32_t *runs;        // MAX_RUNS rows
  int32_t *units;       // MAX_UNITS rows
  int32_t *pieces;      // MAX_PIECES rows
  struct relay *relay;  // of an environment that is a relay's (relay.h)
  double *counters;     // COUNT_TOTAL, in shared memory: doubles, because JavaScript reads them without allocating
};

struct engine *engine_new(void);
void engine_free(struct engine *engine);

static inline void count(struct engine *engine, int counter, double by) {
  engine->counters[counter] += by;
}

static inline struct key *engine_key(struct engine *engine, int slot) {
  return slot >= 0 && slot < engine->key_slots ? engine->keys[slot] : NULL;
}

static inline struct path *engine_path(struct engine *engine, int slot) {
  if (slot < 0 || slot >= engine->path_slots || !engine->paths[slot].set) return NULL;
  return &engine->paths[slot];
}

#endif
