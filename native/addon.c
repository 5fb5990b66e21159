// Binds the engine to JavaScript. Arguments are checked here as far as memory safety needs it; everything else is checked
// by src/engine/addon.ts and above. Numbers go by value, bulk by typed arrays that the caller owns.
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#include "addon.h"
#include "aesgcm.h"
#include "relay.h"

#define MAX_ARGUMENTS 10

struct call {
  napi_env env;
  struct instance *instance;
  size_t count;
  napi_value values[MAX_ARGUMENTS];
};

static bool begin(napi_env env, napi_callback_info info, size_t expected, struct call *call) {
  void *data;
  call->env = env;
  call->count = MAX_ARGUMENTS;
  if (napi_get_cb_info(env, info, &call->count, call->values, NULL, &data) != napi_ok) return false;
  call->instance = data;
  if (call->count < expected) {
    napi_throw_type_error(env, NULL, "buri addon: too few arguments");
    return false;
  }
  return true;
}

static napi_value number(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

static int32_t int_of(const struct call *call, size_t i) {
  int32_t value = -1;
  napi_get_value_int32(call->env, call->values[i], &value);
  return value;
}

// The bytes of a typed array; NULL when it is none or shorter than `least`.
static void *bytes_of(const struct call *call, size_t i, size_t least, size_t *size) {
  static const size_t WIDTH[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
  napi_typedarray_type type;
  size_t length = 0;
  void *data = NULL;
  bool is = false;
  if (napi_is_typedarray(call->env, call->values[i], &is) != napi_ok || !is) return NULL;
  if (napi_get_typedarray_info(call->env, call->values[i], &type, &length, &data, NULL, NULL) !=
          napi_ok || (size_t)type >= sizeof WIDTH / sizeof *WIDTH) {
    return NULL;
  }
  *size = length * WIDTH[type];
  return data != NULL && *size >= least ? data : NULL;
}

static napi_value fail(napi_env env, const char *text) {
  napi_throw_type_error(env, NULL, text);
  return NULL;
}

// bind(out, outBatch, in, run, items, messages, runs, units, pieces, counters)
static napi_value bind_buffers(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 10, &call)) return NULL;
  static const size_t LEAST[] = {SUPER_PACKET_BYTES + PACKET_GAP_BYTES, 0,
                                 (size_t)MAX_SLOTS * SLOT_BYTES, SUPER_PACKET_BYTES,
                                 MAX_ITEMS * ITEM_WORDS * 4, MAX_SLOTS * MESSAGE_WORDS * 4,
                                 MAX_RUNS * RUN_WORDS * 4, MAX_UNITS * UNIT_WORDS * 4,
                                 MAX_PIECES * PIECE_WORDS * 4, COUNT_TOTAL * 8};
  struct instance *instance = call.instance;
  struct engine *engine = instance->engine;
  void *data[10] = {NULL};
  size_t size[10] = {0};
  for (size_t i = 0; i < 10; i++) {
    if (i == 1) continue;
    data[i] = bytes_of(&call, i, LEAST[i], &size[i]);
    if (data[i] == NULL) return fail(env, "buri addon: bind: a buffer is missing or too short");
  }
  for (int i = 0; i < instance->pinned_count; i++) napi_delete_reference(env, instance->pinned[i]);
  instance->pinned_count = 0;
  for (size_t i = 0; i < 10; i++) {
    if (i == 1) continue;
    napi_create_reference(env, call.values[i], 1, &instance->pinned[instance->pinned_count++]);
  }
  engine->out = data[0];
  engine->out_length = size[0];
  engine->out_batch = (size_t)int_of(&call, 1);
  engine->in = data[2];
  engine->run = (struct run){.buffer = data[3]};
  engine->items = data[4];
  engine->messages = data[5];
  engine->runs = data[6];
  engine->units = data[7];
  engine->pieces = data[8];
  engine->counters = data[9];
  return NULL;
}

