#!/bin/sh
# Shows that aesgcm.c has no branch and no address that depends on a secret: valgrind watches its source with 128-bit instructions
# (it knows no VAES), and the machine code of the real one brings nothing from vector registers where branches and addresses
# are made, but for the one comparison of tags. Needs valgrind with its headers, and binutils.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
build=$here/../../build
mkdir -p "$build"
compiler=${CC:-cc}
watch() { valgrind -q --error-exitcode=3 "$build/secrets" "$@" >"$build/secrets.log" 2>&1; }

for level in -O1 -O3; do
  "$compiler" -std=gnu11 -g $level -include "$here/emulated.h" -o "$build/secrets" "$here/secrets.c" "$here/../aesgcm.c"
  for leak in branch index; do
    result=0
    watch $leak || result=$?
    if [ $result -ne 3 ]; then echo "a secret $leak is not found" >&2; exit 1; fi
  done
  if ! watch; then cat "$build/secrets.log" >&2; exit 1; fi
  echo "$level: no branch and no address depends on key or text (lengths 0 to 1,100)"
done

"$compiler" -std=gnu11 -O3 -fPIC -fno-strict-aliasing -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
  -c -o "$build/aesgcm.o" "$here/../aesgcm.c"
objdump -d --no-show-raw-insn "$build/aesgcm.o" >"$build/aesgcm.s"
# Vector to general register, vector to flags, vector as index.
out=$(grep -cE '\b(v?movmsk|v?pmovmskb|v?pextr|v?cvt|vtest|v?u?comis|gather)' "$build/aesgcm.s" || true)
moved=$(grep -cE '\bv?mov[dq] +%[xy]mm[0-9]+,%[re]' "$build/aesgcm.s" || true)
tests=$(grep -cE '\bv?ptest' "$build/aesgcm.s" || true)
wide=$(grep -cE '\bv(aesenc|aesenclast|pclmul[a-z]*) .*%ymm' "$build/aesgcm.s" || true)
echo "machine code: $wide wide AES and multiplication instructions, $tests test of a vector, $((out + moved)) moves out of one"
[ "$out" -eq 0 ] && [ "$moved" -eq 0 ] && [ "$tests" -eq 1 ] && [ "$wide" -gt 100 ]
