#define _GNU_SOURCE
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COMMAND_BYTES = 4096 };

void fail(const char *what) {
  fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
  exit(1);
}

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

void read_commands(void (*obey)(char *command)) {
  static char text[COMMAND_BYTES];
  static size_t length;
  ssize_t got = read(STDIN_FILENO, text + length, sizeof text - length);
  if (got == 0) exit(0);
  if (got < 0) return;
  length += (size_t)got;
  char *start = text, *end;
  while ((end = memchr(start, '\n', length - (size_t)(start - text))) != NULL) {
    *end = '\0';
    obey(start);
    start = end + 1;
  }
  length -= (size_t)(start - text);
  memmove(text, start, length);
  if (length == sizeof text) {
    errno = E2BIG;
    fail("a command");
  }
}
