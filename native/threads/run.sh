#!/bin/sh
# Builds the check of what threads share with ThreadSanitizer and runs it (needs clang and `libcrypto.so.3`).
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
build=${BUILD:-"$here/../../build"}
mkdir -p "$build"
sources="$here/check.c"
for source in "$here"/../*.c; do
  case $source in */addon.c | */poll.c) ;; *) sources="$sources $source" ;; esac
done
# shellcheck disable=SC2086 # a list of files
clang -std=gnu11 -g -O1 -fsanitize=thread -o "$build/check_threads" $sources -l:libcrypto.so.3 -lpthread
TSAN_OPTIONS=halt_on_error=1 exec "$build/check_threads"
