#!/bin/sh
# Builds a fuzz target with AddressSanitizer and UndefinedBehaviorSanitizer and runs it: run.sh [SECONDS] [CORPUS] [TARGET]
# TARGET is engine (everything that has no Node-API in it; the default) or aesgcm (against OpenSSL; needs VAES).
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
target=${3:-engine}
build=$here/../../build
corpus=${2:-$build/fuzz-corpus-$target}
mkdir -p "$corpus"
case $target in
  engine) parts="engine transport aesgcm inner segment classify coalesce checksum device socket" ;;
  aesgcm) parts="aesgcm" ;;
  *) echo "run.sh: no target '$target'" >&2; exit 2 ;;
esac
sources=""
for part in $parts; do
  sources="$sources $here/../$part.c"
done
# shellcheck disable=SC2086 # a list of files
clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
  -o "$build/fuzz_$target" "$here/fuzz_$target.c" $sources -l:libcrypto.so.3
exec "$build/fuzz_$target" -max_total_time="${1:-60}" -max_len=4096 -artifact_prefix="$build/" "$corpus"
