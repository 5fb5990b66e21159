#include "nat-table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

enum { FIRST_DYNAMIC = 1024, LAST_PORT = 65535, ALLOCATION_ATTEMPTS = 4096, FOREIGN_AT_ONCE = 100000 };
static const double NS_PER_SECOND = 1e9;

// xoshiro256** (Blackman and Vigna), seeded by splitmix64.
static uint64_t next_random(struct nat_table *nat) {
  uint64_t *s = nat->random, five = s[1] * 5, result = ((five << 7) | (five >> 57)) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = (s[3] << 45) | (s[3] >> 19);
  return result;
}

static void seed_random(struct nat_table *nat, uint64_t seed) {
  for (int i = 0; i < 4; i++) {
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    nat->random[i] = z ^ (z >> 31);
  }
}

static uint32_t below(struct nat_table *nat, uint32_t bound) {
  return (uint32_t)(((next_random(nat) >> 32) * bound) >> 32);
}

static int64_t foreign_gap_ns(struct nat_table *nat) {
  double unit = (double)(next_random(nat) >> 11) / 9007199254740992.0;
  return (int64_t)(-log(1 - unit) / nat->set.foreign_per_second * NS_PER_SECOND) + 1;
}

struct nat_table *nat_open(uint64_t seed) {
  struct nat_table *nat = calloc(1, sizeof *nat);
  if (nat == NULL) return NULL;
  seed_random(nat, seed);
  nat->hash_key[0] = next_random(nat);
  nat->hash_key[1] = next_random(nat);
  nat->set = (struct nat_settings){.mapping = INDEPENDENT, .filtering = ADDRESS_AND_PORT, .allocation = PRESERVING,
                                   .step = 1, .block_first = FIRST_DYNAMIC, .block_size = 512,
                                   .timeout_ns = (int64_t)(30 * NS_PER_SECOND)};
  nat_flush(nat);
  return nat;
}

void nat_flush(struct nat_table *nat) {
  memset(nat->mappings, 0, sizeof nat->mappings);
  memset(nat->buckets, 0, sizeof nat->buckets);
  memset(nat->permissions, 0, sizeof nat->permissions);
  memset(nat->forwarded, 0, sizeof nat->forwarded);
  nat->next_port = 20000 + below(nat, 20000);
  nat->next_foreign_ns = 0;
}

static bool parse_dependence(const char *text, enum dependence *value) {
  static const char *const names[] = {"endpoint-independent", "address-dependent", "address-and-port-dependent"};
  for (int i = 0; i < 3; i++) {
    if (strcmp(text, names[i]) == 0) return *value = (enum dependence)i, true;
  }
  return false;
}

static bool parse_allocation(const char *text, enum allocation *value) {
  static const char *const names[] = {"preserving", "random", "random-in-block", "sequential"};
  for (int i = 0; i < 4; i++) {
    if (strcmp(text, names[i]) == 0) return *value = (enum allocation)i, true;
  }
  return false;
}

static bool parse_number(const char *text, double least, double most, double *value) {
  char *end;
  *value = strtod(text, &end);
  return end != text && *end == '\0' && *value >= least && *value <= most;
}

static bool set_one(struct nat_settings *set, const char *name, const char *text) {
  double number;
  if (strcmp(name, "mapping") == 0) return parse_dependence(text, &set->mapping);
  if (strcmp(name, "filtering") == 0) return parse_dependence(text, &set->filtering);
  if (strcmp(name, "allocation") == 0) return parse_allocation(text, &set->allocation);
  if (strcmp(name, "step") == 0 && parse_number(text, 1, 1000, &number)) return set->step = (uint32_t)number, true;
  if (strcmp(name, "block-first") == 0 && parse_number(text, 1, LAST_PORT, &number)) {
    return set->block_first = (uint32_t)number, true;
  }
  if (strcmp(name, "block-size") == 0 && parse_number(text, 1, LAST_PORT, &number)) {
    return set->block_size = (uint32_t)number, true;
  }
  if (strcmp(name, "timeout-ms") == 0 && parse_number(text, 1, 1e9, &number)) {
    return set->timeout_ns = (int64_t)(number * 1e6), true;
  }
  if (strcmp(name, "hairpin") == 0 && parse_number(text, 0, 1, &number)) return set->hairpin = number == 1, true;
  if (strcmp(name, "foreign-per-second") == 0 && parse_number(text, 0, 1000, &number)) {
    return set->foreign_per_second = number, true;
  }
  return false;
}

const char *nat_set(struct nat_table *nat, char *pairs) {
  struct nat_settings set = nat->set;
  char *rest = pairs;
  for (char *pair; (pair = strsep(&rest, " ")) != NULL;) {
    if (*pair == '\0') continue;
    char *equals = strchr(pair, '=');
    if (equals == NULL) return pair;
    *equals = '\0';
    bool right = set_one(&set, pair, equals + 1);
    *equals = '=';
    if (!right) return pair;
  }
  if (set.block_first + set.block_size > PORTS) return "block-first + block-size beyond the last port";
  nat->set = set;
  nat->next_foreign_ns = 0;
  return NULL;
}

