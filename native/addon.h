// What the two Node-API files share.
#ifndef BURI_ADDON_H
#define BURI_ADDON_H

#include <node_api.h>

#include "engine.h"

enum { MAX_WATCHED = MAX_SOCKETS + 1, MAX_PINNED = 12 };

// One for each environment (main thread or worker) that loads the addon.
struct instance {
  napi_env env;
  struct engine *engine;
  napi_ref pinned[MAX_PINNED];
  int pinned_count;
  napi_ref relay_pinned[4];
  napi_ref on_ready;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  struct watcher *watchers[MAX_WATCHED];  // 0: the device; 1 + index: sockets
  int open_handles;
  bool ending;
};

// poll.c: readiness on the loop of the environment.
bool poll_abi_is_sane(void);
bool poll_start(struct instance *instance);
// Calls `on_ready(id, events)` while the descriptor is ready for `events`; 0 stops. False: libuv refused.
bool poll_watch(struct instance *instance, int id, int fd, int events);
void poll_forget(struct instance *instance, int id);

#endif
