// Readiness of descriptors by uv_poll, and the end of the environment: handles are closed in an asynchronous clean-up
// hook, and only when libuv has let go of the last one is the instance freed.
#include <stdlib.h>

#include "addon.h"

struct watcher {
  struct instance *instance;
  int id;
  int fd;
  int events;
  uv_handle_t *handle;
};

bool poll_abi_is_sane(void) {
  size_t size = uv_handle_size(UV_POLL_HANDLE_TYPE);
  return uv_version() >> 16 == 1 && size >= 64 && size <= 1024;
}

static void free_instance(struct instance *instance) {
  napi_async_cleanup_hook_handle hook = instance->hook;
  engine_free(instance->engine);
  free(instance);
  napi_remove_async_cleanup_hook(hook);
}

static void on_closed(uv_handle_t *handle) {
  struct watcher *watcher = handle->data;
  struct instance *instance = watcher->instance;
  free(handle);
  free(watcher);
  instance->open_handles--;
  if (instance->ending && instance->open_handles == 0) free_instance(instance);
}

static void on_end(napi_async_cleanup_hook_handle hook, void *data) {
  struct instance *instance = data;
  instance->hook = hook;
  instance->ending = true;
  for (int i = 0; i < MAX_WATCHED; i++) poll_forget(instance, i);
  if (instance->open_handles == 0) free_instance(instance);
}

bool poll_start(struct instance *instance) {
  return napi_add_async_cleanup_hook(instance->env, on_end, instance, &instance->hook) == napi_ok;
}

static void on_poll(uv_handle_t *handle, int status, int events) {
  struct watcher *watcher = handle->data;
  struct instance *instance = watcher->instance;
  napi_env env = instance->env;
  napi_handle_scope scope;
  if (instance->ending || instance->on_ready == NULL) return;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback, global, result, arguments[2];
  // An error on the descriptor shows itself in the next system call.
  int ready = status < 0 ? watcher->events : events;
  if (napi_get_reference_value(env, instance->on_ready, &callback) == napi_ok && callback != NULL &&
      napi_get_global(env, &global) == napi_ok &&
      napi_create_int32(env, watcher->id, &arguments[0]) == napi_ok &&
      napi_create_int32(env, ready, &arguments[1]) == napi_ok) {
    napi_status called =
        napi_make_callback(env, instance->context, global, callback, 2, arguments, &result);
    if (called == napi_pending_exception) {
      napi_value error;
      if (napi_get_and_clear_last_exception(env, &error) == napi_ok) {
        napi_fatal_exception(env, error);
      }
    }
  }
  napi_close_handle_scope(env, scope);
}

static struct watcher *new_watcher(struct instance *instance, int id, int fd) {
  struct uv_loop_s *loop;
  struct watcher *watcher = calloc(1, sizeof *watcher);
  uv_handle_t *handle = calloc(1, uv_handle_size(UV_POLL_HANDLE_TYPE));
  if (watcher == NULL || handle == NULL ||
      napi_get_uv_event_loop(instance->env, &loop) != napi_ok ||
      uv_poll_init(loop, handle, fd) != 0) {
    free(watcher);
    free(handle);
    return NULL;
  }
  *watcher = (struct watcher){.instance = instance, .id = id, .fd = fd, .handle = handle};
  handle->data = watcher;
  instance->open_handles++;
  return watcher;
}

bool poll_watch(struct instance *instance, int id, int fd, int events) {
  struct watcher *watcher = instance->watchers[id];
  if (watcher == NULL) {
    if (events == 0) return true;
    watcher = instance->watchers[id] = new_watcher(instance, id, fd);
    if (watcher == NULL) return false;
  }
  if (watcher->events == events) return true;
  watcher->events = events;
  if (events == 0) return uv_poll_stop(watcher->handle) == 0;
  return uv_poll_start(watcher->handle, events, on_poll) == 0;
}

// The descriptor may be closed as soon as this returns (libuv's promise for uv_poll_stop).
void poll_forget(struct instance *instance, int id) {
  struct watcher *watcher = instance->watchers[id];
  if (watcher == NULL) return;
  instance->watchers[id] = NULL;
  uv_poll_stop(watcher->handle);
  uv_close(watcher->handle, on_closed);
}