bool nat_forward(struct nat_table *nat, uint16_t port, uint32_t inside) {
  for (uint32_t i = 0; i < nat->forward_count; i++) {
    if (nat->forwards[i].port == port) return nat->forwards[i].inside = inside, true;
  }
  if (nat->forward_count == FORWARDS_MAX) return false;
  nat->forwards[nat->forward_count].port = port;
  nat->forwards[nat->forward_count++].inside = inside;
  return true;
}

static const uint32_t *forward_of(const struct nat_table *nat, uint16_t port) {
  for (uint32_t i = 0; i < nat->forward_count; i++) {
    if (nat->forwards[i].port == port) return &nat->forwards[i].inside;
  }
  return NULL;
}

static uint64_t hash(const struct nat_table *nat, struct endpoint a, struct endpoint b) {
  uint32_t words[4] = {a.address, a.port, b.address, b.port};
  return siphash(nat->hash_key, (const uint8_t *)words, sizeof words);
}

static bool same(struct endpoint a, struct endpoint b) { return a.address == b.address && a.port == b.port; }

static struct endpoint part(struct endpoint remote, enum dependence of) {
  if (of == INDEPENDENT) return (struct endpoint){0, 0};
  return (struct endpoint){remote.address, of == ADDRESS ? 0 : remote.port};
}

bool nat_is_alive(const struct nat_table *nat, int64_t now_ns, uint16_t port) {
  const struct mapping *mapping = &nat->mappings[port];
  return mapping->generation != 0 && now_ns - mapping->used_ns < nat->set.timeout_ns;
}

// Nobody is behind foreign ones, and nothing finds them by whom they belong to.
static bool is_foreign(const struct mapping *mapping) { return mapping->inside.address == 0; }

static void forget(struct nat_table *nat, uint16_t port) {
  struct mapping *mapping = &nat->mappings[port];
  if (mapping->generation == 0) return;
  if (!is_foreign(mapping)) {
    uint16_t *link = &nat->buckets[(uint16_t)hash(nat, mapping->inside, mapping->towards)];
    while (*link != 0 && *link != port) link = &nat->mappings[*link].next;
    if (*link == port) *link = mapping->next;
  }
  memset(mapping, 0, sizeof *mapping);
}

static void add(struct nat_table *nat, int64_t now_ns, uint16_t port, struct endpoint inside, struct endpoint towards) {
  if (++nat->generation == 0) nat->generation = 1;
  struct mapping *mapping = &nat->mappings[port];
  *mapping = (struct mapping){.inside = inside, .towards = towards, .used_ns = now_ns, .generation = nat->generation};
  if (is_foreign(mapping)) return;
  uint16_t *bucket = &nat->buckets[(uint16_t)hash(nat, inside, towards)];
  mapping->next = *bucket;
  *bucket = port;
}

static bool take_if_free(struct nat_table *nat, int64_t now_ns, uint32_t port) {
  if (port == 0 || nat_is_alive(nat, now_ns, (uint16_t)port) || forward_of(nat, (uint16_t)port) != NULL) return false;
  forget(nat, (uint16_t)port);
  return true;
}

static uint32_t candidate(struct nat_table *nat) {
  const struct nat_settings *set = &nat->set;
  if (set->allocation == SEQUENTIAL) {
    uint32_t port = nat->next_port;
    nat->next_port = port + set->step > LAST_PORT ? FIRST_DYNAMIC : port + set->step;
    return port;
  }
  if (set->allocation == RANDOM_IN_BLOCK) return set->block_first + below(nat, set->block_size);
  return FIRST_DYNAMIC + below(nat, PORTS - FIRST_DYNAMIC);
}

// A free port; 0 when none was found.
static uint16_t allocate(struct nat_table *nat, int64_t now_ns, uint16_t wanted) {
  if (nat->set.allocation == PRESERVING && take_if_free(nat, now_ns, wanted)) return wanted;
  for (int attempt = 0; attempt < ALLOCATION_ATTEMPTS; attempt++) {
    uint32_t port = candidate(nat);
    if (take_if_free(nat, now_ns, port)) return (uint16_t)port;
  }
  return 0;
}

