#!/usr/bin/env bash
# check.sh [--each] [--file FILE] COMMAND...
# COMMAND is the program answers, perhaps behind an emulator. It must print the table in expected.txt on every instruction set
# that its --list-isas names, and on the first of them, or with --each on all, also from four threads (where the program has
# them), token by token, and by 64 tokens. With --file all runs must write the bytes of FILE; the first makes it where it is
# missing.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
each=false file=
while [ $# -gt 0 ]; do
  case $1 in
    --each) each=true && shift ;;
    --file) file=$2 && shift 2 ;;
    *) break ;;
  esac
done

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
runs=0 bad=0
# answers OPTIONS...
answers() {
  runs=$((runs + 1))
  local result=(${file:+"$out/bytes"}) begin=$SECONDS
  if ! "${command[@]}" "$@" "${result[@]}" >"$out/table" 2>"$out/errors"; then
    echo "FAILED: $*"
    tail -n 5 "$out/errors"
    bad=$((bad + 1))
  elif ! diff "$here/expected.txt" "$out/table" >"$out/diff"; then
    echo "differs (<: expected.txt, >: now): $*"
    cat "$out/diff"
    bad=$((bad + 1))
  elif [ -n "$file" ] && [ -e "$file" ] && ! cmp "$file" "$out/bytes"; then
    echo "differs from $file: $*"
    bad=$((bad + 1))
  else
    echo "the same, $((SECONDS - begin)) s: $*"
    if [ -n "$file" ] && [ ! -e "$file" ]; then cp "$out/bytes" "$file"; fi
  fi
}

command=("$@")
"${command[@]}" --list-isas >"$out/isas"
[ -s "$out/isas" ] || { echo 'no instruction set'; exit 1; }
threads=()
if "${command[@]}" --threads 4 --list-isas >/dev/null 2>&1; then threads=(--threads 4); fi
options=true
while read -r isa; do
  answers --isa "$isa"
  $options || continue
  answers --isa "$isa" "${threads[@]}" --batch 1
  answers --isa "$isa" --batch 64
  if $each && [ ${#threads[@]} -gt 0 ]; then
    answers --isa "$isa" "${threads[@]}"
    answers --isa "$isa" --batch 1
    answers --isa "$isa" "${threads[@]}" --batch 64
  fi
  options=$each
done <"$out/isas"
echo "RESULT $runs runs on $(paste -sd' ' "$out/isas"), $bad of them different"
[ $bad = 0 ]
