// What the laboratory's programs have in common that are told what to do by lines on standard input.
#ifndef BURI_LAB_COMMANDS_H
#define BURI_LAB_COMMANDS_H

#include <stdint.h>

#define NS_PER_SECOND INT64_C(1000000000)

// Says what went wrong, by errno, and ends the program.
_Noreturn void fail(const char *what);
// Since some moment, by the monotonic clock.
int64_t now_ns(void);
// Hands on all whole lines that are there, without their ends. Ends the program at the end of the input.
void read_commands(void (*obey)(char *command));

#endif