static bool bound(const struct call *call) {
  if (call->instance->engine->items != NULL) return true;
  fail(call->env, "buri addon: bind first");
  return false;
}

// relayBind(in, messages, runs, counters): the environment is a relay's, and has no device
static napi_value relay_bind(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 4, &call)) return NULL;
  static const size_t LEAST[] = {(size_t)RELAY_SLOTS * SLOT_BYTES, RELAY_SLOTS * MESSAGE_WORDS * 4,
                                 RELAY_RUNS * RELAY_WORDS * 4, COUNT_TOTAL * 8};
  struct instance *instance = call.instance;
  struct engine *engine = instance->engine;
  void *data[4];
  size_t size;
  for (size_t i = 0; i < 4; i++) {
    data[i] = bytes_of(&call, i, LEAST[i], &size);
    if (data[i] == NULL) return fail(env, "buri addon: relayBind: a buffer is missing or too short");
  }
  if (engine->relay != NULL) return fail(env, "buri addon: relayBind: bound already");
  engine->relay = relay_new();
  if (engine->relay == NULL) return fail(env, "buri addon: out of memory");
  for (size_t i = 0; i < 4; i++) {
    napi_create_reference(env, call.values[i], 1, &instance->relay_pinned[i]);
  }
  engine->relay->in = data[0];
  engine->relay->messages = data[1];
  engine->relay->runs = data[2];
  engine->counters = data[3];
  return NULL;
}

static bool relay_bound(const struct call *call) {
  if (call->instance->engine->relay != NULL) return true;
  fail(call->env, "buri addon: relayBind first");
  return false;
}

// relayReceive(socket) → runs, or -errno: -EAGAIN when nothing was there
static napi_value relay_receive_batch(napi_env env, napi_callback_info info) {
  struct call call;
  int messages;
  if (!begin(env, info, 1, &call) || !relay_bound(&call)) return NULL;
  int runs = relay_receive(call.instance->engine, int_of(&call, 0), &messages);
  return number(env, messages == 0 ? -EAGAIN : runs);
}

// relayGroup(messages) → runs
static napi_value relay_group_messages(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !relay_bound(&call)) return NULL;
  return number(env, relay_group(call.instance->engine, int_of(&call, 0)));
}

static napi_value relay_send_batch(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !relay_bound(&call)) return NULL;
  relay_send_runs(call.instance->engine, int_of(&call, 0));
  return NULL;
}

// relaySendInto(runs, bytes, rows) → number of sends
static napi_value relay_send_into_bytes(napi_env env, napi_callback_info info) {
  struct call call;
  size_t size = 0, rows_size = 0;
  if (!begin(env, info, 3, &call) || !relay_bound(&call)) return NULL;
  uint8_t *bytes = bytes_of(&call, 1, 0, &size);
  int32_t *rows = bytes_of(&call, 2, 0, &rows_size);
  if (bytes == NULL || rows == NULL) return fail(env, "buri addon: relaySendInto: no buffers");
  return number(env, relay_send_into(call.instance->engine, int_of(&call, 0), bytes, size, rows, (int)(rows_size / 16)));
}

// onReady(callback)
static napi_value on_ready(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call)) return NULL;
  struct instance *instance = call.instance;
  napi_value name;
  if (instance->on_ready != NULL) return fail(env, "buri addon: onReady: already set");
  napi_create_string_utf8(env, "buri", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &instance->context);
  napi_create_reference(env, call.values[0], 1, &instance->on_ready);
  return NULL;
}

// watch(id, events): 0 is the device, 1 + index a socket
static napi_value watch(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 2, &call)) return NULL;
  int id = int_of(&call, 0), events = int_of(&call, 1);
  if (id < 0 || id >= MAX_WATCHED || events < 0 || events > 3) return number(env, -EINVAL);
  struct engine *engine = call.instance->engine;
  int fd = id == 0 ? engine->device.fd : engine->sockets[id - 1].fd;
  if (fd < 0) return number(env, -EBADF);
  return number(env, poll_watch(call.instance, id, fd, events) ? 0 : -EIO);
}

