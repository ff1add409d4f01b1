#!/usr/bin/env bash
# mca.sh PROGRAM [--measure]
#   The inner loops of the avx2 kernels in PROGRAM (a program or object, say build/release/bench/bench_ratio), and the
#   most that their instructions allow: multiply-adds a cycle, 32 for each vpaddw of products, and cycles for a 64-byte block of
#   codes and a token. --measure runs PROGRAM, which must be bench_ratio, and sets its speeds (MAC/cycle of quiet
#   samples) against the bounds.
#
# A loop is the code between a backward branch and its target; those that hold vpaddw (vpmaddubsw serves decoding too) and no smaller such loop are
# taken. The bound is the pressure on the busiest port, or on the decoder, by llvm-mca: no latencies, no memory, no ends
# of strips.
set -euo pipefail
program=${1:?usage: mca.sh PROGRAM [--measure]}
processors=(sapphirerapids haswell skylake znver3)
mca=$(command -v llvm-mca-19 || command -v llvm-mca) || {
  echo "mca.sh: needs llvm-mca (Debian: llvm-19)" >&2
  exit 1
}
loops=$(mktemp -d)
trap 'rm -rf "$loops"' EXIT

# Writes each loop of the functions that are called per strip or per tile to a file: <function>@<address>.s
objdump --disassemble --demangle --no-show-raw-insn "$program" | awk -v out="$loops" '
  function finish(    i, j, k, inner, file, text) {
    for (i = 0; i < branches; i++) {
      inner = 1
      for (j = 0; j < branches; j++)
        if (holds[j] && start[j] >= start[i] && end[j] <= end[i] && end[j] - start[j] < end[i] - start[i]) inner = 0
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
  function hex(s,    i, v) {
    for (i = 1; i <= length(s); i++) v = 16 * v + index("0123456789abcdef", substr(s, i, 1)) - 1
    return v
  }
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
        for (k = at[target]; k <= lines; k++) if (code[k] ~ /^vpaddw/) holds[branches]++
        branches++
      }
    }
    lines++
  }
  END { finish() }'

[ -n "$(ls "$loops")" ] || { echo "mca.sh: no loop of an avx2 kernel in $program" >&2; exit 1; }
# Cycles that one turn of a loop takes at least.
bound() {
  "$mca" -mcpu="$1" -iterations=1000 "$2" 2>/dev/null | awk '
    /^Iterations:/ { turns = $2 }
    /^Total uOps:/ { uops = $3 }
    /^Dispatch Width:/ { most = uops / turns / $3 }
    after == 2 { for (i = 1; i <= NF; i++) if ($i + 0 > most) most = $i + 0 }
    /^Resource pressure per iteration:/ { after = 1; next }
    after > 0 { after++ }
    END { print most }'
}

# FUNCTION ADDRESS PRODUCTS INSTRUCTIONS BOUNDS...; of several loops of one function the largest comes first.
for loop in "$loops"/*.s; do
  name=$(basename "$loop" .s)
  printf '%s %d %d' "${name/@/ }" "$(grep -c '^vpaddw' "$loop")" "$(grep -c . "$loop")"
  for processor in "${processors[@]}"; do printf ' %s' "$(bound "$processor" "$loop")"; done
  printf '\n'
done | sort -k1,1 -k3,3nr -k4,4nr >"$loops/table"

printf '%-36s %8s %6s' "MAC/cycle (cycles a block) at most" products instr.
printf ' %15s' "${processors[@]}"
printf '\n'
awk '{
  printf "%-36s %8d %6d", $1 " at " $2, $3, $4
  # A block holds 16 inputs of 16 rows in codec i2 (8 products), 20 in b3 (10). i2 has levels up to 3, b3 up to 2.
  for (i = 5; i <= NF; i++) printf " %15s", sprintf("%.1f (%.2f)", 32 * $3 / $i, $i / $3 * ($1 ~ /b3|,2>/ ? 10 : 8))
  printf "\n"
}' "$loops/table"

[ "${2:-}" = --measure ] || exit 0
printf '\n'
"$program" --isa=avx2 --seconds=20 | tee "$loops/measured"
printf '\n'
awk -F'|' '
  NR == FNR { split($0, f, " "); if (!(f[1] in most)) most[f[1]] = 32 * f[3] / f[5]; next }
  / M=(1 hot|512) / && $2 ~ /% of peak/ {
    split($1, row, " ")
    loop = row[2] == "M=1" ? "one_token<" row[1] ">" : "dot_tile_unsigned<4," (row[1] == "i2" ? 3 : 2) ">"
    sub(/ +$/, "", $1)
    if (loop in most && $6 > 0)
      printf "%s: %.1f MAC/cycle, %.0f %% of the bound of %s\n", $1, $6, 100 * $6 / most[loop], loop
  }' "$loops/table" "$loops/measured"
