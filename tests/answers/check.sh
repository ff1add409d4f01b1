#!/usr/bin/env bash
# check.sh [--each] [--file FILE] COMMAND...
# COMMAND is the program answers, perhaps behind an emulator. It must print the table in expected.txt on every instruction set
# that its --list-isas names, and on the first of them, or with --each on all, also by 64 tokens from four threads (where the
# program has them), and token by token. With --file all runs must write the bytes of FILE; the first makes it where it is
# missing. As many runs at once as there are cores.
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
command=("$@")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# answers OPTIONS...: one run; fails where it differs, and says how
answers() {
  local mine result=() begin=$SECONDS
  mine=$(mktemp -d "$out/run.XXXXXX")
  if [ -n "$file" ]; then result=("$mine/bytes"); fi
  if ! "${command[@]}" "$@" "${result[@]}" >"$mine/table" 2>"$mine/errors"; then
    printf 'FAILED: %s\n%s\n' "$*" "$(tail -n 5 "$mine/errors")"
  elif ! diff "$here/expected.txt" "$mine/table" >"$mine/diff"; then
    printf 'differs (<: expected.txt, >: now): %s\n%s\n' "$*" "$(cat "$mine/diff")"
  elif [ -n "$file" ] && [ -e "$file" ] && ! cmp "$file" "$mine/bytes"; then
    echo "differs from $file: $*"
  else
    echo "the same, $((SECONDS - begin)) s: $*"
    if [ -n "$file" ] && [ ! -e "$file" ]; then mv "$mine/bytes" "$file"; fi
    rm -rf "$mine"
    return
  fi
  return 1
}

"${command[@]}" --list-isas >"$out/isas"
[ -s "$out/isas" ] || { echo 'no instruction set'; exit 1; }
threads=''
if "${command[@]}" --threads 4 --list-isas >/dev/null 2>&1; then threads='--threads 4'; fi
options=true
while read -r isa; do
  echo "--isa $isa"
  if $options; then printf -- '--isa %s %s\n' "$isa" "$threads --batch 64" "$isa" '--batch 1'; fi
  if $options && $each; then
    printf -- '--isa %s %s\n' "$isa" "$threads" "$isa" '--batch 64' "$isa" "$threads --batch 1"
  fi
  options=$each
done <"$out/isas" >"$out/runs"

bad=0
{
  read -ra words && { answers "${words[@]}" || bad=1; } # alone, to make the file
  while read -ra words; do
    if [ "$(jobs -rp | wc -l)" -ge "$(getconf _NPROCESSORS_ONLN)" ]; then wait -n || bad=1; fi
    answers "${words[@]}" </dev/null &
  done
} <"$out/runs"
while [ -n "$(jobs -p)" ]; do wait -n || bad=1; done
echo "RESULT $(wc -l <"$out/runs") runs on $(paste -sd' ' "$out/isas"): $( ((bad)) && echo different || echo the same)"
exit $bad