static napi_value pair(napi_env env, napi_value first, napi_value second, napi_value third) {
  napi_value array;
  napi_create_array_with_length(env, 3, &array);
  napi_set_element(env, array, 0, first);
  napi_set_element(env, array, 1, second);
  napi_set_element(env, array, 2, third);
  return array;
}

// deviceOpen(name, mtu, offloads, queues, mac?) → [0 or -errno, name, offloads]
static napi_value open_device(napi_env env, napi_callback_info info) {
  struct call call;
  char name[IF_NAMESIZE] = {0};
  size_t length = 0;
  if (!begin(env, info, 4, &call)) return NULL;
  napi_get_value_string_utf8(env, call.values[0], name, sizeof name, &length);
  bool queues = false;
  napi_get_value_bool(env, call.values[3], &queues);
  size_t mac_size = 0;
  const uint8_t *mac = call.count > 4 ? bytes_of(&call, 4, 6, &mac_size) : NULL;
  struct engine *engine = call.instance->engine;
  int result = engine->device.fd >= 0
                   ? -EALREADY
                   : device_open(engine, name, int_of(&call, 1), (unsigned)int_of(&call, 2),
                                 queues, mac);
  unsigned offloads = engine->device.offloads;
  if (aesgcm_usable()) offloads |= (unsigned)int_of(&call, 2) & OFFLOAD_VAES;
  napi_value text;
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text);
  return pair(env, number(env, result), text, number(env, (int32_t)offloads));
}

static napi_value close_device(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 0, &call)) return NULL;
  poll_forget(call.instance, 0);
  device_close(call.instance->engine);
  return NULL;
}

static napi_value read_device(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  return number(env, device_read(call.instance->engine, int_of(&call, 0)));
}

static napi_value write_device(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 2, &call) || !bound(&call)) return NULL;
  int first = int_of(&call, 0);
  if (first < 0) first = 0;
  return number(env, device_write(call.instance->engine, first, int_of(&call, 1)));
}

// deviceInject(bytes) → whether the device took it
static napi_value inject(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  size_t size = 0;
  const uint8_t *bytes = bytes_of(&call, 0, 0, &size);
  if (bytes == NULL) size = 0;
  napi_get_boolean(env, device_inject(call.instance->engine, bytes, size), &result);
  return result;
}

// Address bytes (4 or 16) and port as a socket address; 0 when they are none.
static socklen_t socket_address(const struct call *call, size_t i, struct sockaddr_storage *storage) {
  size_t size = 0;
  const uint8_t *address = bytes_of(call, i, 4, &size);
  int port = int_of(call, i + 1);
  memset(storage, 0, sizeof *storage);
  if (address == NULL || port < 0 || port > 65535) return 0;
  if (size == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    memcpy(&v4->sin_addr, address, 4);
    return sizeof *v4;
  }
  if (size != 16) return 0;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons((uint16_t)port);
  memcpy(&v6->sin6_addr, address, 16);
  return sizeof *v6;
}

// socketOpen(address, port, offloads, share, index) → [index or -errno, port, offloads]
static napi_value open_socket(napi_env env, napi_callback_info info) {
  struct call call;
  struct sockaddr_storage local;
  if (!begin(env, info, 5, &call)) return NULL;
  socklen_t length = socket_address(&call, 0, &local);
  if (length == 0) return fail(env, "buri addon: socketOpen: not an address");
  struct engine *engine = call.instance->engine;
  int port = 0;
  int index = udp_open(engine, (struct sockaddr *)&local, length, (unsigned)int_of(&call, 2),
                       int_of(&call, 3), int_of(&call, 4), &port);
  unsigned offloads = index < 0 ? 0 : engine->sockets[index].offloads;
  return pair(env, number(env, index), number(env, port), number(env, (int32_t)offloads));
}

