#!/usr/bin/env bash
# run.sh README.md DIRECTORY COMPILER [FLAGS...]
# Compiles and runs every C++ block of the page, each in DIRECTORY, and compares what it prints with the text block that
# follows (```text), if one does. A block without main() is the body of one, after its #include lines. Where EMULATOR is
# set, that program, with its arguments, runs them.
set -euo pipefail
readme=$1 dir=$2
shift 2

rm -rf "$dir"
mkdir -p "$dir"
awk -v dir="$dir" '
  /^```/ && out { close(out); out = ""; next }
  /^```cpp/ { out = sprintf("%s/%02d.cpp", dir, ++blocks); printf "" >out; next }
  /^```text/ && blocks { out = sprintf("%s/%02d.expected", dir, blocks); printf "" >out; next }
  out { print >out }
' "$readme"

count=0
for block in "$dir"/*.cpp; do
  [ -e "$block" ] || break
  name=${block%.cpp}
  if ! grep -q 'int main' "$block"; then
    { grep '^#include' "$block"; echo 'int main() {'; grep -v '^#include' "$block"; echo '}'; } >"$name.main"
    mv "$name.main" "$block"
  fi
  echo "block ${name##*/}"
  "$@" "$block" -o "$name.out"
  # shellcheck disable=SC2086  # a program and its arguments
  ${EMULATOR:-} "$name.out" >"$name.actual"
  if [ -e "$name.expected" ]; then
    diff -u "$name.expected" "$name.actual"
  fi
  count=$((count + 1))
done
echo "$count blocks of C++ compiled and run"
[ "$count" -gt 0 ]
