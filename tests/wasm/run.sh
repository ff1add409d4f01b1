#!/usr/bin/env bash
# run.sh [tests | answers | speed | FILES...]: compiles to WebAssembly with 128-bit SIMD by emscripten, and runs in Node.js.
#   tests   the test cases of fma, kernel/, isa/ and type/ and two of static/, none of which may be skipped (the default)
#   answers tests/answers: results are the bytes of all other machines
#   speed   bench/wasm/speed.cpp, a table
#   FILES   test files, e.g. tests/view.cpp (without threads)
# Debian: apt-get install emscripten catch2, 110 MB to fetch and 840 MB on disk. OPTIMISE replaces -O1.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in em++ node; do
  command -v "$tool" >/dev/null || { echo "error: no $tool; Debian: apt-get install emscripten" >&2; exit 1; }
done
# Where Debian has acorn, which em++ runs; another Node.js than Debian's does not look there.
export NODE_PATH=${NODE_PATH:-/usr/share/nodejs}
export out=build/wasm
mkdir -p "$out/include"
# Of /usr/include, the headers of another machine, just this folder.
ln -sfn /usr/include/catch2 "$out/include/catch2"

# compile OPTIMISATION SOURCE
compile() {
  [ "$2" != tests/support/main.cpp ] || set -- -O0 "$2" # all of Catch
  em++ -std=c++20 -msimd128 -fwasm-exceptions "$1" -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude -Itests \
    -isystem "$out/include" -include tests/wasm/libcxx13.hpp -c "$2" -o "$out/${2//\//-}.o"
}
export -f compile

# build PROGRAM OPTIMISATION SOURCES...
build() {
  local program=$1 optimisation=$2 objects
  shift 2
  printf '%s\n' "$@" | xargs -P "$(getconf _NPROCESSORS_ONLN)" -I{} bash -c 'compile "$@"' - "$optimisation" {}
  objects=("${@//\//-}")
  objects=("${objects[@]/#/$out/}")
  # The module inside the .js: as a file of its own this emscripten would have it fetched, which Node.js refuses of a path.
  em++ -fwasm-exceptions "$optimisation" -sENVIRONMENT=node -sSINGLE_FILE -sALLOW_MEMORY_GROWTH -sEXIT_RUNTIME \
    --pre-js tests/wasm/environment.js "${objects[@]/%/.o}" -o "$out/$program.js"
}

if [ "${1:-tests}" = speed ]; then
  build speed -O2 bench/wasm/speed.cpp
  exec node "$out/speed.js"
fi
if [ "${1:-tests}" = answers ]; then
  exec tests/answers/run.sh "$out/answers" "em++ -O2 -msimd128 -fwasm-exceptions -include $PWD/tests/wasm/libcxx13.hpp \
    -sENVIRONMENT=node -sSINGLE_FILE -sALLOW_MEMORY_GROWTH -sEXIT_RUNTIME -Wno-unused-command-line-argument" node
fi
files=("$@")
[ "${1:-tests}" != tests ] || files=(tests/fma.cpp tests/static/{integers,kernel_for}.cpp tests/{kernel,isa,type}/*.cpp)
build tests "${OPTIMISE:--O1}" tests/support/main.cpp "${files[@]}"
TERN_PROMISE_ISA="scalar wasm_simd128" node "$out/tests.js" --use-colour no