// socketAdopt(descriptor, offloads, index) → [index or -errno, port, offloads]
static napi_value adopt_socket(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 3, &call)) return NULL;
  struct engine *engine = call.instance->engine;
  int port = 0;
  int index = udp_adopt(engine, int_of(&call, 0), (unsigned)int_of(&call, 1), int_of(&call, 2), &port);
  unsigned offloads = index < 0 ? 0 : engine->sockets[index].offloads;
  return pair(env, number(env, index), number(env, port), number(env, (int32_t)offloads));
}

// socketDescriptor() → a descriptor, or -errno
static napi_value socket_descriptor(napi_env env, napi_callback_info info) {
  (void)info;
  return number(env, udp_descriptor());
}

static napi_value close_socket(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call)) return NULL;
  int index = int_of(&call, 0);
  if (index < 0 || index >= MAX_SOCKETS) return NULL;
  poll_forget(call.instance, index + 1);
  udp_close(call.instance->engine, index);
  return NULL;
}

static napi_value receive(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  return number(env, udp_receive(call.instance->engine, int_of(&call, 0)));
}

static napi_value classify_messages(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  return number(env, classify(call.instance->engine, int_of(&call, 0)));
}

static napi_value open_batch(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  return number(env, open_runs(call.instance->engine, int_of(&call, 0)));
}

static napi_value seal_batch(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  seal_items(call.instance->engine, int_of(&call, 0), udp_send_run);
  return NULL;
}

static napi_value complete_batch(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call) || !bound(&call)) return NULL;
  complete_items(call.instance->engine, int_of(&call, 0));
  return NULL;
}

// Collects runs instead of sending them: what differential tests compare. One batch at a time, on one thread.
struct collection {
  uint8_t *bytes;
  size_t size, used;
  int32_t *rows;  // path, length, segment, count
  size_t most, count;
};
static _Thread_local struct collection *collecting;

static void collect(struct engine *engine, struct run *run) {
  (void)engine;
  struct collection *to = collecting;
  if (to->count == to->most || to->used + run->used > to->size) return;
  memcpy(to->bytes + to->used, run->buffer, run->used);
  to->used += run->used;
  int32_t *row = to->rows + 4 * to->count++;
  row[0] = run->path;
  row[1] = (int32_t)run->used;
  row[2] = (int32_t)run->segment;
  row[3] = (int32_t)run->count;
}

// sealInto(items, bytes, rows) → number of runs
static napi_value seal_into(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 3, &call) || !bound(&call)) return NULL;
  struct collection to = {0};
  size_t rows_size = 0;
  to.bytes = bytes_of(&call, 1, 0, &to.size);
  to.rows = bytes_of(&call, 2, 0, &rows_size);
  to.most = rows_size / 16;
  if (to.bytes == NULL || to.rows == NULL) return fail(env, "buri addon: sealInto: no buffers");
  collecting = &to;
  seal_items(call.instance->engine, int_of(&call, 0), collect);
  collecting = NULL;
  return number(env, (int32_t)to.count);
}

// keepalive(key, path) → whether the key still seals
static napi_value keepalive(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  if (!begin(env, info, 2, &call) || !bound(&call)) return NULL;
  bool sealed = seal_keepalive(call.instance->engine, int_of(&call, 0), int_of(&call, 1), udp_send_run);
  napi_get_boolean(env, sealed, &result);
  return result;
}

// sendRun(path, length, segment, count): the run buffer was filled by JavaScript
static napi_value send_run(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 4, &call) || !bound(&call)) return NULL;
  struct run run = {.buffer = call.instance->engine->run.buffer, .path = int_of(&call, 0)};
  int length = int_of(&call, 1), segment = int_of(&call, 2), datagrams = int_of(&call, 3);
  if (length <= 0 || length > SUPER_PACKET_BYTES || segment <= 0 || datagrams <= 0) return NULL;
  run.used = (size_t)length;
  run.segment = (size_t)segment;
  run.count = (unsigned)datagrams;
  udp_send_run(call.instance->engine, &run);
  return NULL;
}

