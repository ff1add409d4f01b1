#!/usr/bin/env bash
# disassemble.sh BASELINE.o PROGRAM
# In PROGRAM, the functions of tern that BASELINE.o brought along must hold no instruction that its machine lacks; if one
# does, the linker kept the copy of the unit that was built for a newer machine:
#   the avx2 kernels   AVX2 instructions, and none encoded by EVEX, which is AVX-512
#   all others         none encoded by VEX (AVX, AVX2, BMI) or EVEX
set -euo pipefail
export LC_ALL=C
object=$1 program=$2

symbols=$(mktemp)
trap 'rm -f "$symbols"' EXIT
# Mangled names: tern's own functions begin with _ZN4tern or _ZNK4tern; the tag avx2 is "4avx2", and what else is AVX2's stands
# in a namespace that ends in "_avx2". The kernels of later instruction sets may use what they are named after.
nm --defined-only "$object" |
  awk '$2 ~ /[TtWw]/ && $3 ~ /^_ZNK?4tern/ && $3 !~ /avx512|avxvnni|3amx/ { print $3, $3 ~ /4avx2|_avx2/ ? "avx2" : "plain" }' |
  sort -u >"$symbols"

# objdump prints a line "<address> <symbol>:" and then "address: bytes instruction". In 64-bit code a leading 62 is EVEX,
# a leading c4 or c5 is VEX.
objdump --disassemble --insn-width=16 "$program" | awk -v symbols="$symbols" '
  BEGIN { while ((getline line < symbols) > 0) { split(line, word, " "); kind[word[1]] = word[2] } }
  /^[0-9a-f]+ <.*>:$/ {
    name = substr($2, 2, length($2) - 3)
    inside = name in kind ? kind[name] : ""
    if (inside != "") ++found[inside]
    next
  }
  inside == "avx2" && /%ymm/ { ++ymm }
  inside == "avx2" && $2 == "62" || inside == "plain" && $2 ~ /^(62|c4|c5)$/ { if (++wrong <= 40) print name ": " $0 }
  END {
    printf "%d avx2 functions with %d instructions on ymm registers, %d others; %d instructions too new\n", found["avx2"],
      ymm, found["plain"], wrong
    exit !(found["avx2"] > 0 && found["plain"] > 0 && ymm > 0 && wrong == 0)
  }'
