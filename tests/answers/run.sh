#!/usr/bin/env bash
# run.sh DIR                              one answer on this machine: builds the program answers in many ways, in DIR, and lets
#                                         check.sh compare all of them, on all instruction sets
# run.sh DIR 'COMPILER FLAGS' [EMULATOR...]   one build, run by each EMULATOR (a command; none: by this machine). From Debian's
#                                         cross compilers, for instance:
#   run.sh build/answers/aarch64 'aarch64-linux-gnu-g++ -O2' 'qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu cortex-a72' \
#     'qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu neoverse-n1' 'qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu max'
#   run.sh build/answers/armhf 'arm-linux-gnueabihf-g++ -O2 -Wno-psabi' 'qemu-arm -L /usr/arm-linux-gnueabihf'
#   tests/wasm/run.sh answers
#
# With emulators only tables are compared: the bytes may stay in the emulator's memory.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
dir=$1
shift
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
export ccache=
if command -v ccache >/dev/null; then ccache=ccache; fi
cores=$(getconf _NPROCESSORS_ONLN)

# build NAME COMPILER FLAGS...: $dir/NAME/answers, .js for what node runs
build() {
  local name=$1 begin=$SECONDS threads=-pthread program=answers
  shift
  case $1 in *em++*) threads='' program=answers.js ;; esac
  mkdir -p "$dir/$name"
  rm -f "$dir/$name"/*
  # shellcheck disable=SC2016,SC2086  # expanded by sh; no flag or one
  printf '%s\n' "$here"/*.cpp | xargs -P "$cores" -I{} sh -c '
    source=$1 object=$2/$(basename "$1" .cpp).o && shift 2 && $ccache "$@" -c "$source" -o "$object"' \
    sh {} "$dir/$name" "$@" -std=c++20 $threads -I"$root/include" || return
  # shellcheck disable=SC2086
  "$@" $threads "$dir/$name"/*.o -o "$dir/$name/$program" || return
  echo "built in $((SECONDS - begin)) s: $*"
}

if [ $# -ge 1 ]; then
  read -ra compile <<<"$1"
  shift
  build one "${compile[@]}"
  program=("$dir"/one/answers*)
  [ $# -gt 0 ] || exec "$here/check.sh" "${program[0]}"
  bad=0
  for emulator; do
    read -ra words <<<"$emulator"
    "$here/check.sh" "${words[@]}" "${program[0]}" || bad=1
  done
  exit $bad
fi

# Each compiler; with and without optimisation, instructions of this machine, and contraction of products and sums (g++ does
# it unasked wherever the instructions exist; clang within one expression).
rm -f "$dir/bytes"
bad=0
# try NAME [CHECK OPTION] -- COMPILER FLAGS...
try() {
  local name=$1 each=()
  shift
  if [ "$1" = --each ]; then each=(--each) && shift; fi
  build "$name" "$@" && "$here/check.sh" "${each[@]}" --file "$dir/bytes" "$dir/$name/answers" || bad=1
}
gxx=${GXX:-g++} clangxx=${CLANGXX:-clang++-16}
try gcc-O3 --each "$gxx" -O3
try clang-O3-native-contract "$clangxx" -O3 -march=native -ffp-contract=fast
try gcc-O0-native "$gxx" -O0 -march=native
try clang-O0 "$clangxx" -O0
# Of these the quantizers and the plain kernels matter: one instruction set compiles in half of the time.
try gcc-O3-native "$gxx" -O3 -march=native -ffp-contract=fast -DTERN_PIN_ISA=scalar
try gcc-O2-native-off "$gxx" -O2 -march=native -ffp-contract=off -DTERN_PIN_ISA=scalar
exit $bad
