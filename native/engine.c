#include <stdlib.h>

#include "relay.h"

struct engine *engine_new(void) {
  struct engine *engine = calloc(1, sizeof *engine);
  if (engine == NULL) return NULL;
  engine->device.fd = -1;
  for (int i = 0; i < MAX_SOCKETS; i++) engine->sockets[i].fd = -1;
  return engine;
}

void engine_free(struct engine *engine) {
  device_close(engine);
  for (int i = 0; i < MAX_SOCKETS; i++) udp_close(engine, i);
  for (int i = 0; i < engine->key_slots; i++) key_free(engine->keys[i]);
  relay_free(engine->relay);
  free(engine->keys);
  free(engine->paths);
  free(engine);
}
