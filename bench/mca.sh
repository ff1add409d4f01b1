#!/usr/bin/env bash
# mca.sh PROGRAM [--measure]
#   The inner loops of the avx2 kernels in PROGRAM (a program or object, say build/release/bench/bench_ratio) and what llvm-mca says
#   that their instructions can do at best: multiply-adds a cycle, 32 for each vpmaddubsw, and cycles for a 64-byte block of codes.
#   --measure also runs PROGRAM, which is then bench_ratio, and divides its MAC/cycle (quiet) by the bound on the first processor.
#
# A loop is the code between a backward branch and its target; those that hold vpmaddubsw and no smaller such loop are taken.
# The bound is llvm-mca's block reciprocal throughput: ports and decoder only, no latencies, no memory, no ends of strips.
set -euo pipefail
program=${1:?usage: mca.sh PROGRAM [--measure]}
processors=(sapphirerapids haswell skylake znver3)
mca=$(command -v llvm-mca-19 || command -v llvm-mca) || { echo "mca.sh: needs llvm-mca (Debian: llvm-19)" >&2; exit 1; }
loops=$(mktemp -d)
trap 'rm -rf "$loops"' EXIT

# Writes each loop of the functions that are called per strip or per tile to a file: <function>@<address>.s
objdump --disassemble --demangle --no-show-raw-insn "$program" | awk -v out="$loops" '
  function finish(    i, j, k, inner, file, text) {
    for (i = 0; i < branches; i++) {
      inner = 1
      for (j = 0; j < branches; j++)
        if (j != i && holds[j] && start[j] >= start[i] && end[j] <= end[i] && end[j] - start[j] < end[i] - start[i]) inner = 0
      if (!holds[i] || !inner) continue
      file = out "/" name "@" sprintf("%x", address[start[i]]) ".s"
      for (k = start[i]; k <= end[i]; k++) {
        text = code[k]
        sub(/ *#.*/, "", text); sub(/ *<.*/, "", text)
        if (text ~ /^j/) sub(/[ \t].*/, "\t.Ltarget", text)
        print text > file
      }
      close(file)
    }
    lines = branches = 0; name = ""
  }
  function hex(s,    i, v) { for (i = 1; i <= length(s); i++) v = 16 * v + index("0123456789abcdef", substr(s, i, 1)) - 1; return v }
  /^[0-9a-f]+ </ {
    finish()
    if ($0 ~ /avx2::/ && match($0, /(one_token|many_tokens|dot_tile_unsigned)<[^(]*>\(/)) {
      name = substr($0, RSTART, RLENGTH - 1); gsub(/tern::v[0-9_]*::|ul| /, "", name)
    }
    next
  }
  name != "" && /^ *[0-9a-f]+:/ {
    split($0, part, ":"); gsub(/ /, "", part[1])
    text = $0; sub(/^[^:]*:[ \t]*/, "", text)
    address[lines] = hex(part[1]); code[lines] = text; at[address[lines]] = lines
    if (text ~ /^j[a-z]+ +[0-9a-f]+ /) {
      split(text, word, / +/); target = hex(word[2])
      if (target <= address[lines] && (target in at) && address[at[target]] == target && at[target] <= lines) {
        start[branches] = at[target]; end[branches] = lines; holds[branches] = 0
        for (k = at[target]; k <= lines; k++) if (code[k] ~ /^vpmaddubsw/) holds[branches]++
        branches++
      }
    }
    lines++
  }
  END { finish() }'

[ -n "$(ls "$loops")" ] || { echo "mca.sh: no loop of an avx2 kernel in $program" >&2; exit 1; }
bound() { "$mca" -mcpu="$1" -iterations=100 "$2" 2>/dev/null | awk '/^Block RThroughput/ { print $3 }'; }

printf '%-44s %9s %8s' "loop" "maddubs" "instr."
printf ' %16s' "${processors[@]}"
printf '   (MAC/cycle; cycles a block)\n'
for loop in "$loops"/*.s; do
  name=$(basename "$loop" .s)
  products=$(grep -c '^vpmaddubsw' "$loop")
  printf '%-44s %9d %8d' "$name" "$products" "$(grep -c . "$loop")"
  for processor in "${processors[@]}"; do
    # A block holds 16 inputs of 16 rows in codec i2 (8 products), 20 in b3 (10 products); one product is 32 multiply-adds.
    awk -v c="$(bound "$processor" "$loop")" -v n="$products" -v name="$name" \
      'BEGIN { printf " %16s", sprintf("%.1f (%.2f)", 32 * n / c, c / n * (name ~ /b3|,2>/ ? 10 : 8)) }'
  done
  printf '\n'
done
