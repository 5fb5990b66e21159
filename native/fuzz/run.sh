#!/bin/sh
# Builds the fuzz target with AddressSanitizer and UndefinedBehaviorSanitizer and runs it: run.sh [SECONDS] [CORPUS]
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
corpus=${2:-$here/../../build/fuzz-corpus}
mkdir -p "$corpus"
core=""
for part in engine transport aesgcm inner fit segment classify coalesce checksum device socket; do
  core="$core $here/../$part.c"
done
# shellcheck disable=SC2086 # a list of files
clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
  -o "$here/../../build/fuzz_engine" "$here/fuzz_engine.c" $core -l:libcrypto.so.3
exec "$here/../../build/fuzz_engine" -max_total_time="${1:-60}" -max_len=4096 \
  -artifact_prefix="$here/../../build/" "$corpus"