static void make_foreign(struct nat_table *nat, int64_t now_ns) {
  if (nat->set.foreign_per_second == 0) return;
  if (nat->next_foreign_ns == 0) nat->next_foreign_ns = now_ns + foreign_gap_ns(nat);
  for (int n = 0; n < FOREIGN_AT_ONCE && nat->next_foreign_ns <= now_ns; n++) {
    int64_t at = nat->next_foreign_ns;
    uint16_t port = allocate(nat, at, (uint16_t)(FIRST_DYNAMIC + below(nat, PORTS - FIRST_DYNAMIC)));
    if (port != 0) add(nat, at, port, (struct endpoint){0, 0}, (struct endpoint){0, 0});
    nat->next_foreign_ns = at + foreign_gap_ns(nat);
  }
}

static struct permission *permission_set(struct nat_table *nat, uint32_t generation, struct endpoint remote) {
  return nat->permissions[hash(nat, (struct endpoint){generation, 0}, remote) % PERMISSION_SETS];
}

static void permit(struct nat_table *nat, int64_t now_ns, uint16_t port, struct endpoint remote) {
  uint32_t generation = nat->mappings[port].generation;
  struct endpoint key = part(remote, nat->set.filtering);
  struct permission *set = permission_set(nat, generation, key), *oldest = set;
  for (int i = 0; i < PERMISSION_WAYS; i++) {
    if (set[i].generation == generation && same(set[i].remote, key)) {
      oldest = &set[i];
      break;
    }
    if (set[i].used_ns < oldest->used_ns) oldest = &set[i];
  }
  *oldest = (struct permission){.remote = key, .used_ns = now_ns, .generation = generation};
}

static bool is_permitted(struct nat_table *nat, int64_t now_ns, uint16_t port, struct endpoint remote) {
  if (nat->set.filtering == INDEPENDENT) return true;
  uint32_t generation = nat->mappings[port].generation;
  struct endpoint key = part(remote, nat->set.filtering);
  struct permission *set = permission_set(nat, generation, key);
  for (int i = 0; i < PERMISSION_WAYS; i++) {
    if (set[i].generation == generation && same(set[i].remote, key)) {
      return now_ns - set[i].used_ns < nat->set.timeout_ns;
    }
  }
  return false;
}

static struct forwarded *forwarded_slot(struct nat_table *nat, struct endpoint inside, struct endpoint remote) {
  return &nat->forwarded[hash(nat, inside, remote) % FORWARDED_MAX];
}

static uint16_t find(const struct nat_table *nat, struct endpoint inside, struct endpoint towards) {
  uint16_t port = nat->buckets[(uint16_t)hash(nat, inside, towards)];
  while (port != 0) {
    const struct mapping *mapping = &nat->mappings[port];
    if (same(mapping->inside, inside) && same(mapping->towards, towards)) return port;
    port = mapping->next;
  }
  return 0;
}

uint16_t nat_outbound(struct nat_table *nat, int64_t now_ns, struct endpoint inside, struct endpoint remote) {
  if (inside.address == 0) return 0;
  make_foreign(nat, now_ns);
  struct forwarded *slot = forwarded_slot(nat, inside, remote);
  if (slot->port != 0 && same(slot->inside, inside) && same(slot->remote, remote) &&
      now_ns - slot->used_ns < nat->set.timeout_ns) {
    slot->used_ns = now_ns;
    return slot->port;
  }
  struct endpoint towards = part(remote, nat->set.mapping);
  uint16_t port = find(nat, inside, towards);
  if (port != 0 && !nat_is_alive(nat, now_ns, port)) {
    forget(nat, port);
    port = 0;
  }
  if (port == 0) {
    port = allocate(nat, now_ns, inside.port);
    if (port == 0) return 0;
    add(nat, now_ns, port, inside, towards);
  }
  nat->mappings[port].used_ns = now_ns;
  permit(nat, now_ns, port, remote);
  return port;
}

bool nat_inbound(struct nat_table *nat, int64_t now_ns, struct endpoint remote, uint16_t port, struct endpoint *inside) {
  const uint32_t *forward = forward_of(nat, port);
  if (forward != NULL) {
    *inside = (struct endpoint){*forward, port};
    *forwarded_slot(nat, *inside, remote) = (struct forwarded){*inside, remote, port, now_ns};
    return true;
  }
  struct mapping *mapping = &nat->mappings[port];
  if (!nat_is_alive(nat, now_ns, port) || is_foreign(mapping) || !is_permitted(nat, now_ns, port, remote)) return false;
  mapping->used_ns = now_ns;
  // Conversations are refreshed from both sides, as Linux does it.
  permit(nat, now_ns, port, remote);
  *inside = mapping->inside;
  return true;
}

bool nat_owner(struct nat_table *nat, int64_t now_ns, uint16_t port, struct endpoint *inside) {
  const uint32_t *forward = forward_of(nat, port);
  if (forward != NULL) {
    *inside = (struct endpoint){*forward, port};
    return true;
  }
  if (!nat_is_alive(nat, now_ns, port) || is_foreign(&nat->mappings[port])) return false;
  *inside = nat->mappings[port].inside;
  return true;
}
