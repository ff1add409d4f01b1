#!/usr/bin/env bash
# run.sh [--quick] DIR   runs all that bench/report and README quote, into DIR: JSON files, the table of bench_ratio and
#                        what machine it was; about six minutes, with --quick two
# run.sh --bundle DIR    copies the programs, this script and every library they load to DIR, for a machine that has
#                        nothing: there, DIR/run.sh OUT
# The programs are those beside this script, or in build/release/bench (another place: BENCH=<dir>).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=${BENCH:-$here}
[ -x "$programs/bench_matmul" ] || programs=$here/../build/release/bench

if [ "${1:-}" = --bundle ]; then
  out=${2:?usage: run.sh --bundle DIR}
  mkdir -p "$out/lib"
  cp "$here/run.sh" "$out"
  git -C "$here" describe --always --dirty >"$out/commit"
  for program in "$programs"/bench_{ceiling,matmul,ratio,cost}; do
    cp "$program" "$out"
    ldd "$program" | grep -o '/[^ ]*' | xargs -I{} cp -L {} "$out/lib"
  done
  strip "$out"/bench_* "$out"/lib/*
  exit
fi

seconds=40 min_time=0.1 tokens='[0-9]+'
if [ "${1:-}" = --quick ]; then seconds=4 min_time=0.02 tokens='(1|8|64|512)' && shift; fi
out=${1:?usage: run.sh [--quick] DIR}
mkdir -p "$out"
# OpenBLAS refuses to be compared when it is restricted, and so should everything else.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE DNNL_MAX_CPU_ISA TERN_FORCE_ISA

# A bundle brings its own C library, so its own loader too.
start() {
  local program=$1
  shift
  local loader=()
  [ ! -d "$programs/lib" ] || loader=("$programs"/lib/ld-linux-*.so.* --library-path "$programs/lib")
  "${loader[@]}" "$programs/$program" "$@"
}
# google NAME PROGRAM OPTIONS...: NAME.json, NAME.log
google() {
  local name=$1 program=$2 began=$SECONDS
  shift 2
  start "$program" "$@" --benchmark_min_time=$min_time --benchmark_out_format=json --benchmark_out="$out/$name.json" \
    >"$out/$name.log" 2>&1 || { rm -f "$out/$name.json"; echo "$name: not run: $(tail -n 1 "$out/$name.log")"; return; }
  echo "$name: $((SECONDS - began)) s"
}

{
  echo "date: $(date -u +%F)"
  echo "commit: $(cat "$programs/commit" 2>/dev/null || git -C "$here" describe --always --dirty)"
  echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | xargs), $(nproc) threads"
} >"$out/about.txt"
cat "$out/about.txt"

isas='(amx|avx512vnni|avxvnni|avx2)' shape=N4096_K4096
google ceiling bench_ceiling
# The roofline; then speed beside error, in cache.
google roofline bench_matmul --benchmark_filter="matmul/.*(i2_channel/$isas|f32/eigen|f32/openblas)/M${tokens}_$shape/cold\$"
google codecs bench_matmul --benchmark_filter="^error|matmul/f32 x f32/eigen/M(1|8|64|512)_$shape\$|matmul/i8_token x ((i2|b3|n4|n6|i8|n4-code32|i2-planes2)_channel|(i2|n4)_group128h)/$isas/M(1|8|64|512)_$shape\$"
for isa in amx avx512vnni avx2; do
  google onednn-$isa bench_matmul --onednn_isa=$isa --benchmark_filter="i8_channel/onednn.*/M${tokens}_$shape/cold\$"
done
google cost bench_cost
began=$SECONDS
start bench_ratio --seconds=$seconds | tee "$out/ratio.txt"
echo "ratio: $((SECONDS - began)) s; all of it: $SECONDS s"
