#!/usr/bin/env bash
# run.sh README.md DIRECTORY COMPILER [FLAGS...]
# Compiles and runs every C++ block of the page, each in DIRECTORY, and compares what it prints with the text block that
# follows (```text), if one does. A block without main() is the body of one, after its #include lines. Where EMULATOR is
# set, that program, with its arguments, runs them. With LANGUAGE=cuda the CUDA blocks are compiled, and not run.
set -euo pipefail
readme=$1 dir=$2 language=${LANGUAGE:-cpp}
ending=${language/cuda/cu}
shift 2

rm -rf "$dir"
mkdir -p "$dir"
awk -v dir="$dir" -v fence="^\`\`\`$language" -v ending="$ending" '
  /^```/ && out { close(out); out = ""; next }
  $0 ~ fence { out = sprintf("%s/%02d.%s", dir, ++blocks, ending); printf "" >out; next }
  /^```text/ && blocks { out = sprintf("%s/%02d.expected", dir, blocks); printf "" >out; next }
  out { print >out }
' "$readme"

count=0
for block in "$dir"/*."$ending"; do
  [ -e "$block" ] || break
  name=${block%."$ending"}
  if ! grep -q 'int main' "$block"; then
    { grep '^#include' "$block"; echo 'int main() {'; grep -v '^#include' "$block"; echo '}'; } >"$name.main"
    mv "$name.main" "$block"
  fi
  echo "block ${name##*/}"
  "$@" "$block" -o "$name.out"
  count=$((count + 1))
  [ "$language" = cpp ] || continue
  # shellcheck disable=SC2086  # a program and its arguments
  ${EMULATOR:-} "$name.out" >"$name.actual"
  if [ -e "$name.expected" ]; then
    diff -u "$name.expected" "$name.actual"
  fi
done
echo "$count blocks of $language compiled"
[ "$count" -gt 0 ]