// sendDatagram(socket, address, port, bytes, ttl or 0, whole) → whether it was sent
static napi_value send_datagram(napi_env env, napi_callback_info info) {
  struct call call;
  struct sockaddr_storage remote;
  napi_value result = NULL;
  bool whole = false;
  if (!begin(env, info, 6, &call)) return NULL;
  napi_get_value_bool(env, call.values[5], &whole);
  socklen_t length = socket_address(&call, 1, &remote);
  size_t size = 0;
  const uint8_t *bytes = bytes_of(&call, 3, 0, &size);
  bool sent = length != 0 && bytes != NULL &&
              udp_send_one(call.instance->engine, int_of(&call, 0), (struct sockaddr *)&remote, length,
                           bytes, size, int_of(&call, 4), whole);
  napi_get_boolean(env, sent, &result);
  return result;
}

// Makes `slot` exist in a table of `*slots` entries of `width` bytes.
static bool grow(void **table, int *slots, int slot, size_t width) {
  enum { MAX_TABLE = 1 << 20 };
  if (slot < 0 || slot >= MAX_TABLE) return false;
  if (slot < *slots) return true;
  int wanted = *slots == 0 ? 16 : *slots;
  while (wanted <= slot) wanted *= 2;
  uint8_t *bigger = realloc(*table, (size_t)wanted * width);
  if (bigger == NULL) return false;
  memset(bigger + (size_t)*slots * width, 0, (size_t)(wanted - *slots) * width);
  *table = bigger;
  *slots = wanted;
  return true;
}

// The state that a key shares with other threads, pinned; false when the argument is no memory for one. NULL: it shares none.
static bool shared_state(const struct call *call, size_t i, struct key_state **state, napi_ref *pin) {
  napi_valuetype type;
  size_t size = 0;
  *state = NULL;
  *pin = NULL;
  if (napi_typeof(call->env, call->values[i], &type) != napi_ok || type == napi_undefined) return true;
  *state = bytes_of(call, i, KEY_STATE_BYTES, &size);
  if (*state == NULL || (uintptr_t)*state % _Alignof(struct key_state) != 0) return false;
  return napi_create_reference(call->env, call->values[i], 1, pin) == napi_ok;
}

// What is pinned when the environment ends goes with it.
static void drop_key(napi_env env, struct key *key) {
  if (key == NULL) return;
  if (key->pin != NULL) napi_delete_reference(env, key->pin);
  key_free(key);
}

// setKey(slot, suite, remoteIndex, sendKey, receiveKey, counterLow, counterHigh, shared?) → whether it could be made
static napi_value set_key(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  if (!begin(env, info, 7, &call)) return NULL;
  struct engine *engine = call.instance->engine;
  struct key_state *shared;
  napi_ref pin;
  int slot = int_of(&call, 0);
  size_t size;
  if (!shared_state(&call, 7, &shared, &pin)) return fail(env, "buri addon: setKey: no memory for the state");
  const uint8_t *send = bytes_of(&call, 3, KEY_BYTES, &size);
  const uint8_t *receive_key = bytes_of(&call, 4, KEY_BYTES, &size);
  bool made = false;
  if (send != NULL && receive_key != NULL &&
      grow((void **)&engine->keys, &engine->key_slots, slot, sizeof *engine->keys)) {
    drop_key(env, engine->keys[slot]);
    struct key *key = key_new(int_of(&call, 1), (uint32_t)int_of(&call, 2), send, receive_key, shared);
    engine->keys[slot] = key;
    made = key != NULL;
    if (made) {
      key->pin = pin;
      key_start_at(key, (uint64_t)(uint32_t)int_of(&call, 6) << 32 | (uint32_t)int_of(&call, 5));
    }
  }
  if (!made && pin != NULL) napi_delete_reference(env, pin);
  napi_get_boolean(env, made, &result);
  return result;
}

