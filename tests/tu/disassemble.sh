#!/usr/bin/env bash
# disassemble.sh BASELINE.o PROGRAM
# In PROGRAM, the avx2 functions that BASELINE.o brought along must hold AVX2 instructions and none encoded by EVEX, which
# is AVX-512: if there are any, the linker kept the copy of a unit that was built for a newer machine.
set -euo pipefail
export LC_ALL=C
object=$1 program=$2

symbols=$(mktemp)
trap 'rm -f "$symbols"' EXIT
# Mangled names: the tag avx2 is "4avx2". Kernels of the AVX-512 sets may use what they are named after.
nm --defined-only "$object" | awk '$2 ~ /[TtWw]/ && $3 ~ /4avx2/ && $3 !~ /avx512|3amx/ { print $3 }' | sort -u >"$symbols"

# objdump prints a line "<address> <symbol>:" and then "address: bytes instruction"; in 64-bit code a leading 62 is EVEX.
objdump --disassemble --insn-width=16 "$program" | awk -v symbols="$symbols" '
  BEGIN { while ((getline name < symbols) > 0) wanted[name] = 1 }
  /^[0-9a-f]+ <.*>:$/ { name = substr($2, 2, length($2) - 3); inside = name in wanted; found += inside; next }
  inside && /%ymm/ { ++ymm }
  inside && $2 == "62" { if (++evex <= 5) print name ": " $0 }
  END {
    printf "%d avx2 functions, %d instructions on ymm registers, %d encoded by EVEX\n", found, ymm, evex
    exit !(found > 0 && ymm > 0 && evex == 0)
  }'
