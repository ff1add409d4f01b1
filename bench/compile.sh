#!/usr/bin/env bash
# compile.sh [TIMES=3]   what including tern costs: processor time (user and system, ms) of compiling each public header
#                        alone and a file that includes tern.hpp and calls one layer, -O2; the best of so many times
# Compilers: g++ and clang++, or those in CXX ("g++-13 clang++-19").
set -euo pipefail
cd "$(dirname "$0")/.."
times=${1:-3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
compilers=()
for compiler in ${CXX:-g++ clang++}; do
  if command -v "$compiler" >/dev/null; then compilers+=("$compiler"); fi
done

# best COMPILER FILE: ms
best() {
  local run user system now best=999999 TIMEFORMAT='%3U %3S'
  for ((run = 0; run < times; run++)); do
    { time "$1" -std=c++20 -O2 -Iinclude "${eigen[@]}" -c "$2" -o "$scratch/object" 2>"$scratch/errors"; } 2>"$scratch/time" ||
      { cat "$scratch/errors" >&2; exit 1; }
    read -r user system <"$scratch/time"
    now=$((10#${user/./} + 10#${system/./}))
    [ "$now" -ge "$best" ] || best=$now
  done
  echo "$best"
}

eigen=()
[ ! -d /usr/include/eigen3 ] || eigen=(-isystem /usr/include/eigen3)
printf '%-36s' 'ms'
printf ' %12s' "${compilers[@]}"
printf '\n'
row() {
  local compiler
  printf '%-36s' "$1"
  for compiler in "${compilers[@]}"; do printf ' %12s' "$(best "$compiler" "$2")"; done
  printf '\n'
}
echo 'int main() {}' >"$scratch/empty.cpp"
row '(an empty file)' "$scratch/empty.cpp"
row 'tests/consumer/main.cpp' tests/consumer/main.cpp
git ls-files 'include/*.hpp' | while read -r header; do
  [[ $header != */eigen.hpp || ${#eigen[@]} -gt 0 ]] || continue
  [[ $header != */safetensors.hpp || -d /usr/include/nlohmann ]] || continue
  echo "#include <${header#include/}>" >"$scratch/header.cpp"
  row "${header#include/tern/}" "$scratch/header.cpp"
done