static napi_value clear_key(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call)) return NULL;
  struct engine *engine = call.instance->engine;
  int slot = int_of(&call, 0);
  if (engine_key(engine, slot) == NULL) return NULL;
  drop_key(env, engine->keys[slot]);
  engine->keys[slot] = NULL;
  return NULL;
}

// setPath(slot, socket, address, port, prefix, mtu or 0) → whether it could be set
static napi_value set_path(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  if (!begin(env, info, 6, &call)) return NULL;
  struct engine *engine = call.instance->engine;
  int mtu = int_of(&call, 5);
  struct path path = {.set = true, .socket = int_of(&call, 1), .segment_limit = MAX_SEND_BYTES};
  int slot = int_of(&call, 0);
  const uint8_t *prefix = bytes_of(&call, 4, 0, &path.prefix_length);
  path.remote_length = socket_address(&call, 2, &path.remote);
  bool made = path.remote_length != 0 && path.prefix_length <= MAX_PREFIX_BYTES &&
              grow((void **)&engine->paths, &engine->path_slots, slot, sizeof *engine->paths);
  if (made) {
    if (prefix != NULL) memcpy(path.prefix, prefix, path.prefix_length);
    if (mtu >= LEAST_PATH_MTU) path.mtu = (size_t)mtu;
    engine->paths[slot] = path;
  }
  napi_get_boolean(env, made, &result);
  return result;
}

static napi_value clear_path(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 1, &call)) return NULL;
  struct path *path = engine_path(call.instance->engine, int_of(&call, 0));
  if (path != NULL) memset(path, 0, sizeof *path);
  return NULL;
}

// limitUnsent(fd, bytes) → whether it is so
static napi_value limit_unsent(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  if (!begin(env, info, 2, &call)) return NULL;
  int bytes = int_of(&call, 1);
  int fd = int_of(&call, 0);
  bool is = fd >= 0 && bytes > 0 &&
            setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes) == 0;
  napi_get_boolean(env, is, &result);
  return result;
}

// setOffloads(device, mtu): what coalescing may use and how far padding goes; device_open knew already, tests have none
static napi_value set_offloads(napi_env env, napi_callback_info info) {
  struct call call;
  if (!begin(env, info, 2, &call)) return NULL;
  call.instance->engine->device.offloads = (unsigned)int_of(&call, 0);
  call.instance->engine->mtu = (size_t)int_of(&call, 1);
  return NULL;
}

// aesgcm(seal, key, nonce, bytes, out, in, length): of aesgcm.c alone, for tests: text and tag in `bytes`, from and to these
// offsets → whether it was authentic; undefined where it is not usable
static napi_value aesgcm_once(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value result = NULL;
  bool seal = false, authentic = true;
  if (!begin(env, info, 7, &call)) return NULL;
  napi_get_value_bool(env, call.values[0], &seal);
  size_t size = 0, most = 0;
  const uint8_t *secret = bytes_of(&call, 1, AESGCM_KEY, &size);
  const uint8_t *nonce = bytes_of(&call, 2, AESGCM_NONCE, &size);
  uint8_t *bytes = bytes_of(&call, 3, 0, &most);
  int64_t out = int_of(&call, 4), in = int_of(&call, 5), length = int_of(&call, 6);
  int64_t end = (out > in ? out : in) + length + AESGCM_TAG;
  if (secret == NULL || nonce == NULL || bytes == NULL || out < 0 || in < 0 || length < 0 ||
      end > (int64_t)most) {
    return fail(env, "buri addon: aesgcm: a buffer is missing or too short");
  }
  struct aesgcm *key = aesgcm_new(secret);
  if (key == NULL) return NULL;
  if (seal) aesgcm_seal(key, nonce, bytes + out, bytes + in, (size_t)length);
  else authentic = aesgcm_open(key, nonce, bytes + out, bytes + in, (size_t)length);
  aesgcm_free(key);
  napi_get_boolean(env, authentic, &result);
  return result;
}

