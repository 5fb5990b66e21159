// The mappings of a NAT after RFC 4787: mapping × filtering × port allocation × timeout × hairpinning. Pure decisions, from settings, a seed
// and the time; addresses and ports are in host byte order.
#ifndef BURI_LAB_NAT_TABLE_H
#define BURI_LAB_NAT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum {
  PORTS = 65536,
  // Remote endpoints that may send: sets of ways; the oldest of a full set is forgotten.
  PERMISSION_SETS = 32768,
  PERMISSION_WAYS = 8,
  FORWARDS_MAX = 64,
  // Conversations that came in by a forwarded port, and leave by it too.
  FORWARDED_MAX = 4096,
};

enum dependence { INDEPENDENT, ADDRESS, ADDRESS_AND_PORT };
enum allocation { PRESERVING, RANDOM, RANDOM_IN_BLOCK, SEQUENTIAL };

struct nat_settings {
  enum dependence mapping, filtering;
  enum allocation allocation;
  uint32_t step;                   // of a sequential one
  uint32_t block_first, block_size;
  int64_t timeout_ns;
  bool hairpin;
  double foreign_per_second;       // mappings that others behind the same NAT make
};

struct endpoint {
  uint32_t address;
  uint16_t port;
};

// Of the public port that is its index.
struct mapping {
  struct endpoint inside;
  struct endpoint towards;         // zero where the mapping does not depend on it
  int64_t used_ns;
  uint32_t generation;             // 0: none
  uint16_t next;                   // of the same hash, 0: none
};

struct permission {
  struct endpoint remote;          // port 0: all ports
  int64_t used_ns;
  uint32_t generation;             // of the mapping that it belongs to
};

struct forwarded {
  struct endpoint inside, remote;
  uint16_t port;
  int64_t used_ns;
};

struct nat_table {
  struct nat_settings set;
  uint32_t public_address;
  struct mapping mappings[PORTS];
  uint16_t buckets[PORTS];
  struct permission permissions[PERMISSION_SETS][PERMISSION_WAYS];
  struct { uint16_t port; uint32_t inside; } forwards[FORWARDS_MAX];
  uint32_t forward_count;
  struct forwarded forwarded[FORWARDED_MAX];
  uint64_t hash_key[2];
  uint64_t random[4];
  uint32_t generation;
  uint32_t next_port;
  int64_t next_foreign_ns;
};

// About 6 MiB; NULL when there is no memory.
struct nat_table *nat_open(uint64_t seed);
// Changes settings by `name=value` pairs, separated by spaces; NULL, or the pair that is wrong (nothing is changed then).
const char *nat_set(struct nat_table *nat, char *pairs);
// Forgets every mapping, as a reboot does. Forwards stay.
void nat_flush(struct nat_table *nat);
// False when there are too many.
bool nat_forward(struct nat_table *nat, uint16_t port, uint32_t inside);

// From inside: the public port that it leaves by; 0 when it is dropped, because no port is free.
uint16_t nat_outbound(struct nat_table *nat, int64_t now_ns, struct endpoint inside, struct endpoint remote);
// From outside: whom it is for; false when it is dropped.
bool nat_inbound(struct nat_table *nat, int64_t now_ns, struct endpoint remote, uint16_t port, struct endpoint *inside);
// Whose a public port is, whoever sends to it, without any effect: for what errors quote.
bool nat_owner(struct nat_table *nat, int64_t now_ns, uint16_t port, struct endpoint *inside);
bool nat_is_alive(const struct nat_table *nat, int64_t now_ns, uint16_t port);

#endif