static void name_constants(napi_env env, napi_value exports) {
  static const struct { const char *name; int value; } CONSTANTS[] = {
#define C(name) {#name, name}
      C(ITEM_OFFSET), C(ITEM_LENGTH), C(ITEM_FAMILY), C(ITEM_DESTINATION), C(ITEM_FLAGS),
      C(ITEM_GSO_TYPE), C(ITEM_GSO_SIZE), C(ITEM_CSUM_START), C(ITEM_CSUM_OFFSET), C(ITEM_KEY),
      C(ITEM_PATH), C(ITEM_SEALED), C(ITEM_BYTES), C(ITEM_STATUS), C(ITEM_LINK), C(ITEM_WORDS), C(STATUS_REKEY),
      C(STATUS_REFUSED), C(STATUS_MALFORMED), C(STATUS_TOO_BIG), C(FLAG_ANY_SIZE), C(LEAST_PATH_MTU), C(MESSAGE_OFFSET), C(MESSAGE_LENGTH),
      C(MESSAGE_SEGMENT), C(MESSAGE_FAMILY), C(MESSAGE_PORT), C(MESSAGE_ADDRESS), C(MESSAGE_WORDS),
      C(RUN_MESSAGE), C(RUN_OFFSET), C(RUN_LENGTH), C(RUN_SEGMENT), C(RUN_KIND), C(RUN_INDEX),
      C(RUN_KEY), C(RUN_AUTHENTIC), C(RUN_KEEPALIVES), C(RUN_BYTES), C(RUN_WORDS),
      C(KIND_INITIATION), C(KIND_RESPONSE), C(KIND_COOKIE), C(KIND_TRANSPORT), C(KIND_STUN),
      C(KIND_BURI), C(UNIT_FIRST), C(UNIT_PIECES), C(UNIT_KEY), C(UNIT_FAMILY), C(UNIT_SOURCE),
      C(UNIT_DESTINATION), C(UNIT_ACCEPT), C(UNIT_BYTES), C(UNIT_FLAGS), C(UNIT_GSO_TYPE),
      C(UNIT_HEADER_LENGTH), C(UNIT_GSO_SIZE), C(UNIT_CSUM_START), C(UNIT_CSUM_OFFSET),
      C(UNIT_STATION), C(UNIT_GROUP), C(UNIT_WORDS), C(PIECE_OFFSET), C(PIECE_LENGTH), C(PIECE_NEXT), C(PIECE_WORDS), C(MAX_ITEMS),
      C(MAX_SLOTS), C(MAX_RUNS), C(MAX_UNITS), C(MAX_PIECES), C(SLOT_BYTES), C(SUPER_PACKET_BYTES),
      C(PACKET_GAP_BYTES), C(FRAME_ROOM), C(MAX_LINK), C(MAX_PREFIX_BYTES), C(MAX_SEGMENTS), C(MAX_SEND_BYTES), C(MAX_SOCKETS),
      C(KEY_STATE_BYTES), C(SHARE_NOT), C(SHARE_FIRST), C(SHARE_JOIN),
      C(FAMILY_FRAME), C(FAMILY_MESSAGE),
      C(OFFLOAD_VNET), C(OFFLOAD_CSUM), C(OFFLOAD_TSO4), C(OFFLOAD_TSO6), C(OFFLOAD_USO4),
      C(OFFLOAD_USO6), C(OFFLOAD_UDP_SEGMENT), C(OFFLOAD_UDP_GRO),
      C(OFFLOAD_VAES)
#undef C
  };
#define COUNTER_NAME(name, text) text,
  static const char *const NAMES[] = {COUNTERS(COUNTER_NAME)};
  static const struct { const char *name; int value; } RELAY_CONSTANTS[] = {
#define R(name) {"RELAY_" #name, RELAY_##name}
      R(OFFSET), R(LENGTH), R(SEGMENT), R(COUNT), R(KIND), R(TOKEN), R(DESTINATION), R(FAMILY), R(PORT), R(ADDRESS),
      R(PATH), R(FROM), R(WORDS), R(BARE), R(WRAPPED), R(PROBE), R(CONTROL), R(SLOTS), R(RUNS), R(DATA_HEADER),
      R(DELIVERED_HEADER), R(PROBE_BYTES),
#undef R
  };
  napi_value layout, names, relay_layout;
  napi_create_object(env, &relay_layout);
  for (size_t i = 0; i < sizeof RELAY_CONSTANTS / sizeof *RELAY_CONSTANTS; i++) {
    napi_set_named_property(env, relay_layout, RELAY_CONSTANTS[i].name, number(env, RELAY_CONSTANTS[i].value));
  }
  napi_set_named_property(env, exports, "relayLayout", relay_layout);
  napi_create_object(env, &layout);
  for (size_t i = 0; i < sizeof CONSTANTS / sizeof *CONSTANTS; i++) {
    napi_set_named_property(env, layout, CONSTANTS[i].name, number(env, CONSTANTS[i].value));
  }
  napi_create_array_with_length(env, COUNT_TOTAL, &names);
  for (uint32_t i = 0; i < COUNT_TOTAL; i++) {
    napi_value text;
    napi_create_string_utf8(env, NAMES[i], NAPI_AUTO_LENGTH, &text);
    napi_set_element(env, names, i, text);
  }
  napi_set_named_property(env, exports, "layout", layout);
  napi_set_named_property(env, exports, "counterNames", names);
}

// releaseMemory()
static napi_value release_memory(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  memory_release();
  return NULL;
}

NAPI_MODULE_INIT() {
  static const struct { const char *name; napi_callback function; } FUNCTIONS[] = {
      {"bind", bind_buffers}, {"onReady", on_ready}, {"watch", watch},
      {"deviceOpen", open_device}, {"deviceClose", close_device}, {"deviceRead", read_device},
      {"deviceWrite", write_device}, {"deviceInject", inject}, {"socketOpen", open_socket},
      {"socketClose", close_socket}, {"socketAdopt", adopt_socket},
      {"socketDescriptor", socket_descriptor},
      {"receive", receive}, {"classify", classify_messages}, {"openRuns", open_batch},
      {"seal", seal_batch}, {"complete", complete_batch}, {"sealInto", seal_into}, {"keepalive", keepalive},
      {"sendRun", send_run}, {"sendDatagram", send_datagram}, {"setKey", set_key},
      {"clearKey", clear_key}, {"setPath", set_path}, {"clearPath", clear_path},
      {"setOffloads", set_offloads}, {"aesgcm", aesgcm_once},
      {"releaseMemory", release_memory}, {"limitUnsent", limit_unsent},
      {"relayBind", relay_bind}, {"relayReceive", relay_receive_batch}, {"relayGroup", relay_group_messages},
      {"relaySend", relay_send_batch}, {"relaySendInto", relay_send_into_bytes},
  };
  if (!poll_abi_is_sane()) {
    napi_throw_error(env, NULL, "buri addon: this Node's libuv is not the one it was made for");
    return NULL;
  }
  struct instance *instance = calloc(1, sizeof *instance);
  if (instance != NULL) instance->engine = engine_new();
  if (instance == NULL || instance->engine == NULL) {
    free(instance);
    napi_throw_error(env, NULL, "buri addon: out of memory");
    return NULL;
  }
  instance->env = env;
  if (!poll_start(instance)) {
    engine_free(instance->engine);
    free(instance);
    napi_throw_error(env, NULL, "buri addon: no clean-up hook");
    return NULL;
  }
  for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++) {
    napi_value function;
    napi_create_function(env, FUNCTIONS[i].name, NAPI_AUTO_LENGTH, FUNCTIONS[i].function, instance,
                         &function);
    napi_set_named_property(env, exports, FUNCTIONS[i].name, function);
  }
  name_constants(env, exports);
  return exports;
}
